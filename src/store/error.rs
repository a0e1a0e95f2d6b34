//! Why a read failed.

use std::convert::Infallible;
use std::fmt;

use crossbeam_channel::Receiver;

use crate::failure::{ErrorType, Failure, Retry};

/// A failure with its class. Messages name address, path and cause, never a value or a token.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// Its class, message, remedy and pacing.
    pub failure: Failure,
    /// Set when the store or its session is not to be had now: do not retry by backoff, wait
    /// until this channel closes (then a splay), or for a command.
    pub wake: Option<Receiver<Infallible>>,
    /// Where a retry by backoff is due: closes when the store is back from an outage that has begun meanwhile;
    /// then (after a splay) it is time for the retry.
    pub back: Option<Receiver<Infallible>>,
}

impl StoreError {
    /// A failure without a remedy.
    #[must_use]
    pub fn new(error_type: ErrorType, retry: Retry, message: impl AsRef<str>) -> Self {
        Self {
            failure: Failure::new(error_type, retry, message),
            wake: None,
            back: None,
        }
    }

    /// The same with what tells that the store is back, taken before the request: where the retry is by
    /// backoff, and the failure one of an outage. An answer that is about this request, such as 429, says
    /// that the store is there.
    #[must_use]
    pub(super) fn with_back(mut self, back: Receiver<Infallible>) -> Self {
        let is_outage = matches!(
            self.failure.error_type,
            ErrorType::Unavailable | ErrorType::Sealed | ErrorType::Timeout | ErrorType::Tls
        );
        if is_outage && self.wake.is_none() && self.failure.retry == Retry::Backoff(None) {
            self.back = Some(back);
        }
        self
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl AsRef<str>) -> Self {
        self.failure = self.failure.with_remedy(remedy);
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.failure, f)
    }
}

impl std::error::Error for StoreError {}
