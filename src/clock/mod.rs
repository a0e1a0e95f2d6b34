//! Time, waits and chance, handed in: schedules, renewals, backoff and breaker take a [`Clock`]
//! and are tested on a [`ManualClock`] without taking real time. Nothing else in the house reads
//! a clock or sleeps.

mod backoff;
mod io;
mod manual;
mod system;

pub use backoff::Growth;
pub use io::{Interest, poll};
pub use manual::ManualClock;
pub use system::SystemClock;

use std::io::Result as IoResult;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, never, select};

/// A moment on a clock that no one can set and that goes on while the machine is suspended
/// (`CLOCK_BOOTTIME`): nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(Duration);

impl Tick {
    /// The moment `since_start` after the clock's start.
    #[must_use]
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time since the clock's start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero when it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Tick {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Time, waits and chance.
///
/// Everybody who schedules asks it; only tests implement it a second time.
pub trait Clock: Send + Sync {
    /// Now, for deadlines and ages.
    fn now(&self) -> Tick;

    /// Now, for people: time stamps in logs and status, never for deadlines.
    fn wall(&self) -> SystemTime;

    /// A channel that gives one message at `at`, or earlier: look at [`Clock::now`] again when it
    /// does ([`wait`] and [`pause`] do that).
    fn alarm(&self, at: Tick) -> Receiver<Instant>;

    /// The same for those who are told to look at the clock again after the machine was suspended
    /// ([`Clock::slept`]), which this alarm does not count: whoever sleeps for hours sleeps through.
    fn far_alarm(&self, at: Tick) -> Receiver<Instant> {
        self.alarm(at)
    }

    /// For how long the machine has been suspended, in all, since the clock's start: this only grows, but
    /// for the microseconds that it takes to find out.
    fn slept(&self) -> Duration {
        Duration::ZERO
    }

    /// Waits until the socket can be read from or written to, or has failed; `false` when `until`
    /// came first (for ever with `None`).
    ///
    /// # Errors
    ///
    /// When the system refuses to wait.
    fn ready(
        &self,
        socket: BorrowedFd<'_>,
        interest: Interest,
        until: Option<Tick>,
    ) -> IoResult<bool>;

    /// A random number in `0.0..1.0`.
    fn chance(&self) -> f64;

    /// `span` × a random factor in `low..high`.
    fn jitter(&self, span: Duration, low: f64, high: f64) -> Duration {
        span.mul_f64((high - low).mul_add(self.chance(), low).max(0.0))
    }
}

/// Why a [`wait`] ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Woken<T> {
    /// A message came.
    Message(T),
    /// The time came.
    Due,
    /// Nobody is left who could send.
    Closed,
}

/// Waits for a message, until the moment given (for ever with `None`).
pub fn wait<T>(clock: &dyn Clock, messages: &Receiver<T>, until: Option<Tick>) -> Woken<T> {
    loop {
        let alarm = match until {
            Some(at) if clock.now() >= at => {
                return match messages.try_recv() {
                    Ok(message) => Woken::Message(message),
                    Err(crossbeam_channel::TryRecvError::Empty) => Woken::Due,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => Woken::Closed,
                };
            }
            Some(at) => clock.alarm(at),
            None => never(),
        };
        select! {
            recv(messages) -> message => return message.map_or(Woken::Closed, Woken::Message),
            recv(alarm) -> _ => {}
        }
    }
}

/// A request to stop that many threads share: each holds a clone; when the [`StopSource`] is
/// dropped or told to stop, all of them see it.
#[derive(Clone, Debug)]
pub struct Stop(Receiver<std::convert::Infallible>);

impl Stop {
    /// A source and the token that follows it.
    #[must_use]
    pub fn new() -> (StopSource, Self) {
        let (sender, receiver) = crossbeam_channel::bounded(0);
        (StopSource(Some(sender)), Self(receiver))
    }

    /// A token that never stops.
    #[must_use]
    pub fn never() -> Self {
        Self(never())
    }

    /// Whether the source has said stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(
            self.0.try_recv(),
            Err(crossbeam_channel::TryRecvError::Disconnected)
        )
    }

    /// For `select!`: becomes ready (with an error) when it is time to stop.
    #[must_use]
    pub fn receiver(&self) -> &Receiver<std::convert::Infallible> {
        &self.0
    }
}

/// The other end of [`Stop`].
#[derive(Debug)]
pub struct StopSource(Option<crossbeam_channel::Sender<std::convert::Infallible>>);

impl StopSource {
    /// Tells every holder of the token to stop.
    pub fn stop(&mut self) {
        self.0 = None;
    }
}

/// Waits until the moment given; `false` when told to stop before.
pub fn pause(clock: &dyn Clock, stop: &Stop, until: Tick) -> bool {
    matches!(wait(clock, stop.receiver(), Some(until)), Woken::Due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_wakes_a_pause() {
        let (source, stop) = Stop::new();
        assert!(!stop.is_stopped());
        drop(source);
        assert!(stop.is_stopped());
        let clock = ManualClock::new();
        assert!(!pause(&clock, &stop, clock.now() + Duration::from_secs(5)));
    }

    #[test]
    fn a_pause_ends_when_the_clock_is_moved() {
        let clock = ManualClock::new();
        let sleeper = clock.clone();
        let (_source, stop) = Stop::new();
        let until = clock.now() + Duration::from_secs(5);
        let thread = std::thread::spawn(move || pause(&sleeper, &stop, until));
        clock.wait_for_sleepers(1);
        clock.advance(Duration::from_secs(5));
        assert!(thread.join().unwrap());
    }

    #[test]
    fn a_message_is_preferred_to_a_deadline_that_has_passed() {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        sender.send(7).unwrap();
        let clock = ManualClock::new();
        assert_eq!(
            wait(&clock, &receiver, Some(Tick::default())),
            Woken::Message(7)
        );
    }
}
