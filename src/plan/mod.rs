//! What will be done: every default applied, every variable expanded, every path checked, every
//! template compiled. A [`Plan`] cannot be built from a bad configuration, and nothing after it
//! validates again.
//!
//! It uses the vocabulary of `render` and `files`, which know nothing of it; `store` and `sync`
//! read it. It knows nothing of threads or the network.

pub(crate) mod address;
mod auth;
mod claims;
mod collector;
mod credential;
mod credentials;
mod describe;
mod diff;
mod expected;
mod load;
mod model;
mod outputs;
mod proxy;
mod scope;
mod secret;
mod store;
mod templates;
#[cfg(test)]
mod tests;
pub mod tls;

pub use crate::config::Daemon;
pub use collector::collector;
pub use credential::Unreadable;
pub use credentials::{CredentialProblem, inspect};
pub use describe::{content, describe};
pub use diff::{Diff, diff};
pub use expected::{Expected, whole};
pub use load::{load, load_again, load_text};
pub use model::{
    Address, Auth, Credential, Demand, Interval, KvVersion, Layout, Notice, Output, Plan, Proxy,
    Secret, SessionKey, SessionPlan, Source, StorePlan, TlsFiles, TrustedRoots,
};

/// What a plan is made for: `validate` only warns of a variable that is not set where it stands in
/// an address or a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be carried out.
    Run,
    /// To be looked at.
    Validate,
}
