//! The seam between what is asked of a server and how it travels: sessions and reads know only
//! [`Wire`], so that their counts and orders are tested without a network.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::answer::{Meaning, Operation};
use crate::clock::Stop;
use crate::observe::trace::Span;
use crate::plan::TlsFiles;
use crate::secret::{SecretBytes, SecretString};
use crate::store::StoreError;
use crate::store::limiter::Permit;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    /// The asker's own number, the same each time: the breaker is fair by it.
    pub(super) who: u64,
    pub(super) method: Method,
    /// Path and query below `/v1/`, encoded.
    pub(super) path: &'a str,
    /// Empty is root.
    pub(super) namespace: &'a str,
    pub(super) token: Option<&'a SecretString>,
    pub(super) body: Option<SecretBytes>,
    /// The certificate that the connection presents.
    pub(super) client: Option<&'a TlsFiles>,
}

/// A number for an asker.
pub(super) fn number_of(asker: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    asker.hash(&mut hasher);
    hasher.finish()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) meaning: Meaning,
    /// The pause that the server asks for, capped at `MAX_BACKOFF`.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: SecretBytes,
    /// Of a large body: to be kept as long as that.
    pub(super) _place: Option<Permit>,
    /// Of the request: what the answer means is told to it.
    pub(super) span: Span,
}

/// Carries requests to one store.
pub(super) trait Wire: Send + Sync {
    /// Sends one request past breaker, rate limit and limit in flight, and says what the answer
    /// means.
    ///
    /// # Errors
    ///
    /// When there is no answer: the store is held to be down, a limit was not passed in time, no
    /// connection, no TLS, no answer in time, or told to stop.
    fn send(&self, call: &Call<'_>, stop: &Stop) -> Result<Reply, StoreError>;

    /// Sends one request past all limits, at once or never: for clearing up at the end.
    fn send_at_once(&self, call: &Call<'_>, within: Duration);

    /// Closes when the store is back after it was away.
    fn back(&self) -> Receiver<Infallible>;

    /// The address, as messages show it.
    fn address(&self) -> &str;
}
