#!/bin/sh
# Lays out, for packages, what they install: `stage.sh DIRECTORY` puts it there, with its paths below
# /usr and /etc.
set -eu

out=$1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
# The same modes whoever builds it.
umask 022

rm -rf "$out"
DESTDIR=$out PREFIX=/usr NOTIFY_RELOAD=no "$here/systemd/install.sh"
# The package looks for the version of systemd where it is installed.
install -m 0644 "$here/systemd/drop-ins/notify-reload.conf" "$out/usr/share/secrets-sync/"
install -D -m 0755 "$here/notify-reload.sh" "$out/usr/lib/secrets-sync/notify-reload.sh"
install -d "$out/usr/share/doc/secrets-sync/docs"
install -m 0644 "$root/README.md" "$root/CHANGELOG.md" "$out/usr/share/doc/secrets-sync/"
install -m 0644 "$root"/docs/*.md "$out/usr/share/doc/secrets-sync/docs/"
gzip -9 -n "$out/usr/share/doc/secrets-sync/CHANGELOG.md"
if [ -d "$out/usr/share/man" ]; then
  find "$out/usr/share/man" -type f -exec gzip -9 -n {} +
fi
