//! Room for large answers. Real ones have some kilobytes; a hundred of the largest that are allowed,
//! all at once, would take up the memory of the machine.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// An answer is large when it is longer. A server's storage takes no larger secret by default.
pub(super) const LARGE: usize = 1 << 20;

/// So many large answers are read or kept at a time.
const AT_ONCE: usize = 2;

/// The room for the large answers of one server. Clones share it.
#[derive(Clone)]
pub(super) struct Room(Arc<Shared>);

struct Shared {
    free: Mutex<usize>,
    freed: Condvar,
}

/// The right to a large answer; given back when dropped, with the answer.
#[must_use]
pub struct Place(Arc<Shared>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            free: Mutex::new(AT_ONCE),
            freed: Condvar::new(),
        }))
    }

    /// Waits for a place; `None` when there is none before `until`.
    pub(super) fn place(&self, until: Option<Instant>) -> Option<Place> {
        let mut free = self.0.free();
        while *free == 0 {
            free = match until {
                None => self
                    .0
                    .freed
                    .wait(free)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.0.freed.wait_timeout(free, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *free -= 1;
        Some(Place(Arc::clone(&self.0)))
    }
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.freed.notify_one();
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_large_answers_than_there_is_room_for() {
        let room = Room::new();
        let now = Some(Instant::now());
        let places: Vec<_> = (0..AT_ONCE).map(|_| room.place(now).unwrap()).collect();
        assert!(room.place(now).is_none());
        let waiting = room.clone();
        let soon = Some(Instant::now() + Duration::from_secs(20));
        let thread = std::thread::spawn(move || waiting.place(soon).is_some());
        drop(places);
        assert!(thread.join().unwrap());
    }
}
