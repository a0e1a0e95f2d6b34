# shellcheck shell=sh disable=SC2034 # read by install.sh and uninstall.sh
# Where everything goes.

DESTDIR=${DESTDIR-}
PREFIX=${PREFIX-/usr/local}
sysconfdir=${SYSCONFDIR-/etc}
bindir=$PREFIX/bin
datadir=$PREFIX/share
sharedir=$datadir/secrets-sync
mandir=$datadir/man
case $PREFIX in
  /usr | /usr/local)
    unitdir=$PREFIX/lib/systemd/system
    sysusersdir=$PREFIX/lib/sysusers.d
    tmpfilesdir=$PREFIX/lib/tmpfiles.d
    ;;
  *)
    # systemd looks nowhere else.
    unitdir=/etc/systemd/system
    sysusersdir=/etc/sysusers.d
    tmpfilesdir=/etc/tmpfiles.d
    ;;
esac

units='secrets-sync.service secrets-sync@.service'
reload=10-notify-reload.conf
examples='any-owner.conf credentials.conf dynamic-user.conf'
manual='secrets-sync.1 secrets-sync.yaml.5'
completions='secrets-sync.bash:bash-completion/completions/secrets-sync
_secrets-sync:zsh/site-functions/_secrets-sync
secrets-sync.fish:fish/vendor_completions.d/secrets-sync.fish'
