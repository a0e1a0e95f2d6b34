mod probes;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, TryRecvError, unbounded};

use super::*;
use crate::clock::{Clock, ManualClock, Stop};

const SETTINGS: Settings = Settings {
    max_requests: 3,
    interval: Duration::from_secs(60),
    timeout: Duration::from_secs(30),
};

/// As with a server that is sealed, that is well, and with a proxy's page.
const BAD: Found = Found::Answer(503);
const GOOD: Found = Found::Answer(200);
const SILENT: Found = Found::Answer(404);
const FAILED: Outcome = Outcome::Failed(BAD);

fn at(seconds: f64) -> Tick {
    Tick::from_start(Duration::from_secs_f64(seconds))
}

/// A breaker, with chances that do not jitter.
struct Rig {
    breaker: Breaker,
    now: f64,
}

impl Rig {
    fn new() -> Self {
        Self::with(SETTINGS)
    }

    fn with(settings: Settings) -> Self {
        Self {
            breaker: Breaker::new(settings),
            now: 100.0,
        }
    }

    fn admit(&mut self, who: u64) -> Option<Ticket> {
        self.breaker.admit(at(self.now), who, true)
    }

    fn record(&mut self, ticket: &Ticket, outcome: Outcome) -> Option<BreakerState> {
        self.breaker
            .record(at(self.now), ticket, outcome, 0.5)
            .map(|change| change.state)
    }

    /// Requests that pass and end so.
    fn ends(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let ticket = self.admit(1).expect("closed");
            assert_eq!(self.record(&ticket, *outcome), None);
        }
    }

    fn poll(&mut self) -> Option<Duty> {
        self.breaker.poll(at(self.now), 0.5)
    }

    fn health(&mut self, found: Found) -> Option<BreakerState> {
        self.breaker
            .health(at(self.now), found, "status 503", 0.5)
            .map(|change| change.state)
    }

    /// Open, with that answer to the health question.
    fn open(found: Found) -> Self {
        let mut rig = Self::new();
        rig.ends(&[FAILED; 3]);
        assert_eq!(rig.poll(), Some(Duty::AskHealth));
        assert_eq!(rig.health(found), Some(BreakerState::Open));
        rig
    }

    /// Goes to the next thing due, gives the time since, and what it is.
    fn next(&mut self) -> (f64, Duty) {
        let due = self.breaker.due().expect("something due");
        let due = due.since_start().as_secs_f64().max(self.now);
        let waited = due - self.now;
        self.now = due;
        ((waited * 100.0).round() / 100.0, self.poll().expect("due"))
    }
}

use Outcome::{Neutral, Success};

#[test]
fn two_failures_are_too_few() {
    let mut rig = Rig::new();
    rig.ends(&[FAILED, FAILED]);
    assert_eq!(rig.poll(), None);
    rig.ends(&[FAILED]);
    assert_eq!(rig.poll(), Some(Duty::AskHealth));
}

#[test]
fn sixty_per_cent_of_the_last_ten_ask_and_less_does_not() {
    let mut rig = Rig::new();
    rig.ends(&[
        FAILED, FAILED, Success, Success, Success, FAILED, Success, FAILED,
    ]);
    rig.ends(&[Success, FAILED]);
    assert_eq!(rig.poll(), None, "5 of 10");
    rig.ends(&[FAILED]);
    assert_eq!(rig.poll(), None, "5 of the last 10");
    rig.ends(&[FAILED]);
    assert_eq!(rig.poll(), None, "5 of the last 10");
    rig.ends(&[FAILED]);
    assert_eq!(rig.poll(), Some(Duty::AskHealth), "6 of the last 10");
}

#[test]
fn a_thousand_earlier_successes_do_not_hide_an_outage() {
    let mut rig = Rig::new();
    rig.ends(&[Success; 1000]);
    rig.ends(&[FAILED; 5]);
    assert_eq!(rig.poll(), None);
    rig.ends(&[FAILED]);
    assert_eq!(rig.poll(), Some(Duty::AskHealth));
}

