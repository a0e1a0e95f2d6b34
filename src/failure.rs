//! The one vocabulary of failures: each room has its own error type, and every one of them says
//! which [`ErrorType`] it is and what a worker should do about it.

use std::fmt;
use std::time::Duration;

use crate::printable::brief;

/// The longest message, in characters: two paths as long as they may be. Only a server that means
/// harm comes near it (the name of a field can be as long as the answer).
const LONGEST: usize = 8 << 10;

/// What to do where the system gave no thread.
pub const MORE_THREADS: &str = "raise the limit on threads (systemd: `TasksMax=`, containers: `--pids-limit`, a \
     user: `LimitNPROC=`); it is tried again by itself";

/// What to do about a defect of ours.
pub const REPORT: &str =
    "the log names the place in the source: please report it; the daemon tries again by itself";

/// The class of a failure, as users see it in the status, the log and the metric label
/// `error_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorType {
    /// No connection, an answer of 5xx, a redirect elsewhere, or an open circuit breaker.
    Unavailable,
    /// The server is sealed.
    Sealed,
    /// The server asks for fewer requests (429).
    Throttled,
    /// No answer in time.
    Timeout,
    /// The TLS handshake failed, or a certificate is not trusted.
    Tls,
    /// A login failed, or a credential is missing or bad.
    Auth,
    /// The token's policies do not allow the read.
    Denied,
    /// Nothing there: secret, mount or namespace.
    NotFound,
    /// The version was deleted or destroyed.
    Deleted,
    /// The server refused the request itself (400 and kin).
    BadRequest,
    /// The answer is not what the API promises.
    BadResponse,
    /// A template, field or format does not fit the data.
    Render,
    /// A file could not be written.
    Write,
    /// A defect of ours, caught.
    Panic,
    /// A worker is past its deadline.
    Stalled,
}

impl ErrorType {
    /// Every type, in the order of the contract.
    pub const ALL: [Self; 15] = [
        Self::Unavailable,
        Self::Sealed,
        Self::Throttled,
        Self::Timeout,
        Self::Tls,
        Self::Auth,
        Self::Denied,
        Self::NotFound,
        Self::Deleted,
        Self::BadRequest,
        Self::BadResponse,
        Self::Render,
        Self::Write,
        Self::Panic,
        Self::Stalled,
    ];

    /// The name users see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Sealed => "sealed",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Deleted => "deleted",
            Self::BadRequest => "bad_request",
            Self::BadResponse => "bad_response",
            Self::Render => "render",
            Self::Write => "write",
            Self::Panic => "panic",
            Self::Stalled => "stalled",
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What may be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may pass by itself: try again with backoff, at the earliest after the time the server
    /// asked for (already capped).
    Backoff(Option<Duration>),
    /// It stays until somebody changes something: try again at the refresh interval.
    Settled,
}

/// A failure of one secret, in the form that the supervisor, the log and the status share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub error_type: ErrorType,
    /// What failed, where and why: one line, lower case, no full stop, no secret value.
    pub message: String,
    /// What to do about it, where we know: one line.
    pub remedy: Option<String>,
    /// Whether trying again soon makes sense.
    pub retry: Retry,
    /// Whether new content is in place already, whole or in part; the message says which.
    pub is_halfway: bool,
}

impl Failure {
    /// A failure without a remedy. What a server or a file put into the message cannot act on a
    /// terminal, begin a line, or be without end.
    #[must_use]
    pub fn new(error_type: ErrorType, retry: Retry, message: impl AsRef<str>) -> Self {
        Self {
            error_type,
            message: brief(message.as_ref(), LONGEST).into_owned(),
            remedy: None,
            retry,
            is_halfway: false,
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl AsRef<str>) -> Self {
        self.remedy = Some(brief(remedy.as_ref(), LONGEST).into_owned());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_acts_on_a_terminal_or_is_without_end() {
        let foreign = format!("a\n\u{1b}[2J\u{202e}{}", "x".repeat(1 << 20));
        let failure =
            Failure::new(ErrorType::Render, Retry::Settled, &foreign).with_remedy(&foreign);
        for text in [failure.message, failure.remedy.unwrap()] {
            assert!(text.starts_with("a\\n\\u{1b}[2J\\u{202e}xxx"));
            assert!(text.ends_with("x…") && text.len() < 9000, "{}", text.len());
        }
    }
}
