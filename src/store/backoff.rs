//! How long to wait after a failure.

use std::time::Duration;

use crate::clock::{Clock, Growth};
use crate::failure::Retry;
use crate::plan::Daemon;

/// The failures of one doer in a row.
#[derive(Clone, Debug)]
pub struct Backoff {
    growth: Growth,
    failures: u32,
}

impl Backoff {
    /// None yet.
    #[must_use]
    pub fn new(daemon: &Daemon) -> Self {
        Self {
            growth: daemon.growth(),
            failures: 0,
        }
    }

    /// How many there were.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A success: begin anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Another failure: how long to wait. What is settled waits `MAX_BACKOFF`.
    pub fn after(&mut self, retry: Retry, clock: &dyn Clock) -> Duration {
        let asked = match retry {
            Retry::Backoff(asked) => asked.unwrap_or_default(),
            Retry::Settled => return self.growth.max,
        };
        let wait = self.growth.wait(self.failures, clock).max(asked);
        self.failures = self.failures.saturating_add(1);
        wait
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
            sandbox: true,
            sandbox_write_paths: Vec::new(),
            tracing: None,
        }
    }

    #[test]
    fn it_grows_to_its_maximum_and_never_vanishes() {
        let clock = ManualClock::new();
        let mut backoff = Backoff::new(&daemon());
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
        assert_eq!(
            backoff.after(Retry::Backoff(None), &clock),
            Duration::from_millis(100)
        );
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
