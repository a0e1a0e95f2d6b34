//! One OS thread for one secret: fetch, render, commit, report; then wait for the next due time
//! or a command, whichever comes first. It shares nothing mutable but its store.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use super::cycle::{Cycle, Done, Trouble};
use super::event::{Event, Post, Report};
use super::pulse::Pulse;
use super::schedule::{Backoff, Pacing, Reason};
use super::stack::Stack;
use crate::clock::{Clock, Stop, StopSource, Tick, pause};
use crate::failure::{ErrorType, Failure, REPORT, Retry};
use crate::observe::trace::{self, Ids};

/// Rendering of templates needs the most; measured with the deepest template that is accepted.
const STACK: usize = 256 * 1024;

/// A secret that waits to be woken looks by itself after this time, should nobody wake it.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// Who sleeps for so long gives its stack back: to have its pages again takes some microseconds.
const LONG_SLEEP: Duration = Duration::from_secs(60);

/// Where a worker is told something while it waits: to look at the clock, and at whether it is to fetch
/// now. However often it is told meanwhile, it looks once.
struct Inbox {
    bell: Receiver<()>,
    is_to_fetch: Arc<AtomicBool>,
}

/// How long a worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Until it is told to stop.
    Forever,
    /// Until its secret is written, fails for good, or this moment has come.
    Once(Tick),
}

/// Everything a worker needs.
pub(super) struct Worker {
    /// Its number: no two of a process are the same.
    pub(super) id: u64,
    /// Its secret, with the way to do it.
    pub(super) cycle: Cycle,
    /// The spacing of its tries.
    pub(super) pacing: Pacing,
    /// How long it goes on.
    pub(super) policy: Policy,
    /// How long one cycle may take before it counts as stalled.
    pub(super) budget: Duration,
    /// Workers woken together spread over this time.
    pub(super) splay: Duration,
    /// Workers that must have ended before this one begins: they write the same files.
    pub(super) after: Vec<Receiver<Infallible>>,
    /// Until when readers of what a commit replaced have their time.
    pub(super) old_until: Option<Tick>,
    /// Its store has called it, and it was not well since, nor has its own time come: it does not listen to
    /// the store's return again. A secret that fails while its store is well shall not be called by each
    /// of those.
    pub(super) called: bool,
    /// The trace of the last cycle.
    pub(super) trace: Option<Ids>,
    /// Time and chance.
    pub(super) clock: Arc<dyn Clock>,
    /// Whom to tell.
    pub(super) events: Post,
    /// Where it has told of a success last: of which version.
    pub(super) told: Option<Option<u64>>,
    /// Its thread's, once that runs.
    pub(super) stack: Option<Stack>,
}

/// The supervisor's end of a worker.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    /// Its number.
    pub(super) id: u64,
    /// What it is doing.
    pub(super) pulse: Arc<Pulse>,
    bell: Sender<()>,
    is_to_fetch: Arc<AtomicBool>,
    stop: StopSource,
    gone: Receiver<Infallible>,
}

/// What a commit of `layout: directory` replaced stays this long for those who are reading it; less
/// where the process is about to end.
const GRACE: Duration = Duration::from_secs(1);
const SHORT_GRACE: Duration = Duration::from_millis(50);

impl WorkerHandle {
    /// Tells it to stop; a write that has begun is finished.
    pub(super) fn stop(&mut self) {
        self.pulse.close();
        self.stop.stop();
    }

    /// Tells it to fetch now; one such command is enough.
    pub(super) fn refresh(&self) {
        self.is_to_fetch.store(true, Ordering::SeqCst);
        self.look();
    }

    /// Tells it to look at the clock: the machine was suspended, which its alarm does not know.
    pub(super) fn look(&self) {
        let _ = self.bell.try_send(());
    }

