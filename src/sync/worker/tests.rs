use super::super::event::Mailbox;
use super::*;
use crate::clock::ManualClock;
use crate::plan::{Interval, KvVersion, Layout, Secret, SessionKey, Source};
use crate::secret::Fields;
use crate::store::{Fetched, Store, StoreError};
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
    mailbox: Mailbox,
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
    let (post, mailbox) = Mailbox::new();
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
        called: false,
        trace: None,
        clock: Arc::new(clock.clone()),
        events: post,
        told: None,
        stack: None,
    }
    .spawn()
    .unwrap();
    Bench {
        clock,
        mailbox,
        handle,
        store,
    }
}

impl Bench {
    fn report(&self) -> Report {
        let event = self.mailbox.next();
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
fn a_machine_that_was_suspended_makes_no_refresh_late_once_the_worker_is_told_to_look() {
    let bench = bench(forever, vec![good()]);
    bench.report();
    bench.clock.wait_for_sleepers(1);
    bench.clock.suspend(Duration::from_secs(99));
    bench.handle.look();
    bench.handle.look();
    // The alarm that it set before, and the one for what is left.
    bench.clock.wait_for_sleepers(2);
    assert_eq!(bench.fetches(), 1, "it is not due yet");
    bench.clock.suspend(Duration::from_secs(1));
    bench.handle.look();
    assert!(matches!(bench.report(), Report::Synced { .. }));
    assert_eq!(bench.fetches(), 2);
}

#[test]
fn only_a_success_that_finds_all_as_it_was_is_calm() {
    let of_version = |version| -> Answer {
        Box::new(move || {
            Ok(Fetched {
                fields: Fields::default(),
                version: Some(version),
                ttl: None,
                leased: false,
            })
        })
    };
    let failing = bad(ErrorType::Unavailable, Retry::Backoff(None));
    let answers = vec![
        of_version(3),
        of_version(3),
        of_version(4),
        of_version(4),
        failing,
        of_version(4),
        of_version(4),
    ];
    let bench = bench(forever, answers);
    let mut calm = Vec::new();
    for _ in 0..7 {
        let before = bench.clock.now();
        let event = bench.mailbox.next();
        assert_eq!(event.at, before);
        calm.push(event.is_calm);
        bench.pass(100);
    }
    assert_eq!(calm, [false, true, false, true, false, false, true]);
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
fn one_that_backs_off_by_itself_is_woken_when_its_store_is_back() {
    let (store, back) = bounded::<Infallible>(0);
    let away = Box::new(move || {
        let mut error = StoreError::new(ErrorType::Unavailable, Retry::Backoff(None), "refused");
        error.back = Some(back.clone());
        Err(error)
    });
    let answers: Vec<Answer> = vec![away.clone(), away.clone(), away.clone(), away, good()];
    let bench = bench(forever, answers);
    for wait in [1, 2] {
        assert_eq!(bench.next().1, Some(wait));
        bench.pass(wait);
    }
    let (report, wait) = bench.next();
    assert!(matches!(
        report,
        Report::Failed {
            reason: Reason::Backoff,
            ..
        }
    ));
    assert_eq!(wait, Some(4));
    drop(store);
    bench.clock.wait_for_sleepers(2);
    bench.clock.advance(Duration::from_secs(1));
    // It fails still, and is not called again before its own time has come once.
    assert_eq!(bench.next().1, Some(8));
    bench.pass(8);
    assert!(matches!(bench.report(), Report::Synced { .. }));
    assert_eq!(bench.fetches(), 5);
}

#[test]
fn one_that_waits_too_long_for_its_predecessor_is_late() {
    let (before, gone) = bounded::<Infallible>(0);
    let bench = bench_after(forever, vec![good()], vec![gone]);
    let late = |secs| {
        let at = bench.clock.now() + Duration::from_secs(secs);
        let deadline = bench.handle.pulse.deadline();
        deadline.is_some_and(|deadline| at > deadline)
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
