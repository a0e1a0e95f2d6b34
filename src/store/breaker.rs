//! The circuit breaker of one store: when requests are let through, and who asks whether the
//! store is back.
//!
//! [`Breaker`] decides, and is pure: events and times in, decisions out. [`Gate`] is the breaker
//! as threads use it. The rules, with the contract's numbers:
//!
//! * **Closed.** All requests pass. The last 10 that came to an end within the interval are
//!   remembered as succeeded or failed; 429 and permanent errors are not remembered at all. When a
//!   failure makes it at least 3 with 60 % of them failed, the health question is asked, once,
//!   while requests go on. A good answer keeps the breaker closed and forgets what was remembered:
//!   the secrets that failed back off alone, and it takes three more requests for another
//!   question. Any other answer, or none, opens it.
//! * **Open.** Nothing passes; who asks waits. One probe at a time asks for all of them: 1 s after
//!   opening, then 2, 4, and every 8 s after the one before, or every 2 s while nothing listens; what
//!   changes begins anew: see `Spacing`. A bad answer waits for the next, a good one makes it half-open.
//! * **Open, asking by requests.** A health answer below 500 that is none of the server's own says
//!   nothing, from then on until the breaker closes: the probe is then a request of whoever waits,
//!   the one that waits longest first, and never the same twice in a row while another waits. An
//!   offer that nobody takes up for 2 s goes to the next. Any answer but a failure closes the
//!   breaker, since it has proved more than a probe does.
//! * **Half-open.** Everybody who waits is woken (and comes within its own splay). `max_requests`
//!   pass, the others wait. The first answer that is no failure closes the breaker, permanent
//!   errors and 429 included, for the store gave it. When all that passed have failed it opens
//!   again, and the probes go on where they were: that the store is well, but its requests fail, begins
//!   anew once. A request that hangs keeps nobody waiting: without an answer for 5 s, as many pass
//!   again.
//! * **Closed again.** What was remembered is forgotten, everybody who waits is woken.
//!
//! A request that was let through in one state and ends in a later one has no say there.

mod gate;
mod spacing;

pub use gate::{Gate, OnChange, Pass};
pub use spacing::Found;

use std::collections::VecDeque;
use std::time::Duration;

use self::spacing::Spacing;
use super::BreakerState;
use crate::clock::Tick;

/// How many requests are remembered.
const WINDOW: usize = 10;
/// Fewer of them say nothing.
const AT_LEAST: usize = 3;
/// How long an offer to probe waits for its taker: the splay, and some.
const OFFER: Duration = Duration::from_secs(2);
/// How long half-open waits for an answer.
const VERDICT: Duration = Duration::from_secs(5);

/// `CIRCUIT_BREAKER_…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests that half-open admits, at least 1.
    pub max_requests: u32,
    /// For how long a request is remembered.
    pub interval: Duration,
    /// The longest time between two probes.
    pub timeout: Duration,
}

/// How a request ended, for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With what was asked for.
    Success,
    /// With a failure that may pass by itself, 429 excepted: no connection, TLS, time-out, 412,
    /// 472, 473, 5xx.
    Failed(Found),
    /// With 429 or a permanent error: the store answered, but it does not count.
    Neutral,
}

/// What the health answer says of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Good,
    /// It does not: 5xx, or no answer.
    Bad,
    /// Nothing: something else than the store answered.
    Silent,
}

impl Health {
    /// By the status of `sys/health?standbyok=true&perfstandbyok=true`, or by what kept it from us.
    #[must_use]
    pub fn of(found: Found) -> Self {
        match found {
            Found::Answer(200 | 429 | 472 | 473) => Self::Good,
            Found::Nobody | Found::NoAnswer | Found::TimedOut | Found::Answer(500..) => Self::Bad,
            Found::Answer(_) => Self::Silent,
        }
    }
}

/// What lets a request pass; its outcome comes back with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    epoch: u64,
}

/// Something to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Ask the store how it is, and report with [`Breaker::health`].
    AskHealth,
    /// Wake whoever waits longest: its request will be the probe.
    WakeOne,
    /// Wake everybody who waits.
    WakeAll,
}

/// A change of state, for people; everybody who waits is woken unless it opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new state.
    pub state: BreakerState,
    /// Why.
    pub reason: String,
}

