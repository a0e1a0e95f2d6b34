//! Secret IDs that came wrapped: each can be unwrapped once only, and then serves every session
//! that has the same wrapping token, over reloads too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::secret::SecretString;

/// A secret ID, once it is unwrapped. Its lock is held while that is being done.
pub(super) type Slot = Arc<Mutex<Option<SecretString>>>;

/// What was unwrapped, by wrapping token. Shared by all sessions of all stores.
#[derive(Default)]
pub(crate) struct Unwrapped(Mutex<Vec<(SecretString, Slot)>>);

impl Unwrapped {
    /// The place of the secret ID that this token wraps.
    pub(super) fn slot(&self, wrapping: &SecretString) -> Slot {
        let mut entries = self.entries();
        if let Some((_, slot)) = entries.iter().find(|(token, _)| token == wrapping) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        entries.push((wrapping.clone(), Arc::clone(&slot)));
        slot
    }

    /// Another wrapping token has taken its place.
    pub(super) fn forget(&self, wrapping: &SecretString) {
        self.entries().retain(|(token, _)| token != wrapping);
    }

    fn entries(&self) -> MutexGuard<'_, Vec<(SecretString, Slot)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
