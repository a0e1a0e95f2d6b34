//! What the endpoints show, put up by the main loop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock::{Clock, Tick};
use crate::observe::{Metrics, StatusDocument};

/// A main loop that has not turned for this long hangs. It turns at least every few seconds.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// Shared by the main loop, which writes, and the server, which reads.
pub struct Board {
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    document: Mutex<Arc<StatusDocument>>,
    beat: AtomicU64,
}

impl Board {
    /// Not ready, healthy from now on.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let board = Self {
            metrics: Metrics::new(),
            document: Mutex::new(Arc::new(StatusDocument {
                schema: 1,
                ..StatusDocument::default()
            })),
            beat: AtomicU64::default(),
            clock,
        };
        board.beat(board.clock.now());
        board
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The main loop turned at `now`.
    pub fn beat(&self, now: Tick) {
        self.beat.store(millis(now), Ordering::Relaxed);
    }

    /// Puts up a new status.
    pub fn publish(&self, document: Arc<StatusDocument>) {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = document;
    }

    /// The status that was put up last.
    #[must_use]
    pub fn document(&self) -> Arc<StatusDocument> {
        Arc::clone(&self.document.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Now, for people.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    /// Whether the main loop turns.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let silent = millis(self.clock.now()).saturating_sub(self.beat.load(Ordering::Relaxed));
        Duration::from_millis(silent) <= HANGS_AFTER
    }
}

fn millis(at: Tick) -> u64 {
    u64::try_from(at.since_start().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn health_ends_when_the_loop_stands_still_and_comes_back_with_it() {
        let clock = ManualClock::new();
        let board = Board::new(Arc::new(clock.clone()));
        clock.advance(Duration::from_secs(10));
        assert!(board.is_healthy());
        clock.advance(Duration::from_millis(1));
        assert!(!board.is_healthy());
        board.beat(clock.now());
        assert!(board.is_healthy());
    }
}
