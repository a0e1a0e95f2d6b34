//! What a worker is doing right now, readable without asking it: it may be stuck.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Tick;

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for its next time.
    Idle,
    /// Fetching or rendering: may be left alone at exit.
    Fetching,
    /// Writing: is waited for at exit.
    Writing,
    /// Told not to begin writing any more.
    Closed,
}

/// Shared by a worker and the supervisor.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    phase: AtomicU8,
    /// Nanoseconds on the clock by which the cycle, or its step, should have ended; 0 while idle.
    deadline: AtomicU64,
}

const IDLE: u8 = 0;
const FETCHING: u8 = 1;
const WRITING: u8 = 2;
const CLOSED: u8 = 3;

impl Pulse {
    /// What it waits for before its first cycle should come by `deadline`.
    pub(super) fn waiting(&self, deadline: Tick) {
        let nanos = u64::try_from(deadline.since_start().as_nanos()).unwrap_or(u64::MAX);
        self.deadline.store(nanos, Ordering::Relaxed);
    }

    /// A step that should end by `deadline`, whatever time its cycle has.
    pub(super) fn within<T>(&self, deadline: Tick, step: impl FnOnce() -> T) -> T {
        let whole = self.deadline.load(Ordering::Relaxed);
        self.waiting(deadline);
        let result = step();
        self.deadline.store(whole, Ordering::Relaxed);
        result
    }

    /// A cycle begins that should end by `deadline`; `false` when closed.
    pub(super) fn fetching(&self, deadline: Tick) -> bool {
        self.waiting(deadline);
        self.step(IDLE, FETCHING)
    }

    /// The files are about to be written; `false` when closed: then they must not be.
    pub(super) fn writing(&self) -> bool {
        self.step(FETCHING, WRITING)
    }

    /// The cycle has ended.
    pub(super) fn idle(&self) {
        self.deadline.store(0, Ordering::Relaxed);
        let _ = self
            .phase
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |phase| {
                (phase != CLOSED).then_some(IDLE)
            });
    }

    /// No write begins after this; one that has begun goes on.
    pub(super) fn close(&self) {
        let _ = self
            .phase
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |phase| {
                (phase != WRITING).then_some(CLOSED)
            });
    }

    /// What it is at.
    #[must_use]
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            IDLE => Phase::Idle,
            FETCHING => Phase::Fetching,
            WRITING => Phase::Writing,
            _ => Phase::Closed,
        }
    }

    /// When its cycle should have ended; `None` while it is idle.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Tick> {
        match self.deadline.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Tick::from_start(Duration::from_nanos(nanos))),
        }
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.phase
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_worker_begins_no_write() {
        let pulse = Pulse::default();
        assert!(pulse.fetching(Tick::default()));
        pulse.close();
        assert!(!pulse.writing());
        pulse.idle();
        assert!(!pulse.fetching(Tick::default()));
    }

    #[test]
    fn a_write_that_has_begun_goes_on() {
        let pulse = Pulse::default();
        assert!(pulse.fetching(Tick::default()) && pulse.writing());
        pulse.close();
        assert_eq!(pulse.phase(), Phase::Writing);
    }

    #[test]
    fn a_cycle_has_a_deadline_until_it_ends() {
        let pulse = Pulse::default();
        let at = Tick::from_start(Duration::from_secs(10));
        assert_eq!(pulse.deadline(), None);
        assert!(pulse.fetching(at));
        assert_eq!(pulse.deadline(), Some(at));
        pulse.idle();
        assert_eq!(pulse.deadline(), None);
    }
}
