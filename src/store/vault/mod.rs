//! HashiCorp Vault and OpenBao.
//!
//! A read goes worker → `store` → `session` (a token) → `client` (limits, connection) →
//! `answer` (what it means) → `kv` (fields). Beside it, one `keeper` thread a session logs
//! in (`auth`), renews, and decides for all workers what a refusal means; `upkeep` and
//! `token` say when, and do nothing. Deciding is kept apart from doing: `answer`, `explain`,
//! `kv`, `token` and `upkeep` are pure. `policy` says, offline, what a token must be allowed.
//!
//! The API: <https://openbao.org/api-docs/>, <https://developer.hashicorp.com/vault/api-docs>.

pub mod answer;
mod auth;
mod client;
mod envelope;
mod explain;
mod inquiry;
mod keeper;
pub mod kv;
pub mod policy;
mod remedy;
mod session;
mod store;
mod teller;
pub mod token;
mod unwrapped;
mod upkeep;
mod wire;

pub(crate) use kv::{encoded, fetched, request_path};
pub use store::longest_fetch;
pub(crate) use store::{Retired, Surroundings, VaultStore};
pub(crate) use unwrapped::LEFT_FOR_THE_DAEMON;
