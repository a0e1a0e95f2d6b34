//! Where secrets come from: connections, limits, breaker, sessions; one folder a backend.
//!
//! Knows no files but credentials and certificates, nothing of rendering, and does not log: what
//! people should know is told as a [`StoreEvent`].

mod backoff;
mod bell;
mod entrance;
mod error;
mod event;
mod registry;

pub mod breaker;
pub mod collector;
pub mod http;
pub mod limiter;
pub mod vault;

pub use backoff::Backoff;
pub use error::StoreError;
pub use event::{BreakerState, SessionStatus, StoreEvent, StoreStatus};
pub use registry::{Mode, Stores};

use std::time::Duration;

use crate::clock::Stop;
use crate::plan::Source;
use crate::secret::Fields;

/// One store, shared by its workers.
pub trait Store: Send + Sync {
    /// Starts what the first fetch of this source needs beside its worker: the keeper of its session. To be called
    /// before the worker's own thread is started, so that a process that runs out of threads has one worker less
    /// rather than a session without a keeper, and all of its workers in vain. Does nothing where it runs already;
    /// asks nobody.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    fn prepare(&self, _source: &Source) -> Result<(), StoreError> {
        Ok(())
    }

    /// Reads one source. Called by workers, on their own threads, as often as their schedules
    /// say; blocks for at most the store's time-out for each request it needs, and for the
    /// session's login. Must not retry beyond what the contract says of dead tokens and
    /// connections that were closed under it: pacing is the worker's.
    ///
    /// # Errors
    ///
    /// With its class; [`StoreError::wake`] where waiting for the store is better than a retry.
    fn fetch(&self, source: &Source, stop: &Stop) -> Result<Fetched, StoreError>;
}

/// The answer to a read.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The fields.
    pub fields: Fields,
    /// The version, where the engine has versions.
    pub version: Option<u64>,
    /// How long it is good for, where the server says so and means it: a shorter interval.
    pub ttl: Option<Duration>,
    /// Whether a lease hangs on the session's token (the token is not revoked at exit then).
    pub leased: bool,
}
