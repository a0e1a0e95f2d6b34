//! What a store tells the supervisor, which logs it and shows it.

use crate::clock::Tick;
use crate::failure::Failure;
use crate::plan::SessionKey;

/// A change worth telling. Sent when a state changes, not for each attempt.
#[derive(Clone, Debug)]
pub enum StoreEvent {
    /// A session has a new token.
    LoggedIn {
        /// Which.
        session: SessionKey,
        /// `token`, `approle`, `cert`, `none`.
        method: &'static str,
        /// Time to live in seconds, 0 for none.
        ttl_secs: u64,
        /// Whether it can be renewed.
        renewable: bool,
        /// The last four characters of the accessor.
        accessor: String,
        /// How often it may be used, 0 for without end.
        uses: u64,
    },
    /// A login, look-up or renewal failed; told at the first of a row, and when the reason
    /// changes.
    SessionFailed {
        /// Which.
        session: SessionKey,
        /// Why.
        failure: Failure,
    },
    /// Something to know about a session: a use-limited token, a token that will not be renewed.
    SessionNotice {
        /// Which.
        session: SessionKey,
        /// What.
        message: String,
        /// At `warn` rather than `info`.
        warning: bool,
    },
    /// The breaker changed.
    Breaker {
        /// The store.
        store: String,
        /// The new state.
        state: BreakerState,
        /// Why.
        reason: String,
    },
    /// New certificates were taken up, or could not be.
    Tls {
        /// The store.
        store: String,
        /// What happened.
        message: String,
        /// At `warn` rather than `info`.
        warning: bool,
    },
}

/// State of a circuit breaker, with the metric's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass (0).
    #[default]
    Closed,
    /// A few requests pass (1).
    HalfOpen,
    /// The probe alone passes (2).
    Open,
}

impl BreakerState {
    /// As the metric `circuit_breaker_state` counts it.
    #[must_use]
    pub fn gauge(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// A store as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Its name.
    pub name: String,
    /// Its breaker.
    pub breaker: BreakerState,
    /// While the breaker is not closed: when the store is asked after next.
    pub next_probe: Option<Tick>,
    /// Requests that wait for the limits.
    pub waiting: usize,
    /// Its sessions.
    pub sessions: Vec<SessionStatus>,
}

/// A session as the status and the metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Which.
    pub key: SessionKey,
    /// `token`, `approle`, `cert`, `none`.
    pub method: &'static str,
    /// Whether it has a token.
    pub has_token: bool,
    /// When the token expires; `None` where it does not, or there is none.
    pub expires: Option<Tick>,
    /// Whether the token can be renewed.
    pub renewable: bool,
    /// The last four characters of its accessor.
    pub accessor: String,
    /// Its policies, as far as the server told them.
    pub policies: Vec<String>,
    /// When its keeper acts next by itself.
    pub next: Option<Tick>,
    /// The last failure, while there is one.
    pub failure: Option<Failure>,
}
