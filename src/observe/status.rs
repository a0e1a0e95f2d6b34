//! The status document: what `GET /status`, the status file and `secrets-sync status` show.

use serde::{Deserialize, Serialize};

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
