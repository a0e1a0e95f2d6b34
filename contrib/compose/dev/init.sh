#!/bin/sh
# init.sh CLI: puts a sample secret into a development server, lets an AppRole read it, and leaves
# the role's credentials in /credentials. CLI is `bao` or `vault`. May run again at any time.
set -eu
cli=$1

n=0
until "$cli" status >/dev/null 2>&1; do
  n=$((n + 1))
  [ "$n" -lt 120 ] || { echo "init: no answer from $VAULT_ADDR" >&2; exit 1; }
  sleep 0.5
done

"$cli" kv put -mount=secret app/greeting text='hello from the server' >/dev/null
printf 'path "secret/data/app/*" { capabilities = ["read"] }\n' | "$cli" policy write app - >/dev/null
"$cli" read auth/approle/role/app >/dev/null 2>&1 || {
  "$cli" auth enable approle >/dev/null 2>&1 || true
  "$cli" write auth/approle/role/app token_policies=app token_ttl=10m >/dev/null
}
umask 077
"$cli" read -field=role_id auth/approle/role/app/role-id >/credentials/role-id
"$cli" write -f -field=secret_id auth/approle/role/app/secret-id >/credentials/secret-id
echo 'init: the sample secret is secret/app/greeting'
