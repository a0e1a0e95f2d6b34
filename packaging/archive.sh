#!/bin/sh
# The archive of a release: `archive.sh BINARY SBOM NAME EPOCH FILE`. The same input gives the same bytes.
set -eu

binary=$1 sbom=$2 name=$3 epoch=$4 file=$5
root=$(cd "$(dirname "$0")/.." && pwd)
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/$name"
install -m 0755 "$binary" "$work/$name/secrets-sync"
install -m 0644 "$sbom" "$work/$name/"
cd "$root"
# As they lie in the sources, so that links between them hold.
for part in README.md CHANGELOG.md SECURITY.md ARCHITECTURE.md CONTRIBUTING.md LICENSE-* docs man contrib packaging/systemd packaging/THIRD-PARTY-NOTICES.txt; do
  [ ! -e "$part" ] || cp -R --parents "$part" "$work/$name/"
done
chmod -R u=rwX,go=rX "$work/$name"
tar --directory "$work" --sort=name --format=ustar --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
  -cf - "$name" | gzip -9 -n >"$file"