#[test]
fn what_ended_before_the_interval_is_forgotten() {
    let mut rig = Rig::new();
    rig.ends(&[FAILED, FAILED]);
    rig.now += 60.1;
    rig.ends(&[FAILED]);
    assert_eq!(rig.poll(), None, "the only one of its minute");
    rig.ends(&[FAILED, FAILED]);
    assert_eq!(rig.poll(), Some(Duty::AskHealth));
}

#[test]
fn throttling_and_permanent_errors_never_count() {
    let mut rig = Rig::new();
    rig.ends(&[Neutral; 50]);
    assert_eq!(rig.poll(), None);
    rig.ends(&[FAILED, Neutral, FAILED, Neutral]);
    assert_eq!(rig.poll(), None, "two failures are two, and not of four");
    rig.ends(&[Neutral, FAILED]);
    assert_eq!(rig.poll(), Some(Duty::AskHealth), "three of three");
}

#[test]
fn it_does_not_open_before_the_health_answer_and_asks_once() {
    let mut rig = Rig::new();
    rig.ends(&[FAILED; 3]);
    assert_eq!(rig.poll(), Some(Duty::AskHealth));
    rig.ends(&[FAILED; 20]);
    assert_eq!(rig.breaker.state(), BreakerState::Closed);
    assert_eq!(rig.poll(), None);
}

#[test]
fn a_good_answer_keeps_it_closed_and_forgets_the_failures() {
    let mut rig = Rig::new();
    rig.ends(&[FAILED; 3]);
    rig.poll();
    assert_eq!(rig.health(GOOD), None);
    assert_eq!(rig.breaker.state(), BreakerState::Closed);
    rig.ends(&[FAILED; 2]);
    assert_eq!(rig.poll(), None);
    rig.ends(&[FAILED]);
    assert_eq!(rig.poll(), Some(Duty::AskHealth), "the next question");
}

#[test]
fn a_bad_answer_opens_it_and_says_why() {
    let mut rig = Rig::new();
    rig.ends(&[Success, FAILED, FAILED, FAILED]);
    rig.poll();
    let change = rig
        .breaker
        .health(at(rig.now), BAD, "status 503", 0.5)
        .unwrap();
    assert_eq!(change.state, BreakerState::Open);
    assert_eq!(
        change.reason,
        "3 of the last 4 requests failed, and the health check: status 503"
    );
    assert_eq!(rig.admit(1), None);
}

#[test]
fn health_answers_mean_what_the_contract_says() {
    for status in [200, 429, 472, 473] {
        assert_eq!(Health::of(Found::Answer(status)), Health::Good, "{status}");
    }
    for status in [500, 501, 502, 503, 504, 599] {
        assert_eq!(Health::of(Found::Answer(status)), Health::Bad, "{status}");
    }
    for status in [204, 301, 400, 401, 403, 404, 418, 499] {
        assert_eq!(
            Health::of(Found::Answer(status)),
            Health::Silent,
            "{status}"
        );
    }
}

#[test]
fn a_good_probe_makes_it_half_open_and_max_requests_pass() {
    let mut rig = Rig::open(BAD);
    rig.next();
    assert_eq!(rig.health(GOOD), Some(BreakerState::HalfOpen));
    let passed: Vec<_> = (0..10).filter_map(|who| rig.admit(who)).collect();
    assert_eq!(passed.len(), 3);
}

#[test]
fn the_first_success_in_half_open_closes() {
    let mut rig = Rig::open(BAD);
    rig.next();
    rig.health(GOOD);
    let (first, second) = (rig.admit(1).unwrap(), rig.admit(2).unwrap());
    assert_eq!(rig.record(&first, FAILED), None, "one secret's own trouble");
    assert_eq!(rig.record(&second, Success), Some(BreakerState::Closed));
    rig.ends(&[FAILED, FAILED]);
    assert_eq!(rig.poll(), None, "it starts from nothing");
}

#[test]
fn a_permanent_error_in_half_open_closes_for_the_store_answered() {
    let mut rig = Rig::open(BAD);
    rig.next();
    rig.health(GOOD);
    let ticket = rig.admit(1).unwrap();
    assert_eq!(rig.record(&ticket, Neutral), Some(BreakerState::Closed));
}

