//! What every request to a store passes, in this order: the breaker, the rate limit, the limit on
//! requests in flight; and the thread that asks after the store while the breaker is open.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::breaker::{self, Found, Gate, Outcome, Settings};
use super::limiter::{InFlight, Permit, RateLimit, Refused};
use super::{BreakerState, StoreError, StoreEvent};
use crate::clock::{Clock, Stop, StopSource, Tick};
use crate::failure::{ErrorType, Retry};
use crate::plan::{Daemon, Demand, StorePlan};

/// The probing thread's stack: TLS needs the most of it.
const STACK: usize = 256 * 1024;

/// How long the health question may take.
pub(crate) const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// What to do while the breaker is open and nothing better is known.
const AWAY: &str =
    "bring the server back: it is asked for by itself, and read as soon as it answers";

/// The health question: what it found, with a few words for people.
pub(crate) type Ask = Box<dyn FnMut() -> (Found, String) + Send>;

/// Shared by all that send requests to one store.
pub(crate) struct Entrance {
    name: String,
    clock: Arc<dyn Clock>,
    gate: Gate,
    /// Why the breaker is as it is.
    reason: Arc<Mutex<String>>,
    rate: Arc<RateLimit>,
    places: InFlight,
    /// How many wait for the limits.
    queue: AtomicUsize,
    timeout: Duration,
    prober: Mutex<Prober>,
}

enum Prober {
    /// Not needed yet.
    Waiting(Ask),
    Running {
        _stop: StopSource,
    },
    /// No question was given, or the store is closed.
    None,
}

/// A request on its way; its outcome is to be recorded.
pub(crate) struct Visit {
    pass: breaker::Pass,
    rate: Arc<RateLimit>,
    clock: Arc<dyn Clock>,
    _place: Permit,
}

impl Entrance {
    pub(crate) fn new(
        plan: &StorePlan,
        daemon: &Daemon,
        demand: Demand,
        clock: Arc<dyn Clock>,
        events: Sender<StoreEvent>,
    ) -> Self {
        let reason = Arc::new(Mutex::new(String::new()));
        let rate = Arc::new(RateLimit::new(demand, clock.now()));
        let on_change = {
            let (reason, rate) = (Arc::clone(&reason), Arc::clone(&rate));
            let (clock, store) = (Arc::clone(&clock), plan.name.clone());
            move |state: BreakerState, why: &str| {
                why.clone_into(&mut lock(&reason));
                // At its opening, too: those who try the store later shall not wait for the turns of all who
                // asked before.
                if state != BreakerState::HalfOpen {
                    rate.refill_full(clock.now());
                }
                // Nobody listens any more when the daemon ends.
                let _ = events.send(StoreEvent::Breaker {
                    store: store.clone(),
                    state,
                    reason: why.to_owned(),
                });
            }
        };
        let settings = Settings {
            max_requests: daemon.breaker_max_requests,
            interval: daemon.breaker_interval,
            timeout: daemon.breaker_timeout,
        };
        Self {
            name: plan.name.clone(),
            gate: Gate::new(settings, Arc::clone(&clock), Box::new(on_change)),
            reason,
            rate,
            places: InFlight::new(plan.max_concurrent),
            queue: AtomicUsize::new(0),
            timeout: plan.timeout,
            prober: Mutex::new(Prober::None),
            clock,
        }
    }

    /// Says how the store is asked after. The thread that does it starts with the first request.
    pub(crate) fn probe_with(&self, ask: Ask) {
        *lock(&self.prober) = Prober::Waiting(ask);
    }

    /// For another plan.
    pub(crate) fn demand(&self, demand: Demand) {
        self.rate.adjust(demand, self.clock.now());
    }

    /// The breaker's state.
    pub(crate) fn state(&self) -> BreakerState {
        self.gate.state()
    }

    /// Closes when the store is back after it was away.
    pub(crate) fn back(&self) -> Receiver<Infallible> {
        self.gate.back()
    }

    /// While the breaker is not closed: when the store is asked after next.
    pub(crate) fn next_probe(&self) -> Option<Tick> {
        self.gate.next_probe()
    }

