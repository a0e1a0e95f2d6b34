//! When a secret is tried again: pure arithmetic, chance handed in.

use std::time::Duration;

use crate::clock::{Clock, Growth};
use crate::failure::Retry;
use crate::observe::status::reason;
use crate::plan::{Daemon, Interval};

/// No refresh follows another more closely than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// Before its first success a secret that fails for good is looked at this often at least.
const SETTLED_BEFORE_SUCCESS: Duration = Duration::from_secs(60);

/// Why a secret is tried again when it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The refresh interval.
    Interval,
    /// The answer is good for less than that.
    Lease,
    /// Backoff.
    Backoff,
    /// The server named the time.
    Asked,
    /// The failure stays until somebody acts.
    Settled,
    /// It is woken, when its store or session is to be had.
    Woken,
    /// Never by itself.
    Once,
    /// Its thread could not be started.
    Thread,
}

impl Reason {
    /// The word of the status and of attempts; who is to be woken waits for a login, unless the store
    /// is away.
    #[must_use]
    pub(super) fn word(self, store_is_away: bool) -> &'static str {
        match self {
            Self::Interval => reason::INTERVAL,
            Self::Lease => reason::LEASE,
            Self::Backoff => reason::BACKOFF,
            Self::Asked => reason::ASKED,
            Self::Settled => reason::SETTLED,
            Self::Once => reason::ONCE,
            Self::Thread => reason::THREAD,
            Self::Woken if store_is_away => reason::STORE,
            Self::Woken => reason::SESSION,
        }
    }
}

/// How a secret's tries are spaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pacing {
    /// Of the secret.
    pub(super) interval: Interval,
    /// Of its backoff.
    pub(super) growth: Growth,
}

impl Pacing {
    /// From the plan and the daemon's settings.
    #[must_use]
    pub(super) fn new(interval: Interval, daemon: &Daemon) -> Self {
        Self {
            interval,
            growth: daemon.growth(),
        }
    }

    /// Why the refresh after a success is when it is.
    #[must_use]
    pub(super) fn reason(&self, ttl: Option<Duration>) -> Reason {
        match self.interval {
            Interval::Once => Reason::Once,
            Interval::Every(interval) if ttl.is_some_and(|ttl| ttl < interval) => Reason::Lease,
            Interval::Every(_) => Reason::Interval,
        }
    }

    /// Time from a success to the next refresh: the interval × random 0.9–1.0, drawn anew each
    /// time; shorter where the answer is good for less. `None`: not by itself.
    #[must_use]
    pub(super) fn after_success(
        &self,
        ttl: Option<Duration>,
        clock: &dyn Clock,
    ) -> Option<Duration> {
        let spread = |span: Duration| clock.jitter(span, 0.9, 1.0).max(SHORTEST_WAIT);
        match self.interval {
            Interval::Every(interval) => {
                Some(spread(ttl.map_or(interval, |ttl| interval.min(ttl))))
            }
            Interval::Once => None,
        }
    }
}

/// The tries since the last complete success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    succeeded: bool,
}

impl Backoff {
    /// How many tries have failed in a row.
    #[must_use]
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// A complete success.
    pub(super) fn reset(&mut self) {
        *self = Self {
            failures: 0,
            succeeded: true,
        };
    }

    /// A failure that says nothing of the secret itself (its store is away, and it will be woken).
    pub(super) fn waited(&mut self) {
        self.failures = self.failures.max(1);
    }

