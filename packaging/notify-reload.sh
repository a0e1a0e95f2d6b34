#!/bin/sh
# Adds, where systemd is 253 or later, the drop-in by which `systemctl reload` waits for the reload;
# `notify-reload.sh remove` takes it away. For the scripts of packages.
set -eu

version=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
for unit in secrets-sync.service secrets-sync@.service; do
  dir=/usr/lib/systemd/system/$unit.d
  if [ "${1-}" != remove ] && [ "${version:-0}" -ge 253 ]; then
    install -D -m 0644 /usr/share/secrets-sync/notify-reload.conf "$dir/10-notify-reload.conf"
  else
    rm -f "$dir/10-notify-reload.conf"
    rmdir "$dir" 2>/dev/null || true
  fi
done
