#!/bin/sh
# rootfs.sh BINARY CA-BUNDLE DIR: lays out all files that the image has, in DIR/root, and in DIR/owned
# what belongs to the daemon's user. The Containerfile runs it for what it built itself, `make image`
# for a binary of the host; so both images are the same.
set -eu

binary=$1
authorities=$2
dir=$3
root=$dir/root

rm -rf "$dir"
mkdir -p "$root/app" "$root/usr/bin" "$root/etc/ssl/certs" "$root/run/secrets-sync" "$dir/owned/secrets"
# Whatever the umask is.
chmod 0755 "$root" "$root/app" "$root/usr" "$root/usr/bin" "$root/run" "$dir/owned" "$dir/owned/secrets"
chmod 0755 "$root/etc" "$root/etc/ssl" "$root/etc/ssl/certs"
cp "$binary" "$root/app/secrets-sync"
chmod 0755 "$root/app/secrets-sync"
ln -s /app/secrets-sync "$root/usr/bin/secrets-sync"
cp "$authorities" "$root/etc/ssl/certs/ca-certificates.crt"
chmod 0644 "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/usr/share/doc/secrets-sync"
chmod 0755 "$root/usr/share" "$root/usr/share/doc" "$root/usr/share/doc/secrets-sync"
cp "$(dirname "$0")/../../packaging/THIRD-PARTY-NOTICES.txt" "$root/usr/share/doc/secrets-sync/"
chmod 0644 "$root/usr/share/doc/secrets-sync/THIRD-PARTY-NOTICES.txt"
# Any user may make a status file here. It is a volume, and so writable in a read-only image.
chmod 1777 "$root/run/secrets-sync"
