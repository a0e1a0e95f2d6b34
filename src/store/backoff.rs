//! How long to wait after a failure.

use std::time::Duration;

use crate::clock::Clock;
use crate::failure::Retry;
use crate::plan::Daemon;

/// The shortest wait: chance alone would now and then give none.
const SHORTEST: Duration = Duration::from_millis(50);

/// Exponential backoff with full jitter: a random part of `INITIAL_BACKOFF` ×
/// `BACKOFF_MULTIPLIER` for each failure before, at most `MAX_BACKOFF`.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    multiplier: f64,
    failures: u32,
}

impl Backoff {
    /// None yet.
    #[must_use]
    pub fn new(daemon: &Daemon) -> Self {
        Self {
            initial: daemon.initial_backoff,
            max: daemon.max_backoff,
            multiplier: daemon.backoff_multiplier,
            failures: 0,
        }
    }

    /// A success: begin anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Another failure: how long to wait. What is settled waits `MAX_BACKOFF`.
    pub fn after(&mut self, retry: Retry, clock: &dyn Clock) -> Duration {
        let asked = match retry {
            Retry::Backoff(asked) => asked.unwrap_or_default(),
            Retry::Settled => return self.max,
        };
        let exponent = i32::try_from(self.failures).unwrap_or(i32::MAX);
        self.failures = self.failures.saturating_add(1);
        let most = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        let most = Duration::try_from_secs_f64(most).map_or(self.max, |most| most.min(self.max));
        clock
            .jitter(most, 0.0, 1.0)
            .max(SHORTEST.min(self.max))
            .max(asked)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// The defaults.
    pub(in crate::store) fn daemon() -> Daemon {
        Daemon {
            watch_config: false,
            log_level: log::LevelFilter::Info,
            log_json: true,
            metrics_addr: std::net::Ipv4Addr::LOCALHOST.into(),
            metrics_port: None,
            status_file: "/nowhere".into(),
            breaker_max_requests: 3,
            breaker_interval: Duration::from_secs(60),
            breaker_timeout: Duration::from_secs(30),
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(300),
            backoff_multiplier: 2.0,
            shutdown_timeout: Duration::from_secs(30),
        }
    }

    #[test]
    fn it_grows_to_its_maximum_and_never_vanishes() {
        let clock = ManualClock::new();
        let mut backoff = Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(300),
            multiplier: 2.0,
            failures: 0,
        };
        clock.set_chance(0.5);
        let waits: Vec<f64> = (0..12)
            .map(|_| backoff.after(Retry::Backoff(None), &clock).as_secs_f64())
            .collect();
        assert_eq!(
            waits,
            [
                0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 150.0, 150.0, 150.0
            ]
        );
        for _ in 0..5000 {
            backoff.after(Retry::Backoff(None), &clock);
        }
        clock.set_chance(0.0);
        assert_eq!(backoff.after(Retry::Backoff(None), &clock), SHORTEST);
        let asked = Some(Duration::from_secs(7));
        assert_eq!(
            backoff.after(Retry::Backoff(asked), &clock),
            Duration::from_secs(7)
        );
        assert_eq!(
            backoff.after(Retry::Settled, &clock),
            Duration::from_secs(300)
        );
        clock.set_chance(0.5);
        backoff.reset();
        let wait = backoff.after(Retry::Backoff(None), &clock);
        assert_eq!(wait, Duration::from_millis(500));
    }
}
