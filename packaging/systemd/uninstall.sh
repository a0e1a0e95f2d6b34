#!/bin/sh
# Removes what install.sh installed, with the same variables. Configuration, credentials, the
# daemon's user and the secrets that were written stay.
set -eu

usage() {
  cat <<'END'
uninstall.sh: removes secrets-sync, and keeps its configuration

usage: [PREFIX=…] [SYSCONFDIR=…] [DESTDIR=…] uninstall.sh      (as given to install.sh)
END
}

case ${1-} in
  '') ;;
  -h | --help) usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac

. "$(dirname "$0")/paths.sh"

if [ -z "$DESTDIR" ]; then
  [ "$(id -u)" -eq 0 ] || { echo 'uninstall.sh: must be run as root' >&2 && exit 1; }
  for unit in $units; do
    [ -f "$unitdir/$unit" ] || continue
    if [ -d /run/systemd/system ]; then
      # Of a template, all that run.
      systemctl stop "$(echo "$unit" | sed 's/@/@*/')"
    fi
    systemctl --quiet disable "$unit"
  done
fi

rm -f "$DESTDIR$bindir/secrets-sync" "$DESTDIR$sysusersdir/secrets-sync.conf" \
  "$DESTDIR$tmpfilesdir/secrets-sync.conf"
for unit in $units; do
  rm -f "$DESTDIR$unitdir/$unit" "$DESTDIR$unitdir/$unit.d/$reload"
  rmdir "$DESTDIR$unitdir/$unit.d" 2>/dev/null || true
done
for example in $examples; do
  rm -f "$DESTDIR$sharedir/drop-ins/$example"
done
rm -f "$DESTDIR$sharedir/secrets-sync.schema.json"
rmdir "$DESTDIR$sharedir/drop-ins" "$DESTDIR$sharedir" 2>/dev/null || true
for page in $manual; do
  rm -f "$DESTDIR$mandir/man${page##*.}/$page"
done
for pair in $completions; do
  rm -f "$DESTDIR$datadir/${pair#*:}"
done

if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
echo "Removed. Kept: $sysconfdir/secrets-sync, /run/secrets, the user secrets-sync, drop-ins of your own."
