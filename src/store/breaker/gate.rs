//! The breaker as threads use it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use super::{Breaker, Change, Duty, Found, Health, Outcome, Settings, Ticket};
use crate::clock::{Clock, Stop, Tick};
use crate::store::BreakerState;

/// Told of each change of state, with the reason, in their order; while it is open, of each other reason. It is called under the gate's
/// lock: it must not wait, nor call the gate.
pub type OnChange = Box<dyn Fn(BreakerState, &str) + Send + Sync>;

/// Lets requests through, or says what to wait for. Shared by the workers and keepers of a store;
/// one more thread runs [`Gate::serve`].
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    on_change: OnChange,
    state: Mutex<State>,
    /// Rings when [`Gate::serve`] has to look again.
    ring: Sender<()>,
    bell: Receiver<()>,
}

struct State {
    breaker: Breaker,
    waiters: Waiters,
    /// What the last health answer said.
    cause: String,
    /// Replaced when the store is back: that wakes who backs off by itself.
    back: (Sender<Infallible>, Receiver<Infallible>),
}

/// Who waits, each asker once, in their order. Thousands may wait, and each asks here under the lock.
#[derive(Default)]
struct Waiters {
    /// By number: the longest waiting first.
    queue: BTreeMap<u64, Waiter>,
    number_of: HashMap<u64, u64>,
    next: u64,
}

struct Waiter {
    who: u64,
    /// Dropped with the entry: that wakes.
    _wake: Sender<Infallible>,
    woken: Receiver<Infallible>,
}

impl Waiters {
    /// Whether anybody but `who` waits.
    fn has_others_than(&self, who: u64) -> bool {
        self.queue.len() > usize::from(self.number_of.contains_key(&who))
    }

    /// The channel that wakes `who`, who waits from now on, or did already.
    fn add(&mut self, who: u64) -> Receiver<Infallible> {
        let number = *self.number_of.entry(who).or_insert(self.next);
        self.next += 1;
        let waiter = self.queue.entry(number).or_insert_with(|| {
            let (wake, woken) = bounded(0);
            Waiter {
                who,
                _wake: wake,
                woken,
            }
        });
        waiter.woken.clone()
    }

    /// Does not wait any more.
    fn remove(&mut self, who: u64) {
        if let Some(number) = self.number_of.remove(&who) {
            self.queue.remove(&number);
        }
    }

    /// Wakes the one that waits longest.
    fn wake_first(&mut self) {
        if let Some((_, waiter)) = self.queue.pop_first() {
            self.number_of.remove(&waiter.who);
        }
    }

    /// Wakes everybody.
    fn wake_all(&mut self) {
        self.queue.clear();
        self.number_of.clear();
    }
}

