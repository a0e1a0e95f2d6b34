# shellcheck shell=sh
# $1 is 0 when it is removed, 1 for an update.
if [ "$1" -eq 0 ]; then
  if [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now secrets-sync.service 'secrets-sync@*.service' || :
  fi
  /usr/lib/secrets-sync/notify-reload.sh remove || :
fi
