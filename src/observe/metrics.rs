//! The metrics, in Prometheus' text format.

use std::time::{Duration, SystemTime};

use crate::failure::ErrorType;
use crate::store::BreakerState;

/// All series. Told by the supervisor, read by the HTTP server.
pub struct Metrics {}

/// The labels of one secret's series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretLabels {
    /// Its name.
    pub secret: String,
    /// Its store's name.
    pub store: String,
    /// Mount and key, without `data/`; of the first source.
    pub vault_path: String,
}

impl Metrics {
    /// Empty, but for the build information and what counts from zero.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// One sync ended (fetch, render and commit): `secret_fetch_total`,
    /// `secret_fetch_errors_total`, `secret_sync_duration_seconds`.
    pub fn synced(&self, labels: &SecretLabels, result: Result<(), ErrorType>, took: Duration) {
        let _ = (labels, result, took);
    }

    /// A failure outside a sync: a thread that could not be started, a stalled worker.
    pub fn failed(&self, labels: &SecretLabels, error_type: ErrorType) {
        let _ = (labels, error_type);
    }

    /// A complete success: time stamp, version, files written.
    pub fn success(
        &self,
        labels: &SecretLabels,
        at: SystemTime,
        version: Option<u64>,
        files: usize,
    ) {
        let _ = (labels, at, version, files);
    }

    /// Seconds since the last complete success; 0 in sync.
    pub fn stale(&self, labels: &SecretLabels, stale: Duration) {
        let _ = (labels, stale);
    }

    /// How many secrets there are, and how many are in sync now.
    pub fn secrets(&self, configured: usize, synced: usize) {
        let _ = (configured, synced);
    }

    /// A store's breaker.
    pub fn breaker(&self, store: &str, state: BreakerState) {
        let _ = (store, state);
    }

    /// A session's token; `None` removes the series.
    pub fn token_expiry(&self, store: &str, credentials: &str, expires: Option<SystemTime>) {
        let _ = (store, credentials, expires);
    }

    /// A reload (or the start) succeeded at `at`, or failed (`None`).
    pub fn reloaded(&self, at: Option<SystemTime>) {
        let _ = at;
    }

    /// A secret is gone: its series disappear.
    pub fn forget_secret(&self, labels: &SecretLabels) {
        let _ = labels;
    }

    /// A store is gone: its series disappear.
    pub fn forget_store(&self, store: &str) {
        let _ = store;
    }

    /// The page.
    #[must_use]
    pub fn encode(&self) -> String {
        String::new()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
