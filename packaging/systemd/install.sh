#!/bin/sh
# Installs the daemon, its units and its manual. Run again it updates them; it never changes what is
# in the configuration directory.
set -eu

usage() {
  cat <<'END'
install.sh: installs secrets-sync as a service of systemd

usage: [VARIABLE=VALUE …] install.sh

  PREFIX         where to: /usr/local
  SYSCONFDIR     where the configuration is: /etc
  DESTDIR        put all of it below this directory, and touch nothing else (for packagers)
  BINARY         the program: secrets-sync of the archive, else target/static/secrets-sync
  NOTIFY_RELOAD  yes, no: whether systemd is 253 or later; found out by itself, with DESTDIR no
END
}

case ${1-} in
  '') ;;
  -h | --help) usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/paths.sh"

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

if [ -z "${BINARY-}" ]; then
  BINARY=$root/secrets-sync
  [ -f "$BINARY" ] || BINARY=$root/target/static/secrets-sync
fi
[ -f "$BINARY" ] || fail "there is no $BINARY: run \`make static\`, or name the program in BINARY"
[ -n "$DESTDIR" ] || [ "$(id -u)" -eq 0 ] || fail 'must be run as root'

# A file, with the paths of this installation in it.
put() {
  install -d -m 0755 "$DESTDIR$(dirname "$2")"
  sed -e "s#/usr/bin/secrets-sync#$bindir/secrets-sync#g" \
    -e "s#/etc/secrets-sync#$sysconfdir/secrets-sync#g" "$here/$1" >"$DESTDIR$2.new"
  chmod "${3-0644}" "$DESTDIR$2.new"
  mv "$DESTDIR$2.new" "$DESTDIR$2"
}

knows_notify_reload() {
  case ${NOTIFY_RELOAD-} in
    yes) return 0 ;;
    no) return 1 ;;
    '') ;;
    *) fail "NOTIFY_RELOAD is yes or no, not \`$NOTIFY_RELOAD\`" ;;
  esac
  [ -z "$DESTDIR" ] || return 1
  version=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 253 ]
}

# Replaced by a rename: the old one may be running.
install -d -m 0755 "$DESTDIR$bindir"
install -m 0755 "$BINARY" "$DESTDIR$bindir/.secrets-sync.new"
mv "$DESTDIR$bindir/.secrets-sync.new" "$DESTDIR$bindir/secrets-sync"

for unit in $units; do
  put "$unit" "$unitdir/$unit"
  if knows_notify_reload; then
    put drop-ins/notify-reload.conf "$unitdir/$unit.d/$reload"
  else
    rm -f "$DESTDIR$unitdir/$unit.d/$reload"
  fi
done
put secrets-sync.sysusers "$sysusersdir/secrets-sync.conf"
put secrets-sync.tmpfiles "$tmpfilesdir/secrets-sync.conf"
for example in $examples; do
  put "drop-ins/$example" "$sharedir/drop-ins/$example"
done
for page in $manual; do
  install -D -m 0644 "$root/man/$page" "$DESTDIR$mandir/man${page##*.}/$page"
done
for pair in $completions; do
  install -D -m 0644 "$root/contrib/completions/${pair%%:*}" "$DESTDIR$datadir/${pair#*:}"
done
install -m 0644 "$root/contrib/secrets-sync.schema.json" "$DESTDIR$sharedir/"

config=$sysconfdir/secrets-sync
if [ ! -d "$DESTDIR$config" ]; then
  install -d -m 0750 "$DESTDIR$config"
fi
[ -e "$DESTDIR$config/secrets-sync.env" ] || put secrets-sync.env "$config/secrets-sync.env" 0640

[ -z "$DESTDIR" ] || exit 0

systemd-sysusers "$sysusersdir/secrets-sync.conf"
systemd-tmpfiles --create "$tmpfilesdir/secrets-sync.conf"
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
echo "Installed. Write $config/config.yaml (\`secrets-sync init\` prints a sample), then"
echo '  systemctl enable --now secrets-sync'
echo 'What runs already goes on with the old program until: systemctl try-restart secrets-sync'
