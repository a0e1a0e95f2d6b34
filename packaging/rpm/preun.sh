# shellcheck shell=sh
# $1 is 0 when it is removed, 1 for an update.
if [ "$1" -eq 0 ]; then
  if [ -d /run/systemd/system ]; then
    systemctl stop secrets-sync.service 'secrets-sync@*.service' || :
  fi
  systemctl --no-reload disable secrets-sync.service secrets-sync@.service || :
  /usr/lib/secrets-sync/notify-reload.sh remove || :
fi
