//! A clock that goes on by itself when everybody waits.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};
use secrets_sync::clock::{Clock, Interest, Tick, poll};

use super::rest::Rest;

/// Threads that look around at regular times whatever happens: the main loop's turn of a second,
/// the watch's look every five. In calm weeks they alone would be millions of steps; then their
/// turn comes with the next step of somebody else ([`Sim::set_exact`]), and before somebody looks.
const HOUSEKEEPERS: [&str; 2] = [MAIN_LOOP, "watch"];

/// The main loop's thread.
pub const MAIN_LOOP: &str = "main loop";

/// What the main loop hears and shows at its turns is seen after this time.
const SHOWN: Duration = Duration::from_secs(7);

/// The clock. Clones share it.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    rest: Mutex<Rest>,
}

struct State {
    now: Duration,
    wall: SystemTime,
    slept: Duration,
    /// A thread waits for one thing at a time: a new alarm takes the place of its last.
    alarms: HashMap<ThreadId, Alarm>,
    exact: bool,
    seed: u64,
    /// Each thread has its own chance, by its name: so that a run does not depend on which of two
    /// threads comes first.
    dice: HashMap<String, fastrand::Rng>,
    steps: u64,
}

struct Alarm {
    at: Duration,
    ring: Ring,
    housekeeping: bool,
    /// It stands still while the machine is suspended.
    far: bool,
}

enum Ring {
    Channel(Sender<Instant>),
    Event(Arc<OwnedFd>),
}

impl Sim {
    pub fn new(seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    now: Duration::from_secs(1_000_000),
                    wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000),
                    slept: Duration::ZERO,
                    alarms: HashMap::new(),
                    exact: true,
                    seed,
                    dice: HashMap::new(),
                    steps: 0,
                }),
                rest: Mutex::default(),
            }),
        }
    }

    /// As the engine takes it.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    /// Whether the housekeepers' own times are steps, too.
    pub fn set_exact(&self, exact: bool) {
        self.lock().exact = exact;
    }

    /// How many steps the clock has made.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Waits until every thread waits.
    pub fn settle(&self) {
        let mut rest = self.shared.rest.lock().unwrap();
        rest.wait();
    }

    /// Goes on for that long, step by step.
    pub fn run(&self, span: Duration) {
        let end = self.now() + span;
        self.settle();
        while self.step(end) {}
    }

    /// Goes on until `done` says so at a moment of rest; `false` when that takes longer than
    /// `longest`.
    pub fn run_until(&self, longest: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = self.now() + longest;
        self.settle();
        while !done() {
            if !self.step(end) {
                return done();
            }
        }
        true
    }

    /// One step, to the next moment that somebody waits for, but not beyond `end`; `false` when
    /// that is reached. All has to be at rest before, and is afterwards.
    pub fn step(&self, end: Tick) -> bool {
        let end = end.since_start();
        let more = {
            let mut state = self.lock();
            let next = state
                .alarms
                .values()
                .filter(|alarm| state.exact || !alarm.housekeeping || alarm.at + SHOWN >= end)
                .map(|alarm| alarm.at)
                .min();
            let next = next.filter(|at| *at < end).unwrap_or(end);
            let by = next.saturating_sub(state.now);
            state.pass(by);
            state.steps += 1;
            next < end
        };
        self.settle();
        more
    }

    /// The machine is suspended for that long: what was due meanwhile is due at once, but for alarms that
    /// stood still.
    pub fn suspend(&self, span: Duration) {
        self.settle();
        {
            let mut state = self.lock();
            state.slept += span;
            for alarm in state.alarms.values_mut().filter(|alarm| alarm.far) {
                alarm.at += span;
            }
            state.pass(span);
        }
        self.settle();
    }

    /// Sets the wall clock alone, as an administrator might.
    pub fn set_wall(&self, change: impl FnOnce(SystemTime) -> SystemTime) {
        let mut state = self.lock();
        state.wall = change(state.wall);
    }

    fn channel(&self, at: Tick, far: bool) -> Receiver<Instant> {
        let (ring, alarm) = bounded(1);
        let mut state = self.lock();
        if at.since_start() <= state.now {
            let _ = ring.try_send(Instant::now());
        } else {
            state.set(at.since_start(), far, Ring::Channel(ring));
        }
        alarm
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = &self.shared.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pass(&mut self, by: Duration) {
        self.now += by;
        self.wall += by;
        let now = self.now;
        self.alarms.retain(|_, alarm| {
            if alarm.at <= now {
                match &alarm.ring {
                    Ring::Channel(sender) => {
                        let _ = sender.try_send(Instant::now());
                    }
                    Ring::Event(event) => {
                        let _ = rustix::io::write(event, &1u64.to_ne_bytes());
                    }
                }
            }
            alarm.at > now
        });
    }

    fn set(&mut self, at: Duration, far: bool, ring: Ring) {
        let thread = std::thread::current();
        let housekeeping = thread
            .name()
            .is_some_and(|name| HOUSEKEEPERS.contains(&name));
        let alarm = Alarm {
            at,
            ring,
            housekeeping,
            far,
        };
        self.alarms.insert(thread.id(), alarm);
    }
}

impl Clock for Sim {
    fn now(&self) -> Tick {
        Tick::from_start(self.lock().now)
    }

    fn wall(&self) -> SystemTime {
        self.lock().wall
    }

    fn alarm(&self, at: Tick) -> Receiver<Instant> {
        self.channel(at, false)
    }

    fn far_alarm(&self, at: Tick) -> Receiver<Instant> {
        self.channel(at, true)
    }

    fn slept(&self) -> Duration {
        self.lock().slept
    }

    fn ready(
        &self,
        socket: BorrowedFd<'_>,
        interest: Interest,
        until: Option<Tick>,
    ) -> io::Result<bool> {
        // Most are ready at once.
        if poll(socket, interest, None, Some(Duration::ZERO))? {
            return Ok(true);
        }
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        if let Some(until) = until {
            let mut state = self.lock();
            if until.since_start() <= state.now {
                return Ok(false);
            }
            state.set(until.since_start(), false, Ring::Event(Arc::clone(&event)));
        }
        let found = loop {
            if poll(socket, interest, Some(event.as_fd()), None)? {
                break true;
            }
            if until.is_some_and(|until| self.now() >= until) {
                break false;
            }
        };
        let mut state = self.lock();
        state.alarms.remove(&std::thread::current().id());
        Ok(found)
    }

    fn chance(&self) -> f64 {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let mut state = self.lock();
        let seed = state.seed;
        let dice = state.dice.entry(name.to_owned()).or_insert_with(|| {
            let mut hasher = DefaultHasher::new();
            (seed, name).hash(&mut hasher);
            fastrand::Rng::with_seed(hasher.finish())
        });
        dice.f64()
    }
}
