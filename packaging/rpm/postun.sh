# shellcheck shell=sh
# $1 is 0 when it is removed: then the directories of its own go, which a package made by cargo-generate-rpm
# does not have.
if [ "$1" -eq 0 ]; then
  find /usr/lib/secrets-sync /usr/share/doc/secrets-sync /usr/share/licenses/secrets-sync \
    /usr/share/secrets-sync -depth -type d -empty -delete 2>/dev/null || :
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
fi
