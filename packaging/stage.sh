#!/bin/sh
# Lays out, for packages, what they install: `stage.sh DIRECTORY EPOCH` puts it into DIRECTORY/root, with
# its paths below /usr and /etc, and all its times at EPOCH.
set -eu

out=$1/root
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
# The same modes whoever builds it.
umask 022

rm -rf "$1"
DESTDIR=$out PREFIX=/usr NOTIFY_RELOAD=no "$here/systemd/install.sh"
# The package looks for the version of systemd where it is installed.
install -m 0644 "$here/systemd/drop-ins/notify-reload.conf" "$out/usr/share/secrets-sync/"
install -D -m 0755 "$here/notify-reload.sh" "$out/usr/lib/secrets-sync/notify-reload.sh"

doc=$out/usr/share/doc/secrets-sync
install -d "$doc/docs"
install -m 0644 "$root/README.md" "$doc/"
install -m 0644 "$root"/docs/*.md "$doc/docs/"
install -m 0644 "$root/contrib/secrets-sync.schema.json" "$root"/contrib/prometheus/secrets-sync.rules.yaml "$doc/"
install -m 0644 "$root/contrib/grafana/secrets-sync.json" "$doc/grafana-dashboard.json"
gzip -9 -n <"$root/CHANGELOG.md" >"$doc/changelog.gz"
gzip -9 -n <"$here/THIRD-PARTY-NOTICES.txt" >"$doc/THIRD-PARTY-NOTICES.txt.gz"
find "$out/usr/share/man" -type f -exec gzip -9 -n {} +

# Of one kind of package only.
install -D -m 0644 "$here/deb/lintian-overrides" "$1/deb/usr/share/lintian/overrides/secrets-sync"
install -d "$1/rpm/usr/share/licenses/secrets-sync"
install -m 0644 "$root"/LICENSE-* "$1/rpm/usr/share/licenses/secrets-sync/"
# Each has its own place for functions of zsh.
zsh=$out/usr/share/zsh/site-functions/_secrets-sync
install -D -m 0644 "$zsh" "$1/deb/usr/share/zsh/vendor-completions/_secrets-sync"
install -D -m 0644 "$zsh" "$1/rpm/usr/share/zsh/site-functions/_secrets-sync"
rm -r "$out/usr/share/zsh"
find "$1" -exec touch --no-dereference --date="@$2" {} +
