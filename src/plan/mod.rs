//! What will be done: every default applied, every variable expanded, every path checked, every
//! template compiled. A [`Plan`] cannot be built from a bad configuration, and nothing after it
//! validates again.
//!
//! It uses the vocabulary of `render` and `files`, which know nothing of it; `store` and `sync`
//! read it. It knows nothing of threads or the network.

mod model;
pub mod tls;

pub use model::{
    Address, Auth, Credential, Daemon, Demand, Interval, KvVersion, Layout, Notice, Output, Plan,
    Proxy, Secret, SessionKey, SessionPlan, Source, StorePlan, TlsFiles, TrustedRoots,
};

use std::path::Path;

use crate::config::{Environment, Problems};

/// What a plan is made for: `validate` only warns of a variable that is not set where it stands in
/// an address or a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be carried out.
    Run,
    /// To be looked at.
    Validate,
}

/// Reads the configuration file and resolves it.
///
/// # Errors
///
/// Every problem at once, each with its place.
pub fn load(file: &Path, environment: &Environment, purpose: Purpose) -> Result<Plan, Problems> {
    let _ = (file, environment, purpose);
    Err(Problems::default())
}
