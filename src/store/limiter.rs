//! How many requests, and how often: the limit on requests in flight to one store, and its rate
//! limit.
//!
//! Both wait on the injected clock, give up when told to stop, and serve those who wait in their
//! order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::{Clock, Stop, Tick};
use crate::plan::Demand;

/// Why there was nothing to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Told to stop.
    Stopped,
    /// The deadline came first.
    Deadline,
}

/// A limit on requests in flight. Clones share it.
#[derive(Clone, Debug)]
pub struct InFlight(Arc<Mutex<Places>>);

#[derive(Debug)]
struct Places {
    free: usize,
    /// The longest waiting first. A place is handed over, never freed while somebody waits.
    waiting: VecDeque<(u64, Sender<()>)>,
    next: u64,
}

impl InFlight {
    /// At most `limit` (at least 1) at a time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Places {
            free: limit.max(1),
            waiting: VecDeque::new(),
            next: 0,
        })))
    }

    /// Takes a place, waiting for one until `until`.
    ///
    /// # Errors
    ///
    /// When told to stop, or when none became free in time.
    pub fn acquire(&self, clock: &dyn Clock, stop: &Stop, until: Tick) -> Result<Permit, Refused> {
        let (number, mine) = {
            let mut places = lock(&self.0);
            if places.free > 0 {
                places.free -= 1;
                return Ok(self.permit());
            }
            let (hand, mine) = bounded(1);
            let number = places.next;
            places.next += 1;
            places.waiting.push_back((number, hand));
            (number, mine)
        };
        let refused = loop {
            if clock.now() >= until {
                break Refused::Deadline;
            }
            let alarm = clock.alarm(until);
            select! {
                recv(mine) -> _ => return Ok(self.permit()),
                recv(stop.receiver()) -> _ => break Refused::Stopped,
                recv(alarm) -> _ => {}
            }
        };
        lock(&self.0)
            .waiting
            .retain(|(waiting, _)| *waiting != number);
        // One that was handed over in the meantime must not be lost.
        if mine.try_recv().is_ok() {
            drop(self.permit());
        }
        Err(refused)
    }

    fn permit(&self) -> Permit {
        Permit(Arc::clone(&self.0))
    }
}

/// One place; given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct Permit(Arc<Mutex<Places>>);

impl Drop for Permit {
    fn drop(&mut self) {
        let mut places = lock(&self.0);
        while let Some((_, hand)) = places.waiting.pop_front() {
            if hand.try_send(()).is_ok() {
                return;
            }
        }
        places.free += 1;
    }
}

/// A token bucket, as numbers. Who takes more than there is goes into debt and waits it off, so
/// that those who wait are served in their order.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Tick,
}

impl Bucket {
    /// Full, with `rate` tokens a second and `burst` tokens at most (at least 1 each).
    #[must_use]
    pub fn new(rate: f64, burst: f64, now: Tick) -> Self {
        let burst = burst.max(1.0);
        Self {
            rate: rate.max(1.0),
            burst,
            tokens: burst,
            at: now,
        }
    }

    /// Takes one token; how long to wait before using it.
    pub fn take(&mut self, now: Tick) -> Duration {
        self.flow(now);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.tokens / self.rate)
        }
    }

    /// Gives an unused token back.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }

    /// Full again, all debt forgiven.
    pub fn refill(&mut self, now: Tick) {
        self.flow(now);
        self.tokens = self.burst;
    }

    /// Another rate and burst; what there is stays, as far as it fits.
    pub fn adjust(&mut self, rate: f64, burst: f64, now: Tick) {
        self.flow(now);
        let burst = burst.max(1.0);
        // A plan that grew may use its larger burst at once.
        self.tokens = (self.tokens + (burst - self.burst).max(0.0)).min(burst);
        self.rate = rate.max(1.0);
        self.burst = burst;
    }

    fn flow(&mut self, now: Tick) {
        let passed = now.since(self.at).as_secs_f64();
        self.tokens = passed.mul_add(self.rate, self.tokens).min(self.burst);
        self.at = self.at.max(now);
    }
}

/// The last line against loops of ours: at most twice what the plan's intervals need and 20 a
/// second, in bursts of two requests for every read in the plan (2 at least).
#[derive(Debug)]
pub struct RateLimit {
    limited: Mutex<Limited>,
}

#[derive(Debug)]
struct Limited {
    bucket: Bucket,
    /// Replaced at a refill: those who wait see the old one close, and take anew.
    refilled: (Sender<()>, Receiver<()>),
    refills: u64,
}

impl RateLimit {
    /// Full.
    #[must_use]
    pub fn new(demand: Demand, now: Tick) -> Self {
        let (rate, burst) = limits(demand);
        Self {
            limited: Mutex::new(Limited {
                bucket: Bucket::new(rate, burst, now),
                refilled: bounded(0),
                refills: 0,
            }),
        }
    }

    /// Waits for the right to make one request. The wait is short (each request before this one
    /// takes at most a twentieth of a second), so there is no deadline.
    ///
    /// # Errors
    ///
    /// When told to stop.
    pub fn acquire(&self, clock: &dyn Clock, stop: &Stop) -> Result<(), Refused> {
        loop {
            let now = clock.now();
            let (wait, refilled, refills) = {
                let mut limited = lock(&self.limited);
                let wait = limited.bucket.take(now);
                (wait, limited.refilled.1.clone(), limited.refills)
            };
            let until = now + wait;
            loop {
                if clock.now() >= until {
                    return Ok(());
                }
                let alarm = clock.alarm(until);
                select! {
                    recv(alarm) -> _ => {}
                    recv(refilled) -> _ => break,
                    recv(stop.receiver()) -> _ => {
                        let mut limited = lock(&self.limited);
                        if limited.refills == refills {
                            limited.bucket.give_back();
                        }
                        return Err(Refused::Stopped);
                    }
                }
            }
        }
    }

    /// Full again: when the breaker closes, everybody may catch up.
    pub fn refill_full(&self, now: Tick) {
        let mut limited = lock(&self.limited);
        limited.bucket.refill(now);
        limited.refilled = bounded(0);
        limited.refills += 1;
    }

    /// For another plan.
    pub fn adjust(&self, demand: Demand, now: Tick) {
        let (rate, burst) = limits(demand);
        lock(&self.limited).bucket.adjust(rate, burst, now);
    }
}

/// Tokens a second, and tokens at most.
fn limits(demand: Demand) -> (f64, f64) {
    #[allow(clippy::cast_precision_loss)] // a few thousand at most
    let reads = demand.reads as f64;
    (demand.rate.mul_add(2.0, 20.0), (reads * 2.0).max(2.0))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
