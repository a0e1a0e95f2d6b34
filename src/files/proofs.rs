//! What has been shown already about directories: a thousand secrets of one directory would make and remove a
//! thousand files in it only to show that one can.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::WriteError;
use super::look::Look;
use super::sys::NodeId;
use super::walk::Directory;

/// Directories in which a file of some look could be made. Shared by the writers that start together; later
/// ones have their own, for it may have changed.
#[derive(Debug, Default)]
pub struct Proofs(Mutex<HashMap<(NodeId, Look), Shown>>);

/// Whether it has been; held by the one who tries.
type Shown = Arc<Mutex<bool>>;

impl Proofs {
    /// Lets `prove` show it, unless somebody has. Whoever else asks meanwhile waits for the answer (and would wait
    /// for that directory anyway); those of other directories do not. A failure is nobody's but its own.
    pub(super) fn shown(
        &self,
        dir: &Directory,
        look: Look,
        prove: impl FnOnce() -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let place = (dir.node()?.id, look);
        let place = Arc::clone(lock(&self.0).entry(place).or_default());
        let mut shown = lock(&place);
        if !*shown {
            prove()?;
            *shown = true;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
