//! How long after each other probes are made.
//!
//! By what the last one found, each wait ± 25 %, and none longer than the time-out of the breaker:
//!
//! * **An answer, or none**: 1, 2, 4, and then every 8 s. A server in trouble is not hurried.
//! * **Nobody**: 1, and then every 2 s. Where nothing listens there is no program that a probe could
//!   trouble: it is one packet there and one back.
//! * **What is new begins anew**, at 1 s: an answer other than those before, or nobody where somebody
//!   was, for something is under way. Once for each that is found, until nobody is found again: a
//!   server that gives two answers by turns is asked no more often for it. To time out is no such news:
//!   it is also what a server does that too many ask at once. And [`MOST_ANEW`] times at most until the breaker is
//!   closed: a server that starts and falls again and again is in trouble.
//!
//! So no two probes are less than 0.75 s apart, whatever is found.

use std::time::Duration;

/// In seconds; the last is repeated.
const WAITS: [u64; 4] = [1, 2, 4, 8];
/// The one that is repeated while nothing listens.
const NOBODY: usize = 1;
/// How often what is new begins anew.
const MOST_ANEW: u32 = 8;

/// What a request found where the store should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that listens, or no network to reach it by: no program took notice of the request.
    Nobody,
    /// No answer, for a reason that came at once: closed, reset, TLS, a name that is not known.
    NoAnswer,
    /// No answer in time.
    TimedOut,
    /// An answer with this status.
    Answer(u16),
}

/// Since the breaker was closed.
#[derive(Debug)]
pub(super) struct Spacing {
    /// The longest.
    timeout: Duration,
    /// Which of the waits is the next.
    step: usize,
    /// What was found, each once, since nobody was; where nobody is, that alone.
    found: Vec<Found>,
    /// How often it has begun anew.
    anew: u32,
}

impl Spacing {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            step: 0,
            found: Vec::new(),
            anew: 0,
        }
    }

    /// A probe begins.
    pub(super) fn begun(&mut self) {
        self.step += 1;
    }

    /// It begins again.
    pub(super) fn not_yet(&mut self) {
        self.step = self.step.saturating_sub(1);
    }

    /// What a probe found, or the question at which the breaker opened.
    pub(super) fn found(&mut self, found: Found) {
        if self.found.contains(&found) && (found != Found::Nobody || self.is_nobody()) {
            return;
        }
        if !self.found.is_empty() && found != Found::TimedOut && self.anew < MOST_ANEW {
            self.anew += 1;
            self.step = 0;
        }
        if found == Found::Nobody {
            self.found.clear();
        }
        self.found.push(found);
    }

    /// From the probe that begun last to the next.
    pub(super) fn wait(&self, chance: f64) -> Duration {
        self.jittered(
            if self.is_nobody() {
                self.step.min(NOBODY)
            } else {
                self.step
            },
            chance,
        )
    }

    /// The same, whatever that probe will find.
    pub(super) fn most(&self, chance: f64) -> Duration {
        self.jittered(self.step, chance)
    }

    fn is_nobody(&self) -> bool {
        self.found.last() == Some(&Found::Nobody)
    }

    fn jittered(&self, step: usize, chance: f64) -> Duration {
        Duration::from_secs(WAITS[step.min(WAITS.len() - 1)])
            .mul_f64(chance.clamp(0.0, 1.0).mul_add(0.5, 0.75))
            .min(self.timeout)
    }
}
