//! How a failure is met, and what that means for the number and the spacing of requests: said once,
//! for all tests of servers that misbehave.

#![allow(
    dead_code,
    reason = "each test program uses its own part of this module"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what is for the tests; a test program exports nothing"
)]

pub mod cases;
pub mod front;

use std::time::{Duration, Instant};

use crate::support::{LogLine, Setup};

/// How a failure is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With backoff: it may pass by itself. An attempt takes so long.
    Retries(Duration),
    /// At the refresh interval, which is an hour in these tests: somebody must change something.
    Settles,
    /// Not before the time that the server asked for.
    Waits(Duration),
}

/// With backoff, of a failure that shows at once.
pub const RETRIES: Pace = Pace::Retries(Duration::ZERO);

/// The first ceiling in these tests, …
pub const INITIAL: Duration = Duration::from_millis(500);

/// … and how much higher each next one is: so many attempts are made soon, and then no more.
const MULTIPLIER: u32 = 30;

/// No wait is shorter, whatever chance says.
const FLOOR: Duration = Duration::from_millis(100);

/// What a busy machine may add to a wait. It never shortens one.
const LATE: Duration = Duration::from_secs(5);

/// A daemon with the spacing that [`Pace::check`] knows.
pub fn paced(setup: Setup) -> Setup {
    setup
        .env("INITIAL_BACKOFF", &format!("{}ms", INITIAL.as_millis()))
        .env("BACKOFF_MULTIPLIER", &MULTIPLIER.to_string())
}

impl Pace {
    /// How many requests to wait for before the spacing is looked at.
    pub fn expected(self) -> usize {
        match self {
            Self::Retries(_) => 2,
            Self::Settles | Self::Waits(_) => 1,
        }
    }

    /// The level of the line that tells it, and whether its announced wait is right.
    #[track_caller]
    pub fn check_line(self, line: &LogLine) {
        let next = line.json["next_retry_ms"]
            .as_u64()
            .map(Duration::from_millis);
        let next = next.unwrap_or_else(|| panic!("no next retry: {}", line.raw));
        let (level, least, most) = match self {
            Self::Retries(_) => ("warn", FLOOR, INITIAL),
            // An hour, less a tenth; but a minute before the first success.
            Self::Settles => ("error", Duration::from_secs(53), Duration::from_secs(3600)),
            Self::Waits(asked) => ("warn", asked, asked),
        };
        assert_eq!(line.text("level"), level, "{}", line.raw);
        // It is announced a moment after it was drawn.
        assert!(
            next + LATE >= least && next <= most,
            "{next:?}: {}",
            line.raw
        );
    }

    /// The attempts so far, from the first that failed on: their number and their spacing. An attempt
    /// on a pooled connection that the server had closed goes out twice, at once.
    #[track_caller]
    pub fn check(self, what: &str, times: &[Instant]) {
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        match self {
            Self::Settles => assert_eq!(times.len(), 1, "{what} settles: {gaps:?}"),
            Self::Waits(asked) => {
                assert!(!times.is_empty(), "{what}");
                assert!(gaps.iter().all(|gap| *gap >= asked), "{what}: {gaps:?}");
            }
            Self::Retries(cost) => {
                let waits = waits(times);
                assert!(!waits.is_empty(), "{what} is not tried again");
                assert!(waits.iter().all(|gap| *gap >= FLOOR), "{what}: {gaps:?}");
                let ceiling = INITIAL + cost + LATE;
                assert!(waits[0] <= ceiling, "{what}: {gaps:?}");
                // The fourth wait is one of up to five minutes.
                assert!(waits.len() <= 5, "{what}: {gaps:?}");
            }
        }
    }
}

/// The times from one attempt to the next. What follows an attempt at once, and once, belongs to it:
/// a read is sent anew where a pooled connection was closed under it, and follows one redirect.
fn waits(times: &[Instant]) -> Vec<Duration> {
    let mut again = false;
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let waits = gaps.filter(|gap| {
        again = !again && *gap < FLOOR;
        !again
    });
    waits.collect()
}

/// The contract's last line: a rate limit for each store (twice what the plan's intervals need, and 20
/// a second), in bursts of two requests for every read in the plan and two for a login; full again when the breaker
/// closes, which it did `closings` times. Holds between any two of these requests.
#[track_caller]
pub fn check_bound(what: &str, times: &[Instant], reads: usize, need: f64, closings: usize) {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    let (rate, burst) = (need.mul_add(2.0, 20.0), number(reads * 2 + 2));
    let mut times = times.to_vec();
    times.sort();
    for (first, one) in times.iter().enumerate() {
        for (last, other) in times.iter().enumerate().skip(first) {
            let count = number(last - first + 1);
            // A time stamp may be late, so that two seem closer than they were.
            let passed = (*other - *one).as_secs_f64() + 0.25;
            let most = rate.mul_add(passed, burst * number(closings + 1));
            assert!(
                count <= most,
                "{what}: {count} requests in {passed} s, {most} may be"
            );
        }
    }
}

/// The spacing of the probes of a store that is away: after 1, 2, 4, then every 8 s, ± 25 %. The
/// first of them is the question before the breaker opens. Each takes so long.
#[track_caller]
pub fn check_probes(what: &str, times: &[Instant], cost: Duration) {
    let gaps = waits(times);
    assert!(!gaps.is_empty(), "{what} is not probed");
    for (gap, seconds) in gaps.iter().zip([1.0_f64, 2.0, 4.0, 8.0, 8.0, 8.0]) {
        let gap = gap.as_secs_f64();
        // The question's own stamp may be late by what a busy machine takes.
        let least = seconds * 0.75 - 0.1;
        let most = seconds.mul_add(1.25, (cost + LATE).as_secs_f64());
        assert!((least..=most).contains(&gap), "{what}: {gaps:?}");
    }
}

/// The connections to a store that is away from the start, for one secret whose backoff is at most a
/// fifth of a second: three attempts, the question before the breaker opens, then probes.
#[track_caller]
pub fn check_outage(what: &str, times: &[Instant], attempt: Duration) {
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(times.len() > 4, "{what}: {gaps:?}");
    for gap in &gaps[..2] {
        let most = attempt + Duration::from_millis(200) + LATE;
        assert!((FLOOR..=most).contains(gap), "{what}: {gaps:?}");
    }
    check_probes(what, &times[3..], attempt);
}
