//! The machine's own clock.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, after};
use rustix::time::{ClockId, clock_gettime};

use super::{Clock, Interest, Tick, poll};

/// An alarm rings at least this often, since the channel that gives it sleeps on a clock that
/// stands still while the machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// For the same reason a wait for a socket looks at the clock this often: a request that was under
/// way when the machine was suspended ends soon after it wakes.
const LONGEST_POLL: Duration = Duration::from_secs(1);

/// `CLOCK_BOOTTIME`, the wall clock, and the thread's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Tick {
        Tick::from_start(span(ClockId::Boottime))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn alarm(&self, at: Tick) -> Receiver<Instant> {
        after(at.since(self.now()).min(LONGEST_SLEEP))
    }

    fn far_alarm(&self, at: Tick) -> Receiver<Instant> {
        after(at.since(self.now()))
    }

    fn slept(&self) -> Duration {
        // In this order what comes in between is slept, at most: nothing that was is left out.
        let awake = span(ClockId::Monotonic);
        span(ClockId::Boottime).saturating_sub(awake)
    }

    fn ready(
        &self,
        socket: BorrowedFd<'_>,
        interest: Interest,
        until: Option<Tick>,
    ) -> io::Result<bool> {
        loop {
            let left = until.map(|until| until.since(self.now()));
            let longest = left.map_or(LONGEST_POLL, |left| left.min(LONGEST_POLL));
            if poll(socket, interest, None, Some(longest))? {
                return Ok(true);
            }
            if until.is_some_and(|until| self.now() >= until) {
                return Ok(false);
            }
        }
    }

    fn chance(&self) -> f64 {
        fastrand::f64()
    }
}

/// What that clock says.
fn span(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
