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
gzip -9 -n <"$root/CHANGELOG.md" >"$doc/changelog.gz"
if [ -d "$out/usr/share/man" ]; then
  find "$out/usr/share/man" -type f -exec gzip -9 -n {} +
fi

# Of one kind of package only.
install -D -m 0644 "$here/deb/lintian-overrides" "$1/deb/usr/share/lintian/overrides/secrets-sync"
install -d "$1/rpm/usr/share/licenses/secrets-sync"
install -m 0644 "$root"/LICENSE-* "$1/rpm/usr/share/licenses/secrets-sync/"
find "$1" -exec touch --no-dereference --date="@$2" {} +
