//! Why a file could not be written.

use std::fmt;
use std::path::PathBuf;

/// A step that failed, on which path, and what would help.
#[derive(Debug)]
pub struct WriteError {
    /// The path the step was about.
    pub path: PathBuf,
    /// The step, as in "create a temporary in": lower case.
    pub step: &'static str,
    /// Why: the system's error or a rule.
    pub cause: String,
    /// What would help (`CAP_CHOWN`, `SupplementaryGroups`, "mount the directory", …).
    pub help: Option<String>,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} `{}`: {}",
            self.step,
            self.path.display(),
            self.cause
        )
    }
}

impl std::error::Error for WriteError {}
