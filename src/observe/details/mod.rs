//! What `explain` reads beside the status document: for each secret where it comes from and goes
//! to, and how its last attempts ended. It lies beside the status file, as `STATUS_FILE.details`.
//!
//! The status document is made anew at each change, so what hardly changes, or only grows, is not in
//! it. This file is appended to, at most once a second (where nothing has changed, every five), by some 60
//! bytes an attempt, and written anew when it has grown by half. So its cost follows the attempts, not the number of secrets, and the
//! daemon keeps nothing of it in memory. It outlives the daemon: the attempts before a restart are
//! the ones that people ask about.
//!
//! A line is a JSON value: one object of the daemon, one a secret, one array an attempt.

mod reader;
mod record;
mod writer;

pub use reader::{Known, read};
pub use record::{Attempt, DaemonFacts, FileFacts, PolicyRule, SecretFacts, SourceFacts};
pub use writer::Details;

use std::path::{Path, PathBuf};

/// So many attempts of a secret are kept.
pub const ATTEMPTS: usize = 20;

/// The file beside a status file.
#[must_use]
pub fn details_path(status_file: &Path) -> PathBuf {
    let mut path = status_file.as_os_str().to_owned();
    path.push(".details");
    path.into()
}
