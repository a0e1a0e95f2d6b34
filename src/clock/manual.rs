//! A clock that is moved by hand: for tests and simulations.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Clock, Tick};

/// Stands still until [`advance`](ManualClock::advance); its chance is a seeded sequence. Clones
/// share one time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    now: Duration,
    wall: SystemTime,
    alarms: Vec<(Duration, Sender<Instant>)>,
    dice: fastrand::Rng,
    fixed_chance: Option<f64>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock at a fixed time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    now: Duration::from_secs(1_000),
                    wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
                    alarms: Vec::new(),
                    dice: fastrand::Rng::with_seed(7),
                    fixed_chance: None,
                }),
                changed: Condvar::new(),
            }),
        }
    }

    /// Every chance is this from now on.
    pub fn set_chance(&self, chance: f64) {
        self.lock().fixed_chance = Some(chance);
    }

    /// Moves both times on and rings what is due.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.now += by;
        state.wall += by;
        let now = state.now;
        state.alarms.retain(|(at, ring)| {
            if *at <= now {
                let _ = ring.try_send(Instant::now());
            }
            *at > now
        });
    }

    /// Sets the wall clock alone, as an administrator might.
    pub fn set_wall(&self, wall: SystemTime) {
        self.lock().wall = wall;
    }

    /// The next moment at which an alarm is due (its waiter may have gone on meanwhile).
    #[must_use]
    pub fn next_alarm(&self) -> Option<Tick> {
        self.lock()
            .alarms
            .iter()
            .map(|(at, _)| *at)
            .min()
            .map(Tick::from_start)
    }

    /// Blocks (in real time) until at least `count` alarms have been asked for that have not rung;
    /// one whose waiter has gone on for another reason counts until its time has come.
    pub fn wait_for_sleepers(&self, count: usize) {
        let mut state = self.lock();
        loop {
            if state.alarms.len() >= count {
                return;
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Tick {
        Tick::from_start(self.lock().now)
    }

    fn wall(&self) -> SystemTime {
        self.lock().wall
    }

    fn alarm(&self, at: Tick) -> Receiver<Instant> {
        let (ring, alarm) = bounded(1);
        let mut state = self.lock();
        if at.since_start() <= state.now {
            let _ = ring.try_send(Instant::now());
        } else {
            state.alarms.push((at.since_start(), ring));
            self.shared.changed.notify_all();
        }
        alarm
    }

    fn chance(&self) -> f64 {
        let mut state = self.lock();
        state.fixed_chance.unwrap_or_else(|| state.dice.f64())
    }
}
