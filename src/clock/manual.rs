//! A clock that is moved by hand: for tests and simulations.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};

use super::{Clock, Interest, Tick, poll};

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
    slept: Duration,
    alarms: Vec<Alarm>,
    dice: fastrand::Rng,
    fixed_chance: Option<f64>,
}

#[derive(Debug)]
struct Alarm {
    at: Duration,
    /// It stands still while the machine is suspended.
    far: bool,
    ring: Ring,
}

/// How the waiter of an alarm is told.
#[derive(Debug)]
enum Ring {
    Channel(Sender<Instant>),
    /// For one who waits for a socket.
    Event(Arc<OwnedFd>),
}

impl Ring {
    fn ring(&self) {
        // Whoever does not listen any more needs no ring.
        match self {
            Self::Channel(sender) => {
                let _ = sender.try_send(Instant::now());
            }
            Self::Event(event) => {
                let _ = rustix::io::write(event, &1u64.to_ne_bytes());
            }
        }
    }
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
                    slept: Duration::ZERO,
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
        self.lock().pass(by);
    }

    /// The machine is suspended for that long: alarms that do not count it ring as much later.
    pub fn suspend(&self, by: Duration) {
        let mut state = self.lock();
        state.slept += by;
        for alarm in state.alarms.iter_mut().filter(|alarm| alarm.far) {
            alarm.at += by;
        }
        state.pass(by);
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
            .map(|alarm| alarm.at)
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

    fn channel(&self, at: Tick, far: bool) -> Receiver<Instant> {
        let (ring, alarm) = bounded(1);
        let mut state = self.lock();
        let at = at.since_start();
        if at <= state.now {
            let _ = ring.try_send(Instant::now());
        } else {
            let ring = Ring::Channel(ring);
            state.alarms.push(Alarm { at, far, ring });
            self.shared.changed.notify_all();
        }
        alarm
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves both times on and rings what is due.
    fn pass(&mut self, by: Duration) {
        self.now += by;
        self.wall += by;
        let now = self.now;
        self.alarms.retain(|alarm| {
            if alarm.at <= now {
                alarm.ring.ring();
            }
            alarm.at > now
        });
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
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        if let Some(until) = until {
            let mut state = self.lock();
            if until.since_start() <= state.now {
                drop(state);
                return poll(socket, interest, None, Some(Duration::ZERO));
            }
            let ring = Ring::Event(Arc::clone(&event));
            state.alarms.push(Alarm {
                at: until.since_start(),
                far: false,
                ring,
            });
            self.shared.changed.notify_all();
        }
        let found = loop {
            if poll(socket, interest, Some(event.as_fd()), None)? {
                break true;
            }
            if until.is_some_and(|until| self.now() >= until) {
                break false;
            }
        };
        self.lock().alarms.retain(
            |alarm| !matches!(&alarm.ring, Ring::Event(other) if Arc::ptr_eq(other, &event)),
        );
        Ok(found)
    }

    fn chance(&self) -> f64 {
        let mut state = self.lock();
        state.fixed_chance.unwrap_or_else(|| state.dice.f64())
    }
}
