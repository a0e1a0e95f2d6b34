//! How many requests, and how often: the limit on requests in flight to one store, and its rate
//! limit.
//!
//! Both wait on the injected clock, give up when told to stop, and serve those who wait in their
//! order.

use std::collections::BTreeMap;
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
    /// By number: the longest waiting first. A place is handed over, never freed while somebody waits.
    waiting: BTreeMap<u64, Sender<()>>,
    next: u64,
}

impl InFlight {
    /// At most `limit` (at least 1) at a time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Places {
            free: limit.max(1),
            waiting: BTreeMap::new(),
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
            places.waiting.insert(number, hand);
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
        lock(&self.0).waiting.remove(&number);
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
        while let Some((_, hand)) = places.waiting.pop_first() {
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
/// second, in bursts of two requests for every read in the plan and two for a login.
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

    /// One request more than was asked for, which did not wait: those after it do.
    pub fn charge(&self, now: Tick) {
        lock(&self.limited).bucket.take(now);
    }

    /// Full again: when the breaker opens, nobody waits for a turn any more that he may not use; when it closes,
    /// everybody may catch up.
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

/// How long a request waits for the rate limit at most, where so many may stand before it: each worker has one
/// request at a time.
pub(crate) fn turn(requests: usize) -> Duration {
    #[allow(clippy::cast_precision_loss)] // a few thousand at most
    Duration::from_secs_f64(requests as f64 / LEAST_RATE)
}

/// Requests a second that any plan may make.
const LEAST_RATE: f64 = 20.0;

/// Tokens a second, and tokens at most.
fn limits(demand: Demand) -> (f64, f64) {
    #[allow(clippy::cast_precision_loss)] // a few thousand at most
    let reads = demand.reads as f64;
    // A login asks twice (for the token, and what it is), before the first read.
    (
        demand.rate.mul_add(2.0, LEAST_RATE),
        reads.mul_add(2.0, 2.0),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn no_more_than_the_limit_are_in_flight() {
        let clock = ManualClock::new();
        let limit = InFlight::new(2);
        let take = || limit.acquire(&clock, &Stop::never(), clock.now());
        let (first, _second) = (take().unwrap(), take().unwrap());
        assert_eq!(take().unwrap_err(), Refused::Deadline);
        drop(first);
        let _third = take().unwrap();
        assert_eq!(take().unwrap_err(), Refused::Deadline);
    }

    #[test]
    fn those_who_wait_are_served_in_their_order() {
        let clock = ManualClock::new();
        let limit = InFlight::new(1);
        let held = limit.acquire(&clock, &Stop::never(), clock.now()).unwrap();
        let (told, order) = crossbeam_channel::unbounded();
        let threads: Vec<_> = (0..5)
            .map(|number| {
                let (limit, waits, told) = (limit.clone(), clock.clone(), told.clone());
                let thread = std::thread::spawn(move || {
                    let until = waits.now() + secs(60);
                    let permit = limit.acquire(&waits, &Stop::never(), until).unwrap();
                    told.send(number).unwrap();
                    drop(permit);
                });
                clock.wait_for_sleepers(number + 1);
                thread
            })
            .collect();
        drop(held);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(lock(&limit.0).free, 1);
    }

    #[test]
    fn a_waiter_that_gives_up_loses_no_place() {
        let clock = ManualClock::new();
        let limit = InFlight::new(1);
        let held = limit.acquire(&clock, &Stop::never(), clock.now()).unwrap();
        let (mut source, stop) = Stop::new();
        let until = clock.now() + secs(5);
        let wait = |stop: Stop| {
            let (limit, clock) = (limit.clone(), clock.clone());
            std::thread::spawn(move || limit.acquire(&clock, &stop, until).map(drop))
        };
        let (stopped, late) = (wait(stop), wait(Stop::never()));
        clock.wait_for_sleepers(2);
        source.stop();
        assert_eq!(stopped.join().unwrap(), Err(Refused::Stopped));
        clock.advance(secs(5));
        assert_eq!(late.join().unwrap(), Err(Refused::Deadline));
        assert!(lock(&limit.0).waiting.is_empty());
        drop(held);
        assert_eq!(lock(&limit.0).free, 1);
    }

    /// The held place is given back at the very moment at which the time is up.
    struct AtOnce {
        time: ManualClock,
        held: Mutex<Option<Permit>>,
    }

    impl Clock for AtOnce {
        fn now(&self) -> Tick {
            self.time.now()
        }
        fn wall(&self) -> std::time::SystemTime {
            self.time.wall()
        }
        fn alarm(&self, at: Tick) -> Receiver<std::time::Instant> {
            drop(lock(&self.held).take());
            self.time.advance(at.since(self.time.now()));
            self.time.alarm(at)
        }
        fn ready(
            &self,
            socket: std::os::fd::BorrowedFd<'_>,
            interest: crate::clock::Interest,
            until: Option<Tick>,
        ) -> std::io::Result<bool> {
            self.time.ready(socket, interest, until)
        }
        fn chance(&self) -> f64 {
            self.time.chance()
        }
    }

    #[test]
    fn a_place_handed_over_at_the_deadline_is_not_lost() {
        let limit = InFlight::new(1);
        // Which of the two is seen first is left to chance.
        for _ in 0..64 {
            let time = ManualClock::new();
            let held = limit.acquire(&time, &Stop::never(), time.now()).unwrap();
            let clock = AtOnce {
                held: Mutex::new(Some(held)),
                time,
            };
            let until = clock.now() + secs(5);
            drop(limit.acquire(&clock, &Stop::never(), until));
            assert_eq!(lock(&limit.0).free, 1);
        }
    }

    #[test]
    fn the_rate_is_twice_the_plan_and_twenty_and_the_burst_two_a_read_and_a_login() {
        let demand = |rate, reads| limits(Demand { rate, reads });
        assert_eq!(demand(0.5, 100), (21.0, 202.0));
        assert_eq!(
            demand(0.5, 1),
            (21.0, 4.0),
            "a login and a read wait for nothing"
        );
        assert_eq!(demand(0.0, 0), (20.0, 2.0));
    }

    /// When each of `count` requests that come at once may go, in milliseconds.
    fn waits(bucket: &mut Bucket, count: usize, now: Tick) -> Vec<u128> {
        (0..count).map(|_| bucket.take(now).as_millis()).collect()
    }

    #[test]
    fn beyond_the_burst_one_at_a_time() {
        let now = Tick::from_start(secs(10));
        let mut bucket = Bucket::new(20.0, 4.0, now);
        assert_eq!(waits(&mut bucket, 7, now), [0, 0, 0, 0, 50, 100, 150]);
        assert_eq!(waits(&mut bucket, 2, now + secs(1)), [0, 0]);
        let later = now + secs(1_000);
        assert_eq!(waits(&mut bucket, 6, later), [0, 0, 0, 0, 50, 100]);
    }

    #[test]
    fn in_an_hour_no_more_than_the_rate() {
        let mut now = Tick::from_start(secs(10));
        let mut bucket = Bucket::new(21.0, 200.0, now);
        let end = now + secs(3_600);
        let mut sent = 0;
        while now < end {
            now = now + bucket.take(now);
            sent += 1;
        }
        assert!((75_790..=75_810).contains(&sent), "{sent}");
    }

    #[test]
    fn a_larger_plan_gets_its_larger_burst_at_once_and_a_smaller_loses_it() {
        let now = Tick::default();
        let mut bucket = Bucket::new(20.0, 4.0, now);
        waits(&mut bucket, 4, now);
        bucket.adjust(20.0, 10.0, now);
        assert_eq!(waits(&mut bucket, 7, now), [0, 0, 0, 0, 0, 0, 50]);
        bucket.refill(now);
        bucket.adjust(20.0, 2.0, now);
        assert_eq!(waits(&mut bucket, 3, now), [0, 0, 50]);
    }

    #[test]
    fn a_token_that_was_waited_for_in_vain_is_given_back() {
        let clock = ManualClock::new();
        let limit = RateLimit::new(Demand::default(), clock.now());
        for _ in 0..2 {
            limit.acquire(&clock, &Stop::never()).unwrap();
        }
        let (source, stop) = Stop::new();
        drop(source);
        assert_eq!(limit.acquire(&clock, &stop), Err(Refused::Stopped));
        assert_eq!(lock(&limit.limited).bucket.tokens, 0.0);
    }

    #[test]
    fn a_refill_wakes_those_who_wait_for_the_rate() {
        let clock = ManualClock::new();
        let limit = Arc::new(RateLimit::new(
            Demand {
                rate: 0.0,
                reads: 5,
            },
            clock.now(),
        ));
        for _ in 0..12 {
            limit.acquire(&clock, &Stop::never()).unwrap();
        }
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (limit, clock) = (Arc::clone(&limit), clock.clone());
                std::thread::spawn(move || limit.acquire(&clock, &Stop::never()))
            })
            .collect();
        clock.wait_for_sleepers(3);
        limit.refill_full(clock.now());
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
        assert_eq!(lock(&limit.limited).bucket.tokens, 9.0);
    }
}
