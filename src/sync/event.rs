//! What workers tell the supervisor.

use std::path::PathBuf;
use std::time::Duration;

use super::schedule::Reason;
use crate::clock::Tick;
use crate::failure::Failure;
use crate::observe::trace::Ids;

/// Something happened to a worker's secret.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// The worker: one that was replaced is no longer listened to.
    pub(super) worker: u64,
    /// What.
    pub(super) report: Report,
    /// The trace of the cycle that it is about.
    pub(super) trace: Option<Ids>,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// A complete success.
    Synced {
        /// The version, where there is one.
        version: Option<u64>,
        /// Files written.
        written: Vec<PathBuf>,
        /// Files that were right.
        unchanged: usize,
        /// From the start of the cycle to the end of the commit.
        took: Duration,
        /// The next refresh; `None`: not by itself.
        next: Option<Tick>,
        /// Why then.
        reason: Reason,
        /// When the credential on disk is no longer good; leases only.
        expires: Option<Tick>,
        /// Worth telling once a change.
        warnings: Vec<String>,
        /// `--dry-run`: what would have been done, a line each; `None` when files were written.
        preview: Option<Vec<String>>,
    },
    /// A failure.
    Failed {
        /// Why.
        failure: Failure,
        /// Failures in a row.
        attempt: u32,
        /// Time of this try.
        took: Duration,
        /// The next try; `None`: when the store is back.
        next: Option<Tick>,
        /// Why then.
        reason: Reason,
        /// `once` is over for this secret.
        is_final: bool,
    },
    /// The worker's thread has ended.
    Ended,
}