#[test]
fn it_opens_again_when_all_that_half_open_admitted_failed() {
    let mut rig = Rig::open(BAD);
    rig.next();
    // That it is well is new, and begins anew; that it is so again is not.
    for wait in [1.0, 2.0, 4.0, 8.0, 8.0] {
        assert_eq!(rig.health(GOOD), Some(BreakerState::HalfOpen));
        for who in 1..=3 {
            let ticket = rig.admit(who).unwrap();
            let change = rig.record(&ticket, FAILED);
            assert_eq!(change, (who == 3).then_some(BreakerState::Open));
        }
        assert_eq!(rig.next(), (wait, Duty::AskHealth));
    }
}

#[test]
fn a_request_that_hangs_in_half_open_does_not_keep_the_others_waiting() {
    let mut rig = Rig::open(BAD);
    rig.next();
    rig.health(GOOD);
    let _hanging: Vec<_> = (0..3).map(|who| rig.admit(who).unwrap()).collect();
    assert_eq!(rig.admit(9), None);
    assert_eq!(rig.next(), (5.0, Duty::WakeAll));
    assert!(rig.admit(9).is_some());
}

#[test]
fn a_place_that_was_not_used_is_free_again() {
    let mut rig = Rig::open(BAD);
    rig.next();
    rig.health(GOOD);
    let tickets: Vec<_> = (0..3).map(|who| rig.admit(who).unwrap()).collect();
    rig.breaker.abandon(&tickets[0]);
    assert!(rig.admit(9).is_some());
    assert_eq!(rig.admit(9), None);
}

#[test]
fn an_answer_that_says_nothing_opens_and_lets_requests_decide() {
    let mut rig = Rig::open(SILENT);
    assert_eq!(rig.admit(1), None, "not before the probe is due");
    assert_eq!(rig.next(), (1.0, Duty::WakeOne));
    let ticket = rig.admit(1).unwrap();
    assert_eq!(rig.admit(2), None, "one at a time");
    assert_eq!(rig.record(&ticket, FAILED), None);
    assert_eq!(rig.admit(2), None, "the next probe is not due");
    assert_eq!(rig.next(), (2.0, Duty::WakeOne));
    let ticket = rig.admit(2).unwrap();
    assert_eq!(rig.record(&ticket, Success), Some(BreakerState::Closed));
}

#[test]
fn a_silent_probe_is_made_by_a_request_at_once() {
    let mut rig = Rig::open(BAD);
    assert_eq!(rig.next(), (1.0, Duty::AskHealth));
    assert_eq!(rig.health(SILENT), None);
    assert_eq!(rig.next(), (0.0, Duty::WakeOne));
    let ticket = rig.admit(1).unwrap();
    rig.record(&ticket, FAILED);
    assert_eq!(rig.next(), (2.0, Duty::WakeOne));
}

#[test]
fn the_probe_is_never_the_same_one_twice_while_others_wait() {
    let mut rig = Rig::open(SILENT);
    rig.next();
    let ticket = rig.admit(1).unwrap();
    rig.record(&ticket, FAILED);
    rig.next();
    assert_eq!(rig.admit(1), None);
    assert!(rig.admit(2).is_some());
    rig.next();
    assert!(rig.breaker.admit(at(rig.now), 2, false).is_some(), "alone");
}

#[test]
fn an_offer_that_nobody_takes_goes_to_the_next_after_two_seconds() {
    let mut rig = Rig::open(SILENT);
    for wait in [1.0, 2.0, 2.0, 2.0, 2.0, 2.0] {
        assert_eq!(rig.next(), (wait, Duty::WakeOne));
    }
}

#[test]
fn late_outcomes_of_another_state_have_no_say() {
    let mut rig = Rig::new();
    let late: Vec<_> = (0..4).map(|who| rig.admit(who).unwrap()).collect();
    rig.ends(&[FAILED; 3]);
    rig.poll();
    rig.health(BAD);
    assert_eq!(rig.record(&late[0], Success), None);
    assert_eq!(rig.breaker.state(), BreakerState::Open);
    rig.next();
    rig.health(GOOD);
    for ticket in &late {
        assert_eq!(rig.record(ticket, FAILED), None);
    }
    assert_eq!(rig.breaker.state(), BreakerState::HalfOpen);
}

