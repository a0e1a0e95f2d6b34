//! What a server knows of the secrets that manifests name (`--query-vault`).

use std::rc::Rc;

use super::path::Place;
use crate::plan::KvVersion;
use crate::secret::Fields;

/// One read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Read {
    /// Of the store; empty is root.
    pub(super) namespace: String,
    /// Mount and key.
    pub(super) place: Place,
    /// Whether the mount speaks version 2.
    pub(super) is_v2: bool,
    /// The pin.
    pub(super) version: Option<u64>,
    /// The metadata instead of the data.
    pub(super) metadata: bool,
}

impl Read {
    /// The version of the mount.
    pub(super) fn kv(&self) -> KvVersion {
        if self.is_v2 {
            KvVersion::V2
        } else {
            KvVersion::V1
        }
    }
}

/// Asks a server.
pub(super) trait Facts {
    /// The mount that a path lies in, and its version.
    fn engine(&self, namespace: &str, path: &str) -> Option<(String, KvVersion)>;

    /// The fields of a secret.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, for people.
    fn read(&self, read: &Read) -> Result<Rc<Fields>, String>;

    /// The names of all secrets below a path of a mount, relative to the mount.
    ///
    /// # Errors
    ///
    /// Why they cannot be listed, for people.
    fn list(
        &self,
        namespace: &str,
        mount: &str,
        kv: KvVersion,
        below: &str,
    ) -> Result<Vec<String>, String>;
}
