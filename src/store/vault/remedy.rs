//! What to do about the failures of a server, in words that can be followed as they stand.

use std::borrow::Cow;

pub(super) const UNSEAL: &str =
    "unseal it: `bao operator unseal`, once for each key that it asks for";

pub(super) const INITIALISE: &str =
    "initialise and unseal it: `bao operator init`, then `bao operator unseal`";

pub(super) const FEWER: &str = "raise the quota that `bao list sys/quotas/rate-limit` names, or lengthen \
     `refreshInterval`";

pub(super) const STANDBY: &str = "wait until it has caught up, which the daemon does by itself; if it stays so, let \
     `address` name the active server";

pub(super) const SERVER_TROUBLE: &str =
    "look into the log of the server, or of the load balancer before it; the daemon goes on trying";

pub(super) const BEFORE_THE_SERVER: &str =
    "give the proxy or load balancer before the server more patience; the daemon goes on trying";

pub(super) const NEW_TOKEN: &str = "bring a new token: this one is unknown here, expired, used up or bound to other \
     addresses; an agent that adds it needs the new one";

pub(super) const BAD_REQUEST: &str =
    "correct what the server's words name: `key`, `mountPath`, `version` or `kvVersion`";

pub(super) const NOT_THE_API: &str = "let `address` name the server itself: what answers there is something else, \
     such as a page before it";

pub(super) const LOGIN_FORBIDDEN: &str = "correct `authMount` or `authNamespace` (`bao auth list` shows what there is), \
     or unlock the role, where failed logins have locked it: `bao write -f sys/locked-users/ACCESSOR/unlock/ROLE_ID`";

pub(super) const MANY_VALUES: &str =
    "keep the secret as one text in one field, and write that with `field`";

pub(super) const KV_VERSION_1: &str = "set `kvVersion: v1` where the mount speaks version 1; else let `address` name the \
     server itself";

/// A word of a command line, quoted where a shell would read it otherwise.
pub(super) fn word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/@%+=:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_word_as_it_is() {
        for (text, written) in [
            ("app/db-1.x", "app/db-1.x"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$x", "'$x'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), written);
        }
    }
}