    /// A failure: the time to the next try, and why then. Retryable: full jitter under a ceiling that grows;
    /// permanent: the interval (`once`: the longest backoff), before the first success a minute at
    /// most.
    pub(super) fn failed(
        &mut self,
        retry: Retry,
        pacing: &Pacing,
        clock: &dyn Clock,
    ) -> (Duration, Reason) {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        match retry {
            Retry::Backoff(at_least) => {
                let wait = pacing.growth.wait(failures, clock);
                match at_least {
                    Some(at_least) if at_least > wait => (at_least, Reason::Asked),
                    _ => (wait, Reason::Backoff),
                }
            }
            Retry::Settled => {
                let settled = match pacing.interval {
                    Interval::Every(interval) => interval,
                    Interval::Once => pacing.growth.max,
                };
                let settled = if self.succeeded {
                    settled
                } else {
                    settled.min(SETTLED_BEFORE_SUCCESS)
                };
                let wait = clock.jitter(settled, 0.9, 1.0).max(SHORTEST_WAIT);
                (wait, Reason::Settled)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn pacing(interval: Interval) -> Pacing {
        Pacing {
            interval,
            growth: Growth {
                initial: Duration::from_secs(1),
                max: Duration::from_secs(300),
                multiplier: 2.0,
            },
        }
    }

    #[test]
    fn a_refresh_lies_in_the_last_tenth_of_the_interval_and_is_drawn_anew() {
        let clock = ManualClock::new();
        let pacing = pacing(Interval::Every(Duration::from_secs(100)));
        let drawn: Vec<_> = (0..100)
            .map(|_| pacing.after_success(None, &clock).unwrap())
            .collect();
        assert!(
            drawn
                .iter()
                .all(|d| (90.0..=100.0).contains(&d.as_secs_f64()))
        );
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn an_answer_that_is_good_for_less_shortens_the_interval_and_never_lengthens_it() {
        let clock = ManualClock::new();
        clock.set_chance(1.0);
        let pacing = pacing(Interval::Every(Duration::from_secs(100)));
        let after = |ttl| pacing.after_success(Some(Duration::from_secs(ttl)), &clock);
        assert_eq!(after(20), Some(Duration::from_secs(20)));
        assert_eq!(after(2_764_800), Some(Duration::from_secs(100)));
        let why = |ttl| pacing.reason(Some(Duration::from_secs(ttl)));
        assert_eq!((why(20), why(2_764_800)), (Reason::Lease, Reason::Interval));
    }

    #[test]
    fn once_has_no_next_refresh() {
        let clock = ManualClock::new();
        assert_eq!(pacing(Interval::Once).after_success(None, &clock), None);
        assert_eq!(pacing(Interval::Once).reason(None), Reason::Once);
    }

    #[test]
    fn backoff_doubles_up_to_its_ceiling_and_is_reset_by_success() {
        let clock = ManualClock::new();
        clock.set_chance(1.0);
        let pacing = pacing(Interval::Every(Duration::from_secs(3_600)));
        let mut backoff = Backoff::default();
        let mut next = || {
            backoff
                .failed(Retry::Backoff(None), &pacing, &clock)
                .0
                .as_secs()
        };
        let waits: Vec<_> = (0..11).map(|_| next()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        backoff.reset();
        let wait = backoff.failed(Retry::Backoff(None), &pacing, &clock);
        assert_eq!((wait.0.as_secs(), wait.1), (1, Reason::Backoff));
    }

    #[test]
    fn a_server_that_names_a_time_is_not_asked_before() {
        let clock = ManualClock::new();
        let pacing = pacing(Interval::Every(Duration::from_secs(60)));
        let asked = Some(Duration::from_secs(77));
        let wait = Backoff::default().failed(Retry::Backoff(asked), &pacing, &clock);
        assert_eq!((wait.0.as_secs(), wait.1), (77, Reason::Asked));
    }

    #[test]
    fn permanent_failures_settle_at_the_interval() {
        let clock = ManualClock::new();
        clock.set_chance(1.0);
        let slow = pacing(Interval::Every(Duration::from_secs(3_600)));
        let fast = pacing(Interval::Every(Duration::from_secs(5)));
        let once = pacing(Interval::Once);
        let mut fresh = Backoff::default();
        let mut known = Backoff::default();
        known.reset();
        let secs = |backoff: &mut Backoff, pacing| {
            let (wait, reason) = backoff.failed(Retry::Settled, pacing, &clock);
            assert_eq!(reason, Reason::Settled);
            wait.as_secs()
        };
        assert_eq!(secs(&mut fresh, &slow), 60);
        assert_eq!(secs(&mut fresh, &fast), 5);
        assert_eq!(secs(&mut fresh, &once), 60);
        assert_eq!(secs(&mut known, &slow), 3_600);
        assert_eq!(secs(&mut known, &once), 300);
    }
}