    /// Closes when its thread has ended.
    #[must_use]
    pub(super) fn gone(&self) -> Receiver<Infallible> {
        self.gone.clone()
    }
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub(super) fn spawn(self) -> io::Result<WorkerHandle> {
        let (stop_source, stop) = Stop::new();
        let (bell, rung) = bounded(1);
        let inbox = Inbox {
            bell: rung,
            is_to_fetch: Arc::default(),
        };
        let (alive, gone) = bounded::<Infallible>(0);
        let pulse = Arc::new(Pulse::default());
        let handle = WorkerHandle {
            id: self.id,
            pulse: Arc::clone(&pulse),
            bell,
            is_to_fetch: Arc::clone(&inbox.is_to_fetch),
            stop: stop_source,
            gone,
        };
        thread::Builder::new()
            .name(self.cycle.secret().name.clone())
            .stack_size(STACK)
            .spawn(move || {
                let (worker, events) = (self.id, self.events.clone());
                let clock = Arc::clone(&self.clock);
                // A defect outside a cycle (those are caught there) still ends with a word.
                let _ = catch_unwind(AssertUnwindSafe(|| self.run(&inbox, &stop, &pulse)));
                drop(alive);
                events.tell(Event {
                    worker,
                    at: clock.now(),
                    is_calm: false,
                    report: Report::Ended,
                    trace: None,
                });
            })?;
        Ok(handle)
    }

    fn run(mut self, inbox: &Inbox, stop: &Stop, pulse: &Pulse) {
        self.stack = Some(Stack::of_this_thread(STACK));
        // One that hangs in its write makes this one late, and seen to be.
        pulse.waiting(self.clock.now() + self.budget);
        for predecessor in &self.after {
            select! {
                recv(predecessor) -> _ => {}
                recv(stop.receiver()) -> _ => return,
            }
        }
        let mut backoff = Backoff::default();
        while !stop.is_stopped() {
            let began = self.clock.now();
            if self.old_until.is_some_and(|over| over <= began) {
                self.remove_old(pulse);
            }
            if !pulse.fetching(began + self.budget) {
                return;
            }
            let result = self.attempt(stop, pulse);
            pulse.idle();
            if stop.is_stopped() {
                return;
            }
            let took = self.clock.now().since(began);
            let go_on = match result {
                Ok(done) => self.succeeded(done, took, &mut backoff, inbox, stop, pulse),
                Err(trouble) => self.failed(trouble, took, &mut backoff, inbox, stop),
            };
            if !go_on {
                return;
            }
        }
    }

    /// One cycle; a panic in it is a failure of this secret and of nothing else. Not a part of the frame that
    /// sleeps, of which there are thousands.
    #[inline(never)]
    fn attempt(&mut self, stop: &Stop, pulse: &Pulse) -> Result<Done, Trouble> {
        let cycle = &mut self.cycle;
        let clock = &*self.clock;
        let mut span = trace::root("sync");
        self.trace = span.ids();
        let result = catch_unwind(AssertUnwindSafe(|| cycle.run(clock, stop, pulse)))
            .unwrap_or_else(|_| {
                cycle.start_afresh();
                Err(Trouble::from(defect()))
            });
        if span.is_recorded() {
            cycle.tell(&mut span, &result, stop.is_stopped());
        }
        result
    }

    /// Reports a success and waits for the next refresh; `false`: it is over.
    fn succeeded(
        &mut self,
        done: Done,
        took: Duration,
        backoff: &mut Backoff,
        inbox: &Inbox,
        stop: &Stop,
        pulse: &Pulse,
    ) -> bool {
        backoff.reset();
        self.called = false;
        let now = self.clock.now();
        let next = match self.policy {
            Policy::Forever => self
                .pacing
                .after_success(done.ttl, &*self.clock)
                .map(|span| now + span),
            Policy::Once(_) => None,
        };
        let forever = matches!(self.policy, Policy::Forever);
        if self.cycle.has_old() {
            if !done.written.is_empty() || self.old_until.is_none() {
                self.old_until = Some(now + if forever { GRACE } else { SHORT_GRACE });
            }
            // Who has said its last word is not waited for.
            if !forever {
                self.sleep(self.old_until, None, inbox, stop);
                self.remove_old(pulse);
            }
        }
        self.tell(Report::Synced {
            version: done.version,
            written: done.written,
            unchanged: done.unchanged,
            took,
            next,
            reason: self.pacing.reason(done.ttl),
            expires: done.expires,
            warnings: done.warnings,
            preview: done.preview,
        });
        if let Some(over) = self.old_until {
            let until = next.map_or(over, |next| next.min(over));
            let go_on = self.sleep(Some(until), None, inbox, stop);
            // Told to fetch now, or due: what was replaced keeps its time.
            if go_on && self.clock.now() < over {
                return true;
            }
            self.remove_old(pulse);
            if !go_on {
                return false;
            }
        }
        forever && self.sleep(next, None, inbox, stop)
    }