    /// How many requests wait for the limits.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.load(Ordering::Relaxed)
    }

    /// Ends the probing thread. Requests still pass as the breaker lets them.
    pub(crate) fn close(&self) {
        *lock(&self.prober) = Prober::None;
    }

    /// Lets a request of `who` (a number of the asker's own, the same each time) pass; waits for
    /// the limits, at most the store's time-out, but not for the breaker.
    ///
    /// # Errors
    ///
    /// With a channel to wait for while the breaker is open; without when a limit was not passed
    /// in time or when told to stop.
    pub(crate) fn enter(&self, address: &str, who: u64, stop: &Stop) -> Result<Visit, StoreError> {
        self.serve();
        let until = self.clock.now() + self.timeout;
        let mut pass = self.admit(address, who)?;
        self.queue.fetch_add(1, Ordering::Relaxed);
        let place = self
            .rate
            .acquire(&*self.clock, stop)
            .and_then(|()| self.places.acquire(&*self.clock, stop, until));
        self.queue.fetch_sub(1, Ordering::Relaxed);
        let place = place.map_err(|why| match why {
            Refused::Stopped => self.refused("stopped before the request was sent"),
            Refused::Deadline => StoreError::new(
                ErrorType::Timeout,
                Retry::Backoff(None),
                format!(
                    "`{address}`: all requests that may be in flight have been for {}",
                    humantime::format_duration(self.timeout)
                ),
            )
            .with_remedy("raise `maxConcurrent`, or find what makes the server slow"),
        })?;
        // The store may have gone away while this one stood in the queue.
        while !self.gate.is_current(&pass) {
            pass = self.admit(address, who)?;
        }
        Ok(Visit {
            pass,
            rate: Arc::clone(&self.rate),
            clock: Arc::clone(&self.clock),
            _place: place,
        })
    }

    fn admit(&self, address: &str, who: u64) -> Result<breaker::Pass, StoreError> {
        self.gate.admit(who).map_err(|wake| StoreError {
            wake: Some(wake),
            ..self
                .refused(&format!(
                    "`{address}`: the circuit breaker of store `{}` is not closed: {}",
                    self.name,
                    lock(&self.reason)
                ))
                .with_remedy(AWAY)
        })
    }

    fn refused(&self, message: &str) -> StoreError {
        StoreError::new(ErrorType::Unavailable, Retry::Backoff(None), message)
    }

    /// Starts the probing thread, once. Without a thread the breaker cannot open, and the next
    /// request tries again.
    fn serve(&self) {
        let mut prober = lock(&self.prober);
        let Prober::Waiting(_) = &*prober else { return };
        let (source, stop) = Stop::new();
        let running = Prober::Running { _stop: source };
        let Prober::Waiting(ask) = std::mem::replace(&mut *prober, running) else {
            return;
        };
        // The question comes back when there is no thread for it.
        let ask = Arc::new(Mutex::new(Some(ask)));
        let (gate, taken) = (self.gate.clone(), Arc::clone(&ask));
        let started = std::thread::Builder::new()
            .name(format!("probe {}", self.name))
            .stack_size(STACK)
            .spawn(move || {
                let ask = lock(&taken).take();
                if let Some(ask) = ask {
                    gate.serve(&stop, ask);
                }
            });
        if started.is_err() {
            *prober = lock(&ask).take().map_or(Prober::None, Prober::Waiting);
        }
    }
}

impl Visit {
    /// The same request goes out once more. It does not wait for the rate limit, but counts.
    pub(crate) fn again(&self) {
        self.rate.charge(self.clock.now());
    }

    /// The request has ended.
    pub(crate) fn ended(self, outcome: Outcome) {
        self.pass.record(outcome);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::plan::{Address, TrustedRoots};
    use crate::store::backoff::tests::daemon;

    /// Of a store that takes one request at a time, with so many reads in the plan.
    fn entrance(reads: usize, clock: &ManualClock) -> Arc<Entrance> {
        let plan = StorePlan {
            name: "default".into(),
            address: Address::Unix("/nowhere".into()),
            tls: TrustedRoots::default(),
            proxy: None,
            timeout: Duration::from_secs(30),
            max_concurrent: 1,
            max_response_bytes: 1,
        };
        Arc::new(Entrance::new(
            &plan,
            &daemon(),
            Demand { reads, rate: 1.0 },
            Arc::new(clock.clone()),
            crossbeam_channel::unbounded().0,
        ))
    }

    fn wait_until_open(entrance: &Entrance) {
        while entrance.state() != BreakerState::Open {
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_waits_for_a_turn_when_the_store_goes_away_leaves_none_to_pay_for() {
        let clock = ManualClock::new();
        let entrance = entrance(1, &clock);
        entrance.probe_with(Box::new(|| (Found::NoAnswer, "no answer".into())));
        // Its burst, and a thousand more: their turns are within a minute.
        for _ in 0..1_000 {
            entrance.rate.charge(clock.now());
        }
        let queued = Arc::clone(&entrance);
        let waits = std::thread::spawn(move || queued.enter("a", 1, &Stop::never()).map(drop));
        clock.wait_for_sleepers(1);
        for who in 2..5 {
            entrance
                .gate
                .admit(who)
                .unwrap()
                .record(Outcome::Failed(Found::NoAnswer));
        }
        wait_until_open(&entrance);
        // No time passes on the clock: it is told at once, and the next one has its turn at once.
        let (done, is_done) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            let told = waits.join().unwrap().unwrap_err().wake.is_some();
            done.send(told).unwrap();
            entrance.rate.acquire(&clock, &Stop::never()).unwrap();
            done.send(true).unwrap();
        });
        for what in ["it is told", "the next one has its turn"] {
            let done = is_done.recv_timeout(Duration::from_secs(30));
            assert_eq!(done, Ok(true), "{what}");
        }
    }

    #[test]
    fn what_queued_while_the_store_was_well_is_not_sent_when_it_is_away() {
        let clock = ManualClock::new();
        let entrance = entrance(50, &clock);
        entrance.probe_with(Box::new(|| (Found::NoAnswer, "no answer".into())));
        let first = entrance.enter("a", 1, &Stop::never()).unwrap();
        let queued = Arc::clone(&entrance);
        let second = std::thread::spawn(move || queued.enter("a", 2, &Stop::never()).map(drop));
        clock.wait_for_sleepers(1);
        for who in 3..6 {
            entrance
                .gate
                .admit(who)
                .unwrap()
                .record(Outcome::Failed(Found::NoAnswer));
        }
        wait_until_open(&entrance);
        first.ended(Outcome::Failed(Found::NoAnswer));
        assert!(second.join().unwrap().unwrap_err().wake.is_some());
    }
}
