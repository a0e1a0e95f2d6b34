//! The status document: what `GET /status`, the status file and `secrets-sync status` show.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where only times of secrets in sync move, they are shown this often; so such a time may be so old.
pub const TIMES_MOVE: Duration = Duration::from_secs(5);

/// The whole document. Later versions add keys and never change these.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Default)]
pub struct StatusDocument {
    /// Always 1.
    pub schema: u32,
    /// Every secret that is not optional has been written since start.
    pub ready: bool,
    /// Something that is not optional is not in sync now.
    pub degraded: bool,
    /// Secrets in the running plan.
    pub secret_count: usize,
    /// Secrets in sync now.
    pub synced_count: usize,
    /// When the daemon started, RFC 3339.
    pub started: String,
    /// The running configuration.
    pub config: ConfigEntry,
    /// Its stores.
    pub stores: Vec<StoreEntry>,
    /// Its secrets, in written order.
    pub secrets: Vec<SecretEntry>,
    /// What is wrong with the daemon itself: a port it could not bind, a status lock not held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// The configuration.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Default)]
pub struct ConfigEntry {
    /// When it was taken up, RFC 3339.
    pub loaded: String,
    /// Why a later one was refused.
    pub error: Option<String>,
}

/// A store.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Default)]
pub struct StoreEntry {
    /// Its name.
    pub name: String,
    /// `closed`, `half_open`, `open`.
    pub breaker: String,
    /// What its sessions wait for or fail with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// While the breaker is not closed: when the store is asked after next, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_probe: Option<String>,
    /// Requests that wait for a place (`maxConcurrent`) or for the rate limit.
    #[serde(default, skip_serializing_if = "is_none")]
    pub waiting: usize,
    /// Its sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionEntry>,
}

/// A session: one login that reads share.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Default)]
pub struct SessionEntry {
    /// The credential set; `default` for the store's own.
    pub credentials: String,
    /// The namespace of the login; empty is root.
    pub namespace: String,
    /// `token`, `approle`, `cert`, `none`.
    pub method: String,
    /// Whether it has a token.
    pub has_token: bool,
    /// When the token expires, RFC 3339; none where it does not, or there is none.
    pub expires: Option<String>,
    /// Whether the token can be renewed.
    pub renewable: bool,
    /// The last four characters of the token's accessor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub accessor: String,
    /// The token's policies, as the server told them; the first sixteen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// When it renews or logs in next by itself, RFC 3339.
    pub next: Option<String>,
    /// What it fails with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A secret.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Default)]
pub struct SecretEntry {
    /// Its name.
    pub name: String,
    /// Its store.
    pub store: String,
    /// `pending`, `in_sync`, `failed`, `stalled`.
    pub state: String,
    /// The version on disk.
    pub version: Option<u64>,
    /// RFC 3339.
    pub last_success: Option<String>,
    /// RFC 3339.
    pub next_refresh: Option<String>,
    /// Why then: see [`reason`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_reason: Option<String>,
    /// The refresh interval, such as `5m`, or `once`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interval: String,
    /// While failed: how many attempts have failed in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// When a file of it was written last since the start, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_write: Option<String>,
    /// When the lease of what is on disk ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_expires: Option<String>,
    /// While failed.
    pub error_type: Option<String>,
    /// While failed.
    pub error: Option<String>,
    /// While failed: what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Counts neither for ready nor for degraded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// The words of [`SecretEntry::next_reason`].
pub mod reason {
    /// The refresh interval, less up to a tenth of it.
    pub const INTERVAL: &str = "interval";
    /// What was read is good for less than the interval.
    pub const LEASE: &str = "lease";
    /// A retry after a failure that may pass, with backoff.
    pub const BACKOFF: &str = "backoff";
    /// The server asked not to be asked before.
    pub const ASKED: &str = "retry_after";
    /// A failure that stays until somebody acts: again at the interval, or sooner before the first
    /// success.
    pub const SETTLED: &str = "settled";
    /// It waits for its store, whose circuit breaker is not closed.
    pub const STORE: &str = "store";
    /// It waits for a login.
    pub const SESSION: &str = "session";
    /// `refreshInterval: once`, and it has been fetched.
    pub const ONCE: &str = "once";
    /// Its thread could not be started, which is tried again.
    pub const THREAD: &str = "thread";
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
