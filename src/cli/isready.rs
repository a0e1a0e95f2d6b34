//! `isready`: for health checks, on the status file alone.

use std::path::Path;
use std::time::SystemTime;

use super::console;
use super::exit::Exit;
use crate::config::Environment;
use crate::observe::StatusDocument;
use crate::observe::status_file::{self, Candidates, Missing};
use crate::observe::view::headline;

/// What to do when no daemon is found.
pub(super) const NO_DAEMON: &str = "start it with `secrets-sync run`; where it has its own \
    `STATUS_FILE`, name that with `--status-file` or `$STATUS_FILE`, as a user who may read it";

/// What to do when it is not ready.
const NOT_READY: &str = "`secrets-sync status` and the daemon's log tell more";

pub(super) fn main(given: Option<&Path>, environment: &Environment) -> Exit {
    let candidates = Candidates::new(given, environment);
    match status_file::read(&candidates, SystemTime::now()) {
        Ok(found) => {
            tell_all(&found.passed_over);
            if found.document.ready {
                console::print(&format!("{}\n", headline(&found.document)))
            } else {
                console::fail_with_help(&not_ready(&found.document), &NOT_READY);
                Exit::Failure
            }
        }
        Err(Missing::Unusable {
            path,
            why,
            passed_over,
        }) => {
            tell_all(&passed_over);
            console::fail_with_help(
                &format_args!("not ready: `{}`: {why}", path.display()),
                &NOT_READY,
            );
            Exit::Failure
        }
        Err(Missing::NotRunning(places)) => {
            console::fail_with_help(
                &format_args!("not ready: no daemon found: {}", places.join("; ")),
                &NO_DAEMON,
            );
            Exit::Failure
        }
    }
}

pub(super) fn tell_all(messages: &[String]) {
    for message in messages {
        console::fail(message);
    }
}

/// Names what keeps it from being ready.
fn not_ready(document: &StatusDocument) -> String {
    let mut text = headline(document);
    for secret in &document.secrets {
        if secret.state == "in_sync" || secret.optional {
            continue;
        }
        text.push_str(&format!("\n  `{}`: {}", secret.name, secret.state));
        if let Some(error) = &secret.error {
            text.push_str(&format!(": {error}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::SecretEntry;

    fn secret(name: &str, state: &str, error: Option<&str>, optional: bool) -> SecretEntry {
        SecretEntry {
            name: name.into(),
            state: state.into(),
            error: error.map(str::to_owned),
            optional,
            ..SecretEntry::default()
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let document = StatusDocument {
            secret_count: 4,
            synced_count: 1,
            secrets: vec![
                secret("a", "in_sync", None, false),
                secret("b", "failed", Some("no such secret"), false),
                secret("c", "pending", None, false),
                secret("d", "failed", Some("x"), true),
            ],
            ..StatusDocument::default()
        };
        assert_eq!(
            not_ready(&document),
            "not ready: 1 of 4 secrets in sync\n  `b`: failed: no such secret\n  `c`: pending"
        );
    }
}
