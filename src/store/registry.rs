//! All stores of the running plan: made, kept over a reload where equal, closed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::{Store, StoreEvent, StoreStatus};
use crate::clock::Clock;
use crate::plan::{Daemon, Plan};

/// What a run may do with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The daemon and `--once`.
    Use,
    /// `--dry-run`: a wrapped secret ID is looked up, never unwrapped.
    Look,
}

/// The stores by name. Owned by the supervisor.
pub struct Stores {}

impl Stores {
    /// None yet.
    #[must_use]
    pub fn new(
        daemon: Arc<Daemon>,
        mode: Mode,
        clock: Arc<dyn Clock>,
        events: Sender<StoreEvent>,
    ) -> Self {
        let _ = (daemon, mode, clock, events);
        Self {}
    }

    /// Makes what the plan needs and keeps what is equal (its sessions, tokens, connections and
    /// breaker). What the plan no longer has lives until [`Stores::retire`], so that workers still
    /// running on it finish. Sessions log in when the first fetch asks for them.
    pub fn apply(&mut self, plan: &Plan) {
        let _ = plan;
    }

    /// Lets go of what the last applied plan does not use: stops its keepers, revokes its tokens.
    pub fn retire(&mut self) {}

    /// The store of a source.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Store>> {
        let _ = name;
        None
    }

    /// Credential and TLS files to follow.
    #[must_use]
    pub fn followed_files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Tells sessions and agents that the content of these files changed.
    pub fn files_changed(&self, files: &[PathBuf]) {
        let _ = files;
    }

    /// For status and metrics; never blocks on the network.
    #[must_use]
    pub fn status(&self) -> Vec<StoreStatus> {
        Vec::new()
    }

    /// Stops the keepers and revokes the tokens that a login made (unless leases in use hang on
    /// them), within the time given, in all.
    pub fn close(self, within: Duration) {
        let _ = within;
    }
}
