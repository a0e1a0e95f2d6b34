//! One sync of a directory for all who wait for one: of the secrets that are written at one time many have their
//! files in the same directory, and each sync of it writes the same blocks.
//!
//! A sync that has begun may miss what is renamed from then on. So whoever comes while one runs waits for the next
//! one, which one of those who wait begins for all of them; a failure is told to all of them. Nobody waits for more
//! than two syncs, and only for those of its own directory.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;

use super::sys::{NodeId, Result};

/// Those of this process.
pub(super) static SYNCS: LazyLock<Syncs> = LazyLock::new(Syncs::default);

/// The directories that are being synced.
#[derive(Debug, Default)]
pub(super) struct Syncs(Mutex<HashMap<NodeId, Arc<Place>>>);

/// One of them.
#[derive(Debug, Default)]
struct Place(Mutex<Turns>);

#[derive(Debug, Default)]
struct Turns {
    /// Whether somebody syncs.
    runs: bool,
    /// Who comes now is of this turn.
    next: Arc<Turn>,
}

/// One sync.
#[derive(Debug, Default)]
struct Turn {
    result: OnceLock<Result<()>>,
    changed: Condvar,
}

impl Syncs {
    /// Returns when a sync of the directory that began after this call has ended: `sync`, or that of another.
    pub(super) fn share(&self, directory: NodeId, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let place = Arc::clone(lock(&self.0).entry(directory).or_default());
        let result = place.share(sync);
        let mut places = lock(&self.0);
        drop(place);
        // The table's alone: nobody else is there, and nobody can come.
        if places
            .get(&directory)
            .is_some_and(|place| Arc::strong_count(place) == 1)
        {
            places.remove(&directory);
        }
        result
    }
}

impl Place {
    fn share(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut turns = lock(&self.0);
        let turn = Arc::clone(&turns.next);
        while turns.runs {
            turns = turn
                .changed
                .wait(turns)
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(result) = turn.result.get() {
                return *result;
            }
        }
        // Of all who are of this turn, the first to see it.
        turns.runs = true;
        turns.next = Arc::default();
        drop(turns);
        let mut running = Running {
            place: self,
            turn,
            result: Err(Errno::IO),
        };
        running.result = sync();
        running.result
    }
}

/// Dropped, it tells the result, and lets the next turn begin: also where `sync` panicked.
struct Running<'a> {
    place: &'a Place,
    turn: Arc<Turn>,
    result: Result<()>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut turns = lock(&self.place.0);
        turns.runs = false;
        let _ = self.turn.result.set(self.result);
        let next = Arc::clone(&turns.next);
        drop(turns);
        self.turn.changed.notify_all();
        next.changed.notify_one();
    }
}

#[cfg(test)]
impl Syncs {
    /// How many wait for the directory's next sync.
    pub(super) fn waiting(&self, directory: NodeId) -> usize {
        let places = lock(&self.0);
        let waiting = |place: &Arc<Place>| Arc::strong_count(&lock(&place.0).next) - 1;
        places.get(&directory).map_or(0, waiting)
    }

    /// How many directories are known.
    pub(super) fn places(&self) -> usize {
        lock(&self.0).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