#[derive(Debug)]
enum Phase {
    Closed {
        question: Question,
    },
    Open {
        /// When the last probe began; before the first, when it opened.
        asked: Tick,
        due: Tick,
        by: By,
    },
    HalfOpen {
        passed: u32,
        failed: u32,
        since: Tick,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    None,
    ToAsk,
    Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Health,
    /// Until when the offer to be the probe stands, where there is one.
    Requests {
        offered: Option<Tick>,
    },
}

/// The rules. Time and chance (`0.0..1.0`) are handed in.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    phase: Phase,
    /// Counts the states, so that late outcomes are known as such.
    epoch: u64,
    window: VecDeque<(Tick, bool)>,
    /// Of the probes, since it was closed.
    spacing: Spacing,
    /// Who was the probe last.
    last: Option<u64>,
}

impl Breaker {
    /// Closed.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Settings {
                max_requests: settings.max_requests.max(1),
                ..settings
            },
            phase: Phase::Closed {
                question: Question::None,
            },
            epoch: 0,
            window: VecDeque::with_capacity(WINDOW),
            spacing: Spacing::new(settings.timeout),
            last: None,
        }
    }

    /// The state that people see.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a request of `who` may pass now; `rivals` tells whether others wait.
    pub fn admit(&mut self, now: Tick, who: u64, rivals: bool) -> Option<Ticket> {
        match &mut self.phase {
            Phase::Closed { .. } => {}
            Phase::HalfOpen { passed, since, .. } => {
                if *passed >= self.settings.max_requests {
                    return None;
                }
                *passed += 1;
                *since = now;
            }
            Phase::Open {
                asked,
                due,
                by: By::Requests { offered },
            } if offered.is_some() => {
                if rivals && self.last == Some(who) {
                    return None;
                }
                *offered = None;
                // It comes after a splay: the next one keeps its distance from this.
                *due = *due + now.since(*asked);
                *asked = now;
                self.last = Some(who);
            }
            Phase::Open { .. } => return None,
        }
        Some(Ticket { epoch: self.epoch })
    }

    /// Whether the breaker is still in the state in which it gave the ticket.
    #[must_use]
    pub fn is_current(&self, ticket: &Ticket) -> bool {
        ticket.epoch == self.epoch
    }

    /// A request that passed has ended.
    pub fn record(
        &mut self,
        now: Tick,
        ticket: &Ticket,
        outcome: Outcome,
        chance: f64,
    ) -> Option<Change> {
        if ticket.epoch != self.epoch {
            return None;
        }
        match (&mut self.phase, outcome) {
            (Phase::Closed { .. }, Outcome::Neutral) => None,
            (Phase::Closed { question }, outcome) => {
                if self.window.len() == WINDOW {
                    self.window.pop_front();
                }
                self.window
                    .push_back((now, matches!(outcome, Outcome::Failed(_))));
                let interval = self.settings.interval;
                self.window.retain(|(at, _)| now.since(*at) <= interval);
                let failed = self.window.iter().filter(|(_, failed)| *failed).count();
                if matches!(outcome, Outcome::Failed(_))
                    && *question == Question::None
                    && self.window.len() >= AT_LEAST
                    && failed * 10 >= self.window.len() * 6
                {
                    *question = Question::ToAsk;
                }
                None
            }
            (Phase::Open { .. } | Phase::HalfOpen { .. }, Outcome::Success) => {
                Some(self.close("a request succeeded"))
            }
            (Phase::Open { .. } | Phase::HalfOpen { .. }, Outcome::Neutral) => {
                Some(self.close("the store answers again"))
            }
            (Phase::Open { .. }, Outcome::Failed(found)) => {
                self.probed(found, chance);
                None
            }
            (Phase::HalfOpen { failed, .. }, Outcome::Failed(_)) => {
                *failed += 1;
                if *failed < self.settings.max_requests {
                    return None;
                }
                let reason = format!("{failed} requests failed after a good health check");
                Some(self.open(now, By::Health, reason, chance))
            }
        }
    }

    /// A request that passed was never made: its place is free again.
    pub fn abandon(&mut self, ticket: &Ticket) {
        if ticket.epoch == self.epoch
            && let Phase::HalfOpen { passed, .. } = &mut self.phase
        {
            *passed = passed.saturating_sub(1);
        }
    }

    /// When [`Breaker::poll`] has something to do next.
    #[must_use]
    pub fn due(&self) -> Option<Tick> {
        match &self.phase {
            Phase::Closed { question } => (*question == Question::ToAsk).then_some(Tick::default()),
            Phase::Open {
                due,
                by: By::Requests {
                    offered: Some(until),
                },
                ..
            } => Some(*due.min(until)),
            Phase::Open { due, .. } => Some(*due),
            Phase::HalfOpen { passed, since, .. } => {
                (*passed >= self.settings.max_requests).then_some(*since + VERDICT)
            }
        }
    }

    /// What there is to do now. Ask again until there is nothing.
    pub fn poll(&mut self, now: Tick, chance: f64) -> Option<Duty> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        match &mut self.phase {
            Phase::Closed { question } => {
                *question = Question::Asked;
                Some(Duty::AskHealth)
            }
            Phase::Open { asked, due, by } => {
                if *due <= now {
                    self.spacing.begun();
                    *asked = now;
                    // As if this one found the same, until it has ended; a request may hang for long.
                    *due = now
                        + match by {
                            By::Health => self.spacing.wait(chance),
                            By::Requests { .. } => self.spacing.most(chance),
                        };
                }
                match by {
                    By::Health => Some(Duty::AskHealth),
                    By::Requests { offered } => {
                        *offered = Some(now + OFFER);
                        Some(Duty::WakeOne)
                    }
                }
            }
            Phase::HalfOpen {
                passed,
                failed,
                since,
            } => {
                *passed = 0;
                *failed = 0;
                *since = now;
                Some(Duty::WakeAll)
            }
        }
    }

    /// What the health question found, with the words for it.
    pub fn health(&mut self, now: Tick, found: Found, why: &str, chance: f64) -> Option<Change> {
        let health = Health::of(found);
        match &mut self.phase {
            Phase::Closed {
                question: question @ Question::Asked,
            } if health == Health::Good => {
                *question = Question::None;
                self.window.clear();
                None
            }
            Phase::Closed {
                question: Question::Asked,
            } => {
                let failed = self.window.iter().filter(|(_, failed)| *failed).count();
                let reason = format!(
                    "{failed} of the last {} requests failed, and the health check: {why}",
                    self.window.len()
                );
                let by = if health == Health::Silent {
                    By::Requests { offered: None }
                } else {
                    self.spacing.found(found);
                    By::Health
                };
                Some(self.open(now, by, reason, chance))
            }
            Phase::Open {
                due,
                by: by @ By::Health,
                ..
            } if health == Health::Silent => {
                // This very probe is made by a request, now.
                *by = By::Requests { offered: None };
                *due = now;
                self.spacing.not_yet();
                None
            }
            Phase::Open { by: By::Health, .. } => {
                self.probed(found, chance);
                (health == Health::Good).then(|| self.half_open(now))
            }
            _ => None,
        }
    }

    /// A probe has ended: the next one's time is known.
    fn probed(&mut self, found: Found, chance: f64) {
        self.spacing.found(found);
        if let Phase::Open { asked, due, .. } = &mut self.phase {
            *due = *asked + self.spacing.wait(chance);
        }
    }

    fn half_open(&mut self, now: Tick) -> Change {
        self.epoch += 1;
        self.phase = Phase::HalfOpen {
            passed: 0,
            failed: 0,
            since: now,
        };
        Change {
            state: BreakerState::HalfOpen,
            reason: "the health check is good".to_owned(),
        }
    }

    fn open(&mut self, now: Tick, by: By, reason: String, chance: f64) -> Change {
        self.epoch += 1;
        self.phase = Phase::Open {
            asked: now,
            due: now + self.spacing.wait(chance),
            by,
        };
        Change {
            state: BreakerState::Open,
            reason,
        }
    }

    fn close(&mut self, reason: &str) -> Change {
        self.epoch += 1;
        self.phase = Phase::Closed {
            question: Question::None,
        };
        self.window.clear();
        self.spacing = Spacing::new(self.settings.timeout);
        self.last = None;
        Change {
            state: BreakerState::Closed,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
