//! What a server that comes back after an outage is asked, and what it was asked meanwhile.

use std::time::Duration;

use super::{Dice, Histogram, INTERVAL, highest, index, number, tick};
use crate::clock::{Clock, Tick};
use crate::config::{Daemon, Environment, daemon_settings};
use crate::failure::Retry;
use crate::plan::Interval;
use crate::store::BreakerState;
use crate::store::breaker::{Breaker, Change, Duty, Found, Outcome, Settings};
use crate::sync::crew::splay;
use crate::sync::schedule::{Backoff, Pacing};

/// Hosts that are simulated; each acts for itself, so that a hundred times as many ask a hundred times as
/// much.
pub(super) const HOSTS: u32 = 5_000;

/// Secrets of each.
pub(super) const SECRETS: u32 = 10;

/// All requests, by the second.
pub(super) struct Recovery {
    pub(super) outage: f64,
    /// What the hosts found meanwhile.
    pub(super) found: Found,
    pub(super) health: Histogram,
    pub(super) reads: Histogram,
    /// How long after the end of the outage each secret that failed in it was current.
    current: Vec<f64>,
}

impl Recovery {
    /// An outage of so many seconds, that finds the refreshes of the fleet evenly spread, and in which each
    /// request finds that.
    pub(super) fn simulate(outage: f64, found: Found) -> Self {
        let dice = Dice::seeded();
        let daemon = daemon_settings(&Environment::default()).unwrap();
        let end = outage + 60.0;
        let mut all = Self {
            outage,
            found,
            health: Histogram::new(1.0, end),
            reads: Histogram::new(1.0, end),
            current: Vec::new(),
        };
        for _ in 0..HOSTS {
            Host::new(&dice, &daemon, outage).live(&mut all);
        }
        all.current.sort_by(f64::total_cmp);
        all
    }

    /// The part of the secrets that failed.
    pub(super) fn failed(&self) -> f64 {
        number(self.current.len() as u64) / f64::from(HOSTS * SECRETS)
    }

    /// Questions after the health in the last ten seconds of the outage, a second and host.
    pub(super) fn questions(&self) -> f64 {
        let rates = self.health.rates(self.outage - 10.0, self.outage);
        rates.iter().sum::<f64>() / 10.0 / f64::from(HOSTS)
    }

    /// Reads in the busiest second after the outage, a host.
    pub(super) fn busiest(&self) -> f64 {
        highest(&self.reads.rates(self.outage, self.outage + 60.0)) / f64::from(HOSTS)
    }

    /// Seconds after the outage until this part of what failed was current.
    pub(super) fn current(&self, part: f64) -> f64 {
        let last = self.current.len() - 1;
        self.current[index(part * number(last as u64))]
    }
}

struct Host<'a> {
    dice: &'a Dice,
    end: Tick,
    pacing: Pacing,
    breaker: Breaker,
    secrets: Vec<Secret>,
    splay: Duration,
}

struct Secret {
    /// `None` while it waits for the store, and when it is current again.
    due: Option<Tick>,
    waits: bool,
    backoff: Backoff,
}

impl<'a> Host<'a> {
    fn new(dice: &'a Dice, daemon: &Daemon, outage: f64) -> Self {
        let interval = Duration::from_secs_f64(INTERVAL);
        let secret = |_| {
            // The next one, of which the last was as it should be.
            let due = dice.within(INTERVAL);
            Secret {
                due: Some(tick(due)).filter(|_| due < outage),
                waits: false,
                backoff: Backoff::default(),
            }
        };
        Self {
            dice,
            end: tick(outage),
            pacing: Pacing::new(Interval::Every(interval), daemon),
            breaker: Breaker::new(Settings {
                max_requests: daemon.breaker_max_requests,
                interval: daemon.breaker_interval,
                timeout: daemon.breaker_timeout,
            }),
            secrets: (0..SECRETS).map(secret).collect(),
            splay: splay(SECRETS as usize),
        }
    }

    /// Until all that failed are current. Requests take no time: what comes is the most at once.
    fn live(mut self, all: &mut Recovery) {
        let mut now = Tick::default();
        loop {
            let next = self.secrets.iter().enumerate();
            let next = next
                .filter_map(|(index, secret)| Some((secret.due?, index)))
                .min();
            let probe = self.breaker.due();
            match (next, probe) {
                (None, None) => return,
                (Some((due, index)), probe) if probe.is_none_or(|probe| due < probe) => {
                    now = now.max(due);
                    self.read(index, now, all);
                }
                (_, Some(probe)) => {
                    now = now.max(probe);
                    self.probe(now, all);
                }
                (Some(_), None) => unreachable!("the first arm takes it"),
            }
        }
    }

    fn read(&mut self, index: usize, now: Tick, all: &mut Recovery) {
        let rivals = self.secrets.iter().any(|secret| secret.waits);
        let secret = &mut self.secrets[index];
        let Some(ticket) = self.breaker.admit(now, index as u64, rivals) else {
            (secret.due, secret.waits) = (None, true);
            return;
        };
        let at = now.since_start().as_secs_f64();
        all.reads.add(at);
        let well = now >= self.end;
        if well {
            secret.due = None;
            all.current.push(at - all.outage);
        } else {
            let (wait, _) = secret
                .backoff
                .failed(Retry::Backoff(None), &self.pacing, self.dice);
            secret.due = Some(now + wait);
        }
        let outcome = if well {
            Outcome::Success
        } else {
            Outcome::Failed(all.found)
        };
        let change = self
            .breaker
            .record(now, &ticket, outcome, self.dice.chance());
        self.changed(change, now);
    }

    fn probe(&mut self, now: Tick, all: &mut Recovery) {
        match self.breaker.poll(now, self.dice.chance()) {
            Some(Duty::AskHealth) => {
                all.health.add(now.since_start().as_secs_f64());
                let found = if now >= self.end {
                    Found::Answer(200)
                } else {
                    all.found
                };
                let change = self.breaker.health(now, found, "", self.dice.chance());
                self.changed(change, now);
            }
            Some(Duty::WakeOne | Duty::WakeAll) => self.wake(now),
            None => {}
        }
    }

    fn changed(&mut self, change: Option<Change>, now: Tick) {
        if change.is_some_and(|change| change.state != BreakerState::Open) {
            self.wake(now);
        }
    }

    fn wake(&mut self, now: Tick) {
        for secret in self.secrets.iter_mut().filter(|secret| secret.waits) {
            secret.waits = false;
            secret.due = Some(now + self.dice.jitter(self.splay, 0.0, 1.0));
        }
    }
}