    /// Takes away what a commit replaced: its readers have had their time.
    fn remove_old(&mut self, pulse: &Pulse) {
        self.old_until = None;
        pulse.waiting(self.clock.now() + self.budget);
        self.cycle.remove_old();
        pulse.idle();
    }

    /// Reports a failure and waits for the next try; `false`: it is over.
    fn failed(
        &mut self,
        trouble: Trouble,
        took: Duration,
        backoff: &mut Backoff,
        inbox: &Inbox,
        stop: &Stop,
    ) -> bool {
        let Trouble {
            failure,
            wake,
            back,
        } = trouble;
        let now = self.clock.now();
        let (next, reason) = if wake.is_some() {
            backoff.waited();
            (None, Reason::Woken)
        } else {
            let (wait, reason) = backoff.failed(failure.retry, &self.pacing, &*self.clock);
            (Some(now + wait), reason)
        };
        let (next, is_final) = match self.policy {
            Policy::Forever => (next, false),
            Policy::Once(_) if failure.retry == Retry::Settled => (None, true),
            Policy::Once(until) => (
                next.map(|next| next.min(until)),
                next.is_some_and(|next| next > until) || now >= until,
            ),
        };
        self.tell(Report::Failed {
            failure,
            attempt: backoff.failures(),
            took,
            next,
            reason,
            is_final,
        });
        if is_final {
            return false;
        }
        let next = next.or_else(|| wake.as_ref().map(|_| now + LONGEST_SLEEP));
        let back = back.filter(|_| !self.called);
        self.sleep(next, wake.or(back), inbox, stop)
    }

    /// Waits for the moment, a command or the store's call; `false` when told to stop.
    fn sleep(
        &mut self,
        until: Option<Tick>,
        wake: Option<Receiver<Infallible>>,
        inbox: &Inbox,
        stop: &Stop,
    ) -> bool {
        let woken = wake.unwrap_or_else(never);
        if until.is_none_or(|at| at.since(self.clock.now()) >= LONG_SLEEP)
            && let Some(stack) = self.stack
        {
            stack.release();
        }
        loop {
            let alarm = match (until, self.policy) {
                (Some(at), _) if self.clock.now() >= at => {
                    self.called = false;
                    return !stop.is_stopped();
                }
                (Some(at), Policy::Forever) => self.clock.far_alarm(at),
                // Nobody tells it that the machine was suspended.
                (Some(at), Policy::Once(_)) => self.clock.alarm(at),
                (None, _) => never(),
            };
            select! {
                recv(stop.receiver()) -> _ => return false,
                recv(inbox.bell) -> rung => {
                    if rung.is_err() {
                        return false;
                    }
                    if inbox.is_to_fetch.swap(false, Ordering::SeqCst) {
                        return true;
                    }
                }
                recv(woken) -> _ => {
                    self.called = true;
                    let splay = self.clock.jitter(self.splay, 0.0, 1.0);
                    return pause(&*self.clock, stop, self.clock.now() + splay);
                }
                recv(alarm) -> _ => {}
            }
        }
    }

    fn tell(&mut self, report: Report) {
        let before = std::mem::replace(&mut self.told, report.success());
        // One that was past its deadline was seen to be.
        let in_time = matches!(&report, Report::Synced { took, .. } if *took < self.budget);
        let as_before = before.is_some() && before == self.told;
        self.events.tell(Event {
            worker: self.id,
            at: self.clock.now(),
            is_calm: as_before && in_time && report.is_quiet(),
            report,
            trace: self.trace,
        });
    }
}

/// The failure of a secret whose worker panicked.
pub(super) fn defect() -> Failure {
    Failure::new(
        ErrorType::Panic,
        Retry::Backoff(None),
        "a defect in this program stopped the work on this secret",
    )
    .with_remedy(REPORT)
}

#[cfg(test)]
mod tests;
