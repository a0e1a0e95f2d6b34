//! The status file: how the daemon tells other processes of this machine how it is, without a
//! port. A lock beside it says whether the daemon lives, so that a file which a killed one left
//! behind never counts.

mod lock;
pub(crate) mod owner;
mod reader;
mod writer;

pub use lock::{LockAttempt, LockPolicy, LockStep, StatusLock};
pub use reader::{Candidates, Found, Missing, left_behind, parse, read};
pub(crate) use writer::{BETWEEN, lies_at, put};
pub use writer::{StatusFile, Ticked};

use std::path::{Path, PathBuf};

use crate::config::Environment;

/// Where the daemon writes when nothing else is said.
pub const FALLBACK: &str = "/tmp/.ready-state";

/// Where a packaged daemon writes: the runtime directory that systemd makes for it.
pub const PACKAGED: &str = "/run/secrets-sync/status.json";

/// The lock of a status file.
#[must_use]
pub fn lock_path(status_file: &Path) -> PathBuf {
    let mut path = status_file.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// `status.json` in the first entry of `$RUNTIME_DIRECTORY`, where there is one.
#[must_use]
pub fn in_runtime_directory(environment: &Environment) -> Option<PathBuf> {
    let first = environment
        .get_non_empty("RUNTIME_DIRECTORY")?
        .split(':')
        .next()?;
    (!first.is_empty()).then(|| Path::new(first).join("status.json"))
}

/// The directory that an entry lies in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_directory_is_the_first_entry() {
        let with = |value: &str| {
            in_runtime_directory(&Environment::from_iter([("RUNTIME_DIRECTORY", value)]))
        };
        assert_eq!(with("/run/a:/run/b"), Some("/run/a/status.json".into()));
        assert_eq!(with(":/run/b"), None);
        assert_eq!(with(""), None);
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(lock_path(Path::new("/a/b")), Path::new("/a/b.lock"));
        assert_eq!(directory(Path::new("/a/b")), Path::new("/a"));
        assert_eq!(directory(Path::new("b")), Path::new("."));
    }
}
