//! `run --once` and `run --dry-run`: every secret once, then an answer.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, select, unbounded};

use super::crew::{Crew, close_time};
use super::cycle::Preview;
use super::event::{Event, Mailbox, Report};
use super::futexes;
use super::narrator::{Narrator, notices};
use super::schedule::Reason;
use super::signals::Signal;
use super::state::State;
use super::worker::Policy;
use crate::clock::{Clock, Tick};
use crate::failure::{ErrorType, Failure, Retry};
use crate::observe::trace;
use crate::plan::{Daemon, Plan};
use crate::store::{Mode, Stores};

/// What a single pass is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OncePolicy {
    /// Retryable failures are tried again for this long.
    pub timeout: Duration,
    /// Write nothing, say what would change.
    pub dry_run: bool,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnceOutcome {
    /// `--dry-run`: a line a file, by secret, in written order.
    pub preview: Vec<(String, Vec<String>)>,
    /// The secrets that failed, in written order, and why.
    pub failed: Vec<(String, Failure)>,
}

/// Does every secret of the plan once.
pub fn once(
    plan: &Plan,
    daemon: &Arc<Daemon>,
    clock: &Arc<dyn Clock>,
    signals: &Receiver<Signal>,
    policy: OncePolicy,
) -> OnceOutcome {
    let (post, mailbox) = Mailbox::new();
    let (store_sender, store_events) = unbounded();
    let mode = if policy.dry_run {
        Mode::Look
    } else {
        Mode::Use
    };
    notices(&plan.notices);
    let until = clock.now() + policy.timeout;
    let mut stores = Stores::new(Arc::clone(daemon), mode, Arc::clone(clock), store_sender);
    stores.apply(plan);
    let mut pass = Pass {
        clock: &**clock,
        crew: Crew::new(Arc::clone(clock), Arc::clone(daemon), post),
        state: State::new(plan, clock.now(), clock.wall()),
        narrator: Narrator::new(plan),
        mailbox,
        open: 0,
        outcome: OnceOutcome::default(),
    };
    futexes::make_room(plan.secrets.len());
    pass.start(plan, &stores, policy, until);
    while pass.open > 0 {
        let now = clock.now();
        let alarm = clock.alarm(pass.mailbox.wait_until(now, until));
        select! {
            recv(pass.mailbox.bell(now)) -> _ => pass.hear(),
            recv(store_events) -> event => if let Ok(event) = event {
                pass.narrator.store(&event, clock.now());
            },
            recv(signals) -> signal => if signal == Ok(Signal::Stop) { break },
            recv(alarm) -> _ => if clock.now() >= until { break },
        }
    }
    pass.leave();
    for event in store_events.try_iter() {
        pass.narrator.store(&event, clock.now());
    }
    pass.narrator.turn(None);
    stores.close(close_time(daemon.shutdown_timeout));
    trace::end(trace::LAST_SPANS.min(daemon.shutdown_timeout));
    pass.finish()
}

struct Pass<'a> {
    clock: &'a dyn Clock,
    crew: Crew,
    state: State,
    narrator: Narrator,
    mailbox: Mailbox,
    /// Secrets without a final word.
    open: usize,
    outcome: OnceOutcome,
}

impl Pass<'_> {
    fn start(&mut self, plan: &Plan, stores: &Stores, policy: OncePolicy, until: Tick) {
        let preview = if policy.dry_run {
            Preview::new().ok()
        } else {
            None
        };
        for (index, secret) in plan.secrets.iter().enumerate() {
            let started =
                self.crew
                    .start(secret, plan, stores, Policy::Once(until), preview.clone());
            match started {
                Ok(worker) => {
                    self.state.assign(index, worker);
                    self.open += 1;
                }
                Err(failure) => {
                    if let Some(known) = self.state.secrets_mut().get_mut(index) {
                        known.fail(failure, None, Reason::Thread, 1);
                    }
                }
            }
        }
    }

    fn hear(&mut self) {
        self.mailbox.rung(self.clock.now());
        for event in self.mailbox.take() {
            self.event(&event);
        }
    }

    fn event(&mut self, event: &Event) {
        if matches!(event.report, Report::Ended) {
            self.crew.ended(event.worker);
        }
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let Some(known) = self.state.by_worker(event.worker) else {
            return;
        };
        {
            let _about = trace::about(event.trace);
            self.narrator.report(known, &event.report, now);
        }
        let name = known.secret.name.clone();
        self.state.fold(event.worker, &event.report, now, wall);
        match &event.report {
            Report::Synced { preview, .. } => {
                self.open -= 1;
                if let Some(lines) = preview {
                    self.outcome.preview.push((name, lines.clone()));
                }
            }
            Report::Failed { is_final: true, .. } => self.open -= 1,
            Report::Failed { .. } | Report::Ended => {}
        }
    }

    /// Lets writes that have begun finish.
    fn leave(&mut self) {
        let began = self.clock.now();
        self.crew.stop_all();
        loop {
            let now = self.clock.now();
            let Some(look_at) = self.crew.leaves_until(began, now) else {
                break;
            };
            let alarm = self.clock.alarm(self.mailbox.wait_until(now, look_at));
            select! {
                recv(self.mailbox.bell(now)) -> _ => self.hear(),
                recv(alarm) -> _ => {}
            }
        }
    }

    fn finish(mut self) -> OnceOutcome {
        for known in self.state.secrets() {
            if known.last_success.is_none() {
                let failure = known.failure.clone().unwrap_or_else(|| {
                    Failure::new(
                        ErrorType::Timeout,
                        Retry::Backoff(None),
                        "no answer before the time was over",
                    )
                    .with_remedy("give it more time with `--timeout`")
                });
                let name = known.secret.name.clone();
                self.outcome.failed.push((name, failure));
            }
        }
        let order: std::collections::HashMap<&str, usize> = self
            .state
            .secrets()
            .iter()
            .enumerate()
            .map(|(index, known)| (known.secret.name.as_str(), index))
            .collect();
        self.outcome
            .preview
            .sort_by_key(|(name, _)| order.get(name.as_str()).copied());
        self.outcome
    }
}