/// A gate whose health question is answered by the test, on a clock that stands still.
struct GateRig {
    clock: ManualClock,
    gate: Gate,
    changes: Arc<Mutex<Vec<BreakerState>>>,
    answers: crossbeam_channel::Sender<Found>,
    asked: Receiver<()>,
    stop: Option<crate::clock::StopSource>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl GateRig {
    fn new() -> Self {
        let clock = ManualClock::new();
        clock.set_chance(0.5);
        let changes = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&changes);
        let gate = Gate::new(
            SETTINGS,
            Arc::new(clock.clone()),
            Box::new(move |state, _| told.lock().unwrap().push(state)),
        );
        let (answers, to_give) = unbounded();
        let (ask, asked) = unbounded();
        let (source, stop) = Stop::new();
        let serving = gate.clone();
        let thread = std::thread::spawn(move || {
            serving.serve(&stop, || {
                ask.send(()).unwrap();
                (to_give.recv().unwrap(), "status 503".to_owned())
            });
        });
        Self {
            clock,
            gate,
            changes,
            answers,
            asked,
            stop: Some(source),
            thread: Some(thread),
        }
    }

    fn fail(&self, count: usize) {
        for _ in 0..count {
            self.gate.admit(0).unwrap().record(FAILED);
        }
    }

    /// Waits for the question and answers it.
    fn answer(&self, found: Found) {
        self.asked.recv().unwrap();
        self.answers.send(found).unwrap();
    }

    fn wait_for(&self, state: BreakerState) {
        while self.gate.state() != state {
            std::thread::yield_now();
        }
    }

    fn open(&self) {
        self.fail(3);
        self.answer(BAD);
        self.wait_for(BreakerState::Open);
        self.clock.wait_for_sleepers(1);
    }
}

