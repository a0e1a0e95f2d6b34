//! Is told what happened and shows it: log, metrics, status document, HTTP, systemd,
//! traces. Asks nobody,
//! decides nothing, and never holds a value of a secret.

pub mod build_info;
pub mod details;
pub mod http;
pub mod log;
pub mod metrics;
pub mod quiet;
pub mod status;
pub mod status_file;
pub mod systemd;
pub mod trace;
pub mod view;

pub use metrics::Metrics;
pub use status::{ConfigEntry, SecretEntry, SessionEntry, StatusDocument, StoreEntry};
