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
}

impl StoreError {
    /// A failure without a remedy.
    #[must_use]
    pub fn new(error_type: ErrorType, retry: Retry, message: impl AsRef<str>) -> Self {
        Self {
            failure: Failure::new(error_type, retry, message),
            wake: None,
        }
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