impl Drop for GateRig {
    fn drop(&mut self) {
        self.stop = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

fn waits(receiver: &Receiver<Infallible>) -> bool {
    receiver.try_recv() == Err(TryRecvError::Empty)
}

#[test]
fn everybody_who_waits_is_woken_by_one_good_probe() {
    let rig = GateRig::new();
    rig.open();
    let waiters: Vec<_> = (0..100)
        .map(|who| rig.gate.admit(who).unwrap_err())
        .collect();
    assert!(waiters.iter().all(waits));
    rig.clock.advance(Duration::from_secs(1));
    rig.answer(GOOD);
    rig.wait_for(BreakerState::HalfOpen);
    for waiter in &waiters {
        assert!(waiter.recv().is_err());
    }
    let passes: Vec<_> = (0..100).map(|who| rig.gate.admit(who)).collect();
    let (passed, waiting): (Vec<_>, Vec<_>) = passes.into_iter().partition(Result::is_ok);
    assert_eq!((passed.len(), waiting.len()), (3, 97));
    passed.into_iter().next().unwrap().unwrap().record(Success);
    for waiter in waiting {
        assert!(waiter.unwrap_err().recv().is_err());
    }
    assert!(rig.gate.admit(1).is_ok());
    assert_eq!(
        *rig.changes.lock().unwrap(),
        [
            BreakerState::Open,
            BreakerState::HalfOpen,
            BreakerState::Closed
        ]
    );
    assert!(rig.asked.is_empty(), "one question and one probe, for all");
}

#[test]
fn who_backs_off_by_itself_is_told_when_the_breaker_closes_and_not_before() {
    let rig = GateRig::new();
    let back = rig.gate.back();
    rig.open();
    assert!(waits(&back));
    rig.clock.advance(Duration::from_secs(1));
    rig.answer(GOOD);
    rig.wait_for(BreakerState::HalfOpen);
    assert!(waits(&back));
    rig.gate.admit(1).unwrap().record(Success);
    assert!(back.recv().is_err());
    assert!(waits(&rig.gate.back()), "the next time");
}

#[test]
fn by_requests_one_is_woken_at_a_time_in_their_order() {
    let rig = GateRig::new();
    rig.fail(3);
    rig.answer(SILENT);
    rig.wait_for(BreakerState::Open);
    rig.clock.wait_for_sleepers(1);
    let first = rig.gate.admit(1).unwrap_err();
    let second = rig.gate.admit(2).unwrap_err();
    rig.clock.advance(Duration::from_secs(1));
    assert!(first.recv().is_err());
    assert!(waits(&second));
    rig.gate.admit(1).unwrap().record(FAILED);
    let first = rig.gate.admit(1).unwrap_err();
    rig.clock.wait_for_sleepers(1);
    rig.clock.advance(Duration::from_secs(2));
    assert!(second.recv().is_err());
    assert!(waits(&first));
    rig.gate.admit(2).unwrap().record(Success);
    assert!(first.recv().is_err());
    assert_eq!(rig.gate.state(), BreakerState::Closed);
    assert!(rig.asked.is_empty());
}

#[test]
fn who_asks_twice_waits_once() {
    let rig = GateRig::new();
    rig.fail(3);
    rig.answer(SILENT);
    rig.wait_for(BreakerState::Open);
    rig.clock.wait_for_sleepers(1);
    let mine = [1, 1].map(|who| rig.gate.admit(who).unwrap_err());
    let other = rig.gate.admit(2).unwrap_err();
    rig.clock.advance(Duration::from_secs(1));
    assert!(mine.iter().all(|waiter| waiter.recv().is_err()));
    assert!(waits(&other));
}

#[test]
fn a_pass_that_is_dropped_gives_its_place_to_those_who_wait() {
    let rig = GateRig::new();
    rig.open();
    rig.clock.advance(Duration::from_secs(1));
    rig.answer(GOOD);
    rig.wait_for(BreakerState::HalfOpen);
    let passes: Vec<_> = (0..3).map(|who| rig.gate.admit(who).unwrap()).collect();
    let waiting = rig.gate.admit(9).unwrap_err();
    assert!(waits(&waiting));
    drop(passes);
    assert!(waiting.recv().is_err());
    assert!(rig.gate.admit(9).is_ok());
}

#[test]
fn a_health_question_that_panics_is_a_bad_answer() {
    let clock = ManualClock::new();
    let gate = Gate::new(SETTINGS, Arc::new(clock.clone()), Box::new(|_, _| {}));
    let (source, stop) = Stop::new();
    let serving = gate.clone();
    let thread = std::thread::spawn(move || serving.serve(&stop, || panic!("a defect")));
    for _ in 0..3 {
        gate.admit(0).unwrap().record(FAILED);
    }
    while gate.state() != BreakerState::Open {
        std::thread::yield_now();
    }
    drop(source);
    thread.join().unwrap();
    assert!(clock.now() > Tick::default());
}

#[test]
fn another_cause_of_an_outage_wakes_who_waits_to_tell_it_and_lets_nobody_pass() {
    let clock = ManualClock::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let on_change = move |state, why: &str| heard.lock().unwrap().push((state, why.to_owned()));
    let gate = Gate::new(SETTINGS, Arc::new(clock.clone()), Box::new(on_change));
    let (answers, to_give) = unbounded();
    let (source, stop) = Stop::new();
    let serving = gate.clone();
    let thread = std::thread::spawn(move || {
        serving.serve(&stop, || {
            let why: &str = to_give.recv().unwrap();
            (Found::NoAnswer, why.to_owned())
        });
    });
    for _ in 0..3 {
        gate.admit(0).unwrap().record(FAILED);
    }
    let answer = |why: &'static str| {
        answers.send(why).unwrap();
        clock.wait_for_sleepers(1);
    };
    answer("connection refused");
    let first = gate.admit(1).unwrap_err();
    // The same again changes nothing, however often.
    clock.advance(Duration::from_secs(2));
    answer("connection refused");
    assert!(waits(&first));
    clock.advance(Duration::from_secs(3));
    answer("it is sealed");
    assert!(first.recv().is_err());
    let again = gate.admit(1).unwrap_err();
    assert!(waits(&again));
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].1.ends_with("connection refused"), "{told:?}");
    assert_eq!(told[1], (BreakerState::Open, "it is sealed".to_owned()));
    drop(source);
    thread.join().unwrap();
}
