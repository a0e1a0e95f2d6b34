# shellcheck shell=sh
# The user, the directories, the drop-in for this systemd. $1 is 1 for the first installation, 2 for
# an update: then what runs is restarted.
systemd-sysusers secrets-sync.conf || :
systemd-tmpfiles --create secrets-sync.conf || :
/usr/lib/secrets-sync/notify-reload.sh || :
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
  if [ "$1" -ge 2 ]; then
    systemctl try-restart secrets-sync.service 'secrets-sync@*.service' || :
  fi
fi