impl Gate {
    /// Closed.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, on_change: OnChange) -> Self {
        let (ring, bell) = bounded(1);
        Self(Arc::new(Shared {
            clock,
            on_change,
            state: Mutex::new(State {
                breaker: Breaker::new(settings),
                waiters: Waiters::default(),
                cause: String::new(),
                back: bounded(0),
            }),
            ring,
            bell,
        }))
    }

    /// Lets a request of `who` pass, or gives the channel that closes when it is worth asking
    /// again (after a splay). `who` is a number of the asker's own, the same each time: it makes
    /// the probe a different one's each time.
    ///
    /// # Errors
    ///
    /// The channel to wait for.
    pub fn admit(&self, who: u64) -> Result<Pass, Receiver<Infallible>> {
        let now = self.0.clock.now();
        let mut state = self.0.lock();
        let rivals = state.waiters.has_others_than(who);
        let due = state.breaker.due();
        if let Some(ticket) = state.breaker.admit(now, who, rivals) {
            state.waiters.remove(who);
            self.0.ring_if_changed(&state, due);
            return Ok(Pass {
                shared: Arc::clone(&self.0),
                ticket: Some(ticket),
            });
        }
        Err(state.waiters.add(who))
    }

    /// Whether what was let through then would be now: the breaker is as it was.
    #[must_use]
    pub fn is_current(&self, pass: &Pass) -> bool {
        let state = self.0.lock();
        let ticket = pass.ticket.as_ref();
        ticket.is_some_and(|ticket| state.breaker.is_current(ticket))
    }

    /// The state that people see.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.0.lock().breaker.state()
    }

    /// A channel that closes when the breaker does: for those whose own request failed before it opened, who
    /// would else sleep on when the store is back.
    #[must_use]
    pub fn back(&self) -> Receiver<Infallible> {
        self.0.lock().back.1.clone()
    }

    /// While it is not closed: when the store is asked after next.
    #[must_use]
    pub fn next_probe(&self) -> Option<Tick> {
        let state = self.0.lock();
        let breaker = &state.breaker;
        (breaker.state() != BreakerState::Closed)
            .then(|| breaker.due())
            .flatten()
    }

    /// Does what the breaker asks for, until told to stop: calls `ask` for the health question
    /// (at most one at a time), and wakes whose request is to be the probe. It sleeps while there
    /// is nothing to do. `ask` tells what it found, with a few words for people; it must come back
    /// within the probe's time-out of 5 s.
    pub fn serve(&self, stop: &Stop, mut ask: impl FnMut() -> (Found, String)) {
        let shared = &*self.0;
        while !stop.is_stopped() {
            let now = shared.clock.now();
            let mut state = shared.lock();
            let duty = state.breaker.poll(now, shared.clock.chance());
            let due = state.breaker.due();
            match duty {
                Some(Duty::WakeOne) => state.waiters.wake_first(),
                Some(Duty::WakeAll) => state.waiters.wake_all(),
                Some(Duty::AskHealth) => {
                    drop(state);
                    let (found, why) = catch_unwind(AssertUnwindSafe(&mut ask))
                        .unwrap_or_else(|_| (Found::NoAnswer, "it failed on our side".to_owned()));
                    shared.health(found, &why);
                }
                None => {
                    drop(state);
                    let alarm = due.map_or_else(never, |due| shared.clock.alarm(due));
                    select! {
                        recv(shared.bell) -> _ => {}
                        recv(stop.receiver()) -> _ => {}
                        recv(alarm) -> _ => {}
                    }
                }
            }
        }
    }
}

impl Shared {
    fn health(&self, found: Found, why: &str) {
        let (now, chance) = (self.clock.now(), self.clock.chance());
        let mut state = self.lock();
        let due = state.breaker.due();
        match state.breaker.health(now, found, why, chance) {
            Some(change) => self.tell(&mut state, &change),
            // Away still, for another reason: who waits is woken to say so, and waits on.
            None if Health::of(found) == Health::Bad
                && state.breaker.state() == BreakerState::Open
                && state.cause != why =>
            {
                (self.on_change)(BreakerState::Open, why);
                state.waiters.wake_all();
            }
            None => {}
        }
        why.clone_into(&mut state.cause);
        self.ring_if_changed(&state, due);
    }

    fn record(&self, ticket: &Ticket, outcome: Outcome) {
        let (now, chance) = (self.clock.now(), self.clock.chance());
        self.change(|breaker| breaker.record(now, ticket, outcome, chance));
    }

    fn change(&self, event: impl FnOnce(&mut Breaker) -> Option<Change>) {
        let mut state = self.lock();
        let due = state.breaker.due();
        if let Some(change) = event(&mut state.breaker) {
            self.tell(&mut state, &change);
        }
        self.ring_if_changed(&state, due);
    }

    fn tell(&self, state: &mut State, change: &Change) {
        (self.on_change)(change.state, &change.reason);
        if change.state != BreakerState::Open {
            state.waiters.wake_all();
        }
        if change.state == BreakerState::Closed {
            state.back = bounded(0);
        }
    }

    /// Not for every request: the thread that serves sleeps while all is well.
    fn ring_if_changed(&self, state: &State, before: Option<Tick>) {
        if state.breaker.due() != before {
            let _ = self.ring.try_send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({:?})", self.state())
    }
}

/// The right to make one request. Its outcome is to be recorded; dropped without, the request
/// counts as never made.
#[must_use]
pub struct Pass {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
}

impl Pass {
    /// The request has ended.
    pub fn record(mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.record(&ticket, outcome);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let mut state = self.shared.lock();
            let due = state.breaker.due();
            state.breaker.abandon(&ticket);
            // Somebody else may have the place.
            if state.breaker.is_current(&ticket) && state.breaker.state() == BreakerState::HalfOpen
            {
                state.waiters.wake_all();
            }
            self.shared.ring_if_changed(&state, due);
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pass")
    }
}
