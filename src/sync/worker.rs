//! One OS thread for one secret: fetch, render, commit, report; then wait for the next due time
//! or a command, whichever comes first. It shares nothing mutable but its store.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use super::cycle::{Cycle, Done, Trouble};
use super::event::{Event, Report};
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

/// What a worker can be told while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Fetch now.
    Refresh,
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
    /// The trace of the last cycle.
    pub(super) trace: Option<Ids>,
    /// Time and chance.
    pub(super) clock: Arc<dyn Clock>,
    /// Whom to tell.
    pub(super) events: Sender<Event>,
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
    commands: Sender<Command>,
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
        let _ = self.commands.try_send(Command::Refresh);
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
        let (commands, inbox) = bounded(1);
        let (alive, gone) = bounded::<Infallible>(0);
        let pulse = Arc::new(Pulse::default());
        let handle = WorkerHandle {
            id: self.id,
            pulse: Arc::clone(&pulse),
            commands,
            stop: stop_source,
            gone,
        };
        thread::Builder::new()
            .name(self.cycle.secret().name.clone())
            .stack_size(STACK)
            .spawn(move || {
                let ended = Event {
                    worker: self.id,
                    report: Report::Ended,
                    trace: None,
                };
                let events = self.events.clone();
                // A defect outside a cycle (those are caught there) still ends with a word.
                let _ = catch_unwind(AssertUnwindSafe(|| self.run(&inbox, &stop, &pulse)));
                drop(alive);
                let _ = events.send(ended);
            })?;
        Ok(handle)
    }

    fn run(mut self, inbox: &Receiver<Command>, stop: &Stop, pulse: &Pulse) {
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
        inbox: &Receiver<Command>,
        stop: &Stop,
        pulse: &Pulse,
    ) -> bool {
        backoff.reset();
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
        inbox: &Receiver<Command>,
        stop: &Stop,
    ) -> bool {
        let Trouble { failure, wake } = trouble;
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
        self.sleep(next, wake, inbox, stop)
    }

    /// Waits for the moment, a command or the store's call; `false` when told to stop.
    fn sleep(
        &self,
        until: Option<Tick>,
        wake: Option<Receiver<Infallible>>,
        inbox: &Receiver<Command>,
        stop: &Stop,
    ) -> bool {
        let woken = wake.unwrap_or_else(never);
        if until.is_none_or(|at| at.since(self.clock.now()) >= LONG_SLEEP)
            && let Some(stack) = self.stack
        {
            stack.release();
        }
        loop {
            let alarm = match until {
                Some(at) if self.clock.now() >= at => return !stop.is_stopped(),
                Some(at) => self.clock.alarm(at),
                None => never(),
            };
            select! {
                recv(stop.receiver()) -> _ => return false,
                recv(inbox) -> command => return command.is_ok(),
                recv(woken) -> _ => {
                    let splay = self.clock.jitter(self.splay, 0.0, 1.0);
                    return pause(&*self.clock, stop, self.clock.now() + splay);
                }
                recv(alarm) -> _ => {}
            }
        }
    }

    fn tell(&self, report: Report) {
        let _ = self.events.send(Event {
            worker: self.id,
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
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::plan::{Interval, KvVersion, Layout, Secret, SessionKey, Source};
    use crate::secret::Fields;
    use crate::store::{Fetched, Store, StoreError};
    use crossbeam_channel::unbounded;
    use std::sync::Mutex;

    type Answer = Box<dyn Fn() -> Result<Fetched, StoreError> + Send>;

    /// Gives one scripted answer after another; the last one for ever.
    struct Script(Mutex<Vec<Answer>>, Mutex<usize>);

    impl Store for Script {
        fn fetch(&self, _: &Source, _: &Stop) -> Result<Fetched, StoreError> {
            *self.1.lock().unwrap() += 1;
            let mut answers = self.0.lock().unwrap_or_else(|p| p.into_inner());
            let answer = if answers.len() > 1 {
                answers.remove(0)
            } else {
                let last = answers.pop().unwrap();
                let result = last();
                answers.push(last);
                return result;
            };
            drop(answers);
            answer()
        }
    }

    fn good() -> Answer {
        Box::new(|| {
            Ok(Fetched {
                fields: Fields::default(),
                version: Some(3),
                ttl: None,
                leased: false,
            })
        })
    }

    fn bad(error_type: ErrorType, retry: Retry) -> Answer {
        Box::new(move || Err(StoreError::new(error_type, retry, "no")))
    }

    struct Bench {
        clock: ManualClock,
        events: Receiver<Event>,
        handle: WorkerHandle,
        store: Arc<Script>,
    }

    fn bench(policy: impl Fn(Tick) -> Policy, answers: Vec<Answer>) -> Bench {
        bench_after(policy, answers, Vec::new())
    }

    fn bench_after(
        policy: impl Fn(Tick) -> Policy,
        answers: Vec<Answer>,
        after: Vec<Receiver<Infallible>>,
    ) -> Bench {
        let clock = ManualClock::new();
        clock.set_chance(1.0);
        let (sender, events) = unbounded();
        let store = Arc::new(Script(Mutex::new(answers), Mutex::new(0)));
        let secret = Arc::new(Secret {
            name: "a".into(),
            sources: vec![Source {
                alias: None,
                session: SessionKey {
                    store: "default".into(),
                    credentials: "default".into(),
                    namespace: String::new(),
                },
                namespace: String::new(),
                mount: "secret".into(),
                key: "a".into(),
                kv: KvVersion::V2,
                version: None,
                metadata: false,
            }],
            interval: Interval::Every(Duration::from_secs(100)),
            optional: false,
            layout: Layout::Files,
            outputs: Vec::new(),
            max_file_bytes: 1024,
        });
        let interval = secret.interval;
        let handle = Worker {
            id: 1,
            cycle: Cycle::new(
                secret,
                vec![Arc::clone(&store) as Arc<dyn Store>],
                Arc::default(),
                None,
            ),
            pacing: Pacing {
                interval,
                growth: crate::clock::Growth {
                    initial: Duration::from_secs(1),
                    max: Duration::from_secs(300),
                    multiplier: 2.0,
                },
            },
            policy: policy(clock.now()),
            budget: Duration::from_secs(60),
            splay: Duration::from_secs(1),
            after,
            old_until: None,
            trace: None,
            clock: Arc::new(clock.clone()),
            events: sender,
            stack: None,
        }
        .spawn()
        .unwrap();
        Bench {
            clock,
            events,
            handle,
            store,
        }
    }

    impl Bench {
        fn report(&self) -> Report {
            let event = self.events.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(event.worker, 1);
            event.report
        }

        /// The report, and how long after now the next try is.
        fn next(&self) -> (Report, Option<u64>) {
            let report = self.report();
            let next = match &report {
                Report::Synced { next, .. } | Report::Failed { next, .. } => *next,
                Report::Ended => None,
            };
            let now = self.clock.now();
            (report, next.map(|next| next.since(now).as_secs()))
        }

        fn pass(&self, secs: u64) {
            self.clock.wait_for_sleepers(1);
            self.clock.advance(Duration::from_secs(secs));
        }

        fn fetches(&self) -> usize {
            *self.store.1.lock().unwrap()
        }
    }

    fn forever(_: Tick) -> Policy {
        Policy::Forever
    }

    #[test]
    fn a_secret_is_fetched_again_at_its_interval_and_not_before() {
        let bench = bench(forever, vec![good()]);
        assert_eq!(bench.next().1, Some(100));
        bench.pass(99);
        bench.pass(1);
        assert!(matches!(bench.report(), Report::Synced { .. }));
        assert_eq!(bench.fetches(), 2);
    }

    #[test]
    fn a_lease_is_replaced_before_its_end_and_a_hint_is_followed() {
        let for_50 = |leased| -> Answer {
            Box::new(move || {
                Ok(Fetched {
                    fields: Fields::default(),
                    version: None,
                    ttl: Some(Duration::from_secs(50)),
                    leased,
                })
            })
        };
        let bench = bench(forever, vec![for_50(true), for_50(false)]);
        assert_eq!(bench.next().1, Some(45));
        bench.pass(45);
        assert_eq!(bench.next().1, Some(50));
    }

    #[test]
    fn a_retryable_failure_is_tried_again_with_growing_waits_until_it_is_over() {
        let failing = || bad(ErrorType::Unavailable, Retry::Backoff(None));
        let bench = bench(
            forever,
            vec![failing(), failing(), failing(), good(), failing()],
        );
        for wait in [1, 2, 4] {
            assert_eq!(bench.next().1, Some(wait));
            bench.pass(wait);
        }
        assert_eq!(bench.next().1, Some(100));
        bench.pass(100);
        let (report, wait) = bench.next();
        assert!(matches!(report, Report::Failed { attempt: 1, .. }));
        assert_eq!(wait, Some(1));
    }

    #[test]
    fn a_permanent_failure_settles() {
        let bench = bench(
            forever,
            vec![good(), bad(ErrorType::Denied, Retry::Settled)],
        );
        bench.report();
        bench.pass(100);
        assert_eq!(bench.next().1, Some(100));
    }

    #[test]
    fn a_panic_is_a_failure_of_this_secret_that_passes() {
        let bench = bench(forever, vec![Box::new(|| panic!("boom")), good()]);
        let (report, wait) = bench.next();
        let Report::Failed { failure, .. } = report else {
            panic!("{report:?}")
        };
        assert_eq!(failure.error_type, ErrorType::Panic);
        assert_eq!(wait, Some(1));
        bench.pass(1);
        assert!(matches!(bench.report(), Report::Synced { .. }));
    }

    #[test]
    fn a_command_comes_before_the_time() {
        let bench = bench(forever, vec![good()]);
        bench.report();
        bench.handle.refresh();
        assert!(matches!(bench.report(), Report::Synced { .. }));
    }

    #[test]
    fn the_call_of_its_store_wakes_it_within_the_splay() {
        let (back, wake) = bounded::<Infallible>(0);
        let away = Box::new(move || {
            let mut error = StoreError::new(ErrorType::Unavailable, Retry::Backoff(None), "open");
            error.wake = Some(wake.clone());
            Err(error)
        });
        let bench = bench(forever, vec![away, good()]);
        let (report, wait) = bench.next();
        assert!(matches!(
            report,
            Report::Failed {
                reason: Reason::Woken,
                ..
            }
        ));
        assert_eq!(wait, None, "it waits for the store, not for a time");
        drop(back);
        bench.clock.wait_for_sleepers(2);
        bench.clock.advance(Duration::from_secs(1));
        assert!(matches!(bench.report(), Report::Synced { .. }));
    }

    #[test]
    fn one_that_waits_too_long_for_its_predecessor_is_late() {
        let (before, gone) = bounded::<Infallible>(0);
        let bench = bench_after(forever, vec![good()], vec![gone]);
        let late = |secs| {
            let at = bench.clock.now() + Duration::from_secs(secs);
            bench.handle.pulse.is_late(at)
        };
        while !late(61) {
            thread::yield_now();
        }
        assert!(!late(59));
        drop(before);
        assert!(matches!(bench.report(), Report::Synced { .. }));
        assert!(!late(61), "now it rests");
    }

    #[test]
    fn a_stop_ends_it_at_once_and_its_end_is_told() {
        let mut bench = bench(forever, vec![good()]);
        bench.report();
        let gone = bench.handle.gone();
        bench.handle.stop();
        assert!(matches!(bench.report(), Report::Ended));
        assert!(gone.recv_timeout(Duration::from_secs(20)).is_err());
    }

    #[test]
    fn once_ends_with_success_or_with_what_is_final() {
        let until = |now| Policy::Once(now + Duration::from_secs(60));
        let ok = bench(until, vec![good()]);
        assert!(matches!(ok.report(), Report::Synced { next: None, .. }));
        assert!(matches!(ok.report(), Report::Ended));
        let denied = bench(until, vec![bad(ErrorType::Denied, Retry::Settled)]);
        assert!(matches!(
            denied.report(),
            Report::Failed { is_final: true, .. }
        ));
        assert!(matches!(denied.report(), Report::Ended));
        assert_eq!(denied.fetches(), 1);
    }

    #[test]
    fn once_tries_what_may_pass_until_its_time_is_over() {
        let away = bad(ErrorType::Unavailable, Retry::Backoff(None));
        let bench = bench(|now| Policy::Once(now + Duration::from_secs(2)), vec![away]);
        let (report, wait) = bench.next();
        assert!(matches!(
            report,
            Report::Failed {
                is_final: false,
                ..
            }
        ));
        assert_eq!(wait, Some(1));
        bench.pass(1);
        let (report, _) = bench.next();
        assert!(
            matches!(report, Report::Failed { is_final: true, .. }),
            "the next try would be too late"
        );
    }
}
