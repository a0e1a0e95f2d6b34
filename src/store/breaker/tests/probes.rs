//! When probes are made.

use proptest::prelude::*;

use super::*;
use Found::{Answer, NoAnswer, Nobody, TimedOut};

/// The waits before as many probes, each of which finds that, and before one more.
fn waits_of(opened_by: Found, probes: &[Found]) -> Vec<f64> {
    let mut rig = Rig::open(opened_by);
    let mut waits = Vec::new();
    for found in probes {
        let (wait, duty) = rig.next();
        assert_eq!(duty, Duty::AskHealth);
        assert_eq!(rig.poll(), None, "one probe at a time");
        assert_eq!(rig.health(*found), None);
        waits.push(wait);
    }
    waits.push(rig.next().0);
    waits
}

#[test]
fn a_probe_that_took_long_does_not_shift_the_next() {
    let mut rig = Rig::open(BAD);
    rig.next();
    rig.next();
    rig.now += 5.0;
    rig.health(BAD);
    assert_eq!(rig.next().0, 0.0, "4 s after the last began");
    rig.now += 5.0;
    rig.health(BAD);
    assert_eq!(rig.next().0, 3.0);
}

#[test]
fn probes_jitter_by_a_quarter_and_keep_the_timeout() {
    for (chance, first) in [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)] {
        let mut breaker = Breaker::new(SETTINGS);
        breaker.open(at(0.0), By::Health, String::new(), chance);
        assert_eq!(breaker.due(), Some(at(first)));
    }
    let mut rig = Rig::with(Settings {
        timeout: Duration::from_secs(3),
        ..SETTINGS
    });
    rig.ends(&[FAILED; 3]);
    rig.poll();
    rig.health(BAD);
    let waits: Vec<f64> = (0..5).map(|_| rig.next().0).collect();
    assert_eq!(waits, [1.0, 2.0, 3.0, 3.0, 3.0]);
}

#[test]
fn after_it_was_closed_the_probes_start_at_one_second_again() {
    let mut rig = Rig::open(BAD);
    for _ in 0..6 {
        rig.next();
    }
    rig.health(GOOD);
    let ticket = rig.admit(1).unwrap();
    rig.record(&ticket, Success);
    rig.ends(&[FAILED; 3]);
    rig.poll();
    rig.health(BAD);
    assert_eq!(rig.next().0, 1.0);
}

#[test]
fn who_answers_or_does_not_is_asked_after_1_2_4_and_then_every_8_seconds() {
    for found in [BAD, Answer(500), TimedOut, NoAnswer] {
        let waits = waits_of(found, &[found; 6]);
        assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0], "{found:?}");
    }
}

#[test]
fn where_nobody_listens_it_is_looked_after_one_second_and_then_every_two() {
    let waits = waits_of(Nobody, &[Nobody; 6]);
    assert_eq!(waits, [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
}

#[test]
fn a_server_that_was_started_is_asked_anew_from_one_second_on() {
    for first in [BAD, NoAnswer] {
        let probes = [Nobody, Nobody, Nobody, first, first, first, first];
        let waits = waits_of(Nobody, &probes);
        assert_eq!(waits, [1.0, 2.0, 2.0, 2.0, 1.0, 2.0, 4.0, 8.0], "{first:?}");
    }
    // It is started, sealed, unsealed and without a leader: each is a step towards its return.
    let probes = [Nobody, Nobody, BAD, BAD, Answer(500), Answer(500)];
    let waits = waits_of(Nobody, &probes);
    assert_eq!(waits, [1.0, 2.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
}

#[test]
fn a_server_that_is_stopped_is_looked_for_anew() {
    let waits = waits_of(BAD, &[BAD, BAD, BAD, Nobody, Nobody, Nobody]);
    assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 1.0, 2.0, 2.0]);
    let waits = waits_of(TimedOut, &[TimedOut, TimedOut, Nobody, Nobody, Nobody]);
    assert_eq!(waits, [1.0, 2.0, 4.0, 1.0, 2.0, 2.0]);
}

/// As of a server that a whole fleet asks as soon as it listens.
#[test]
fn a_server_that_listens_but_does_not_answer_in_time_is_not_hurried() {
    let probes = [Nobody, Nobody, Nobody, TimedOut, TimedOut];
    assert_eq!(waits_of(Nobody, &probes), [1.0, 2.0, 2.0, 2.0, 8.0, 8.0]);
    let probes = [BAD, BAD, TimedOut, BAD, BAD];
    assert_eq!(waits_of(BAD, &probes), [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
}

#[test]
fn answers_that_come_by_turns_begin_anew_once_each() {
    let other = Answer(502);
    let probes = [other, BAD, other, BAD, other, NoAnswer, BAD, other];
    let waits = waits_of(BAD, &probes);
    assert_eq!(waits, [1.0, 1.0, 2.0, 4.0, 8.0, 8.0, 1.0, 2.0, 4.0]);
}

#[test]
fn a_server_that_comes_and_goes_is_asked_no_more_than_once_a_second_and_not_so_for_ever() {
    let probes = [BAD, Nobody].repeat(7);
    let waits = waits_of(Nobody, &probes);
    assert_eq!(waits[..9], [1.0; 9]);
    assert_eq!(waits[9..], [2.0, 2.0, 8.0, 2.0, 8.0, 2.0]);
}

#[test]
fn requests_that_probe_follow_the_same_rule() {
    let mut rig = Rig::open(SILENT);
    let finds = [Nobody, Nobody, Nobody, BAD, BAD, BAD, BAD];
    let mut waits = Vec::new();
    for (who, found) in (0..).zip(finds) {
        let (wait, duty) = rig.next();
        assert_eq!(duty, Duty::WakeOne);
        let ticket = rig.admit(who).unwrap();
        assert_eq!(rig.record(&ticket, Outcome::Failed(found)), None);
        waits.push(wait);
    }
    assert_eq!(waits, [1.0, 2.0, 2.0, 2.0, 1.0, 2.0, 4.0]);
    assert_eq!(rig.next().0, 8.0);
}

#[test]
fn a_request_that_hangs_where_nobody_was_is_not_followed_as_if_nobody_was() {
    let mut rig = Rig::open(SILENT);
    for who in 0..4 {
        rig.next();
        let ticket = rig.admit(who).unwrap();
        rig.record(&ticket, Outcome::Failed(Nobody));
    }
    assert_eq!(rig.next(), (2.0, Duty::WakeOne));
    let hanging = rig.admit(4).unwrap();
    assert_eq!(rig.next(), (8.0, Duty::WakeOne));
    rig.admit(5).unwrap();
    rig.now += 1.0;
    assert_eq!(rig.record(&hanging, Outcome::Failed(TimedOut)), None);
    assert_eq!(rig.next(), (7.0, Duty::WakeOne));
}

#[test]
fn a_probe_by_request_that_comes_late_keeps_its_distance_from_the_next() {
    let mut rig = Rig::open(SILENT);
    rig.next();
    rig.now += 0.9;
    let ticket = rig.admit(1).unwrap();
    rig.now += 0.05;
    rig.record(&ticket, FAILED);
    assert_eq!(rig.next(), (1.95, Duty::WakeOne));
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        Just(Nobody),
        Just(NoAnswer),
        Just(TimedOut),
        (500..600_u16).prop_map(Answer),
        prop::sample::select(vec![200, 429, 472, 473]).prop_map(Answer),
    ]
}

/// One probe: what it finds, how long it takes, and the chance of the wait after it.
type Probe = (Found, f64, f64);

fn probes() -> impl Strategy<Value = Vec<Probe>> {
    prop::collection::vec((found(), 0.0..5.0, 0.0..=1.0), 1..60)
}

const CLOSEST: f64 = 0.75;
const FARTHEST: f64 = 10.0;

/// A moment has whole nanoseconds.
const ROUND: f64 = 1e-6;

proptest! {
    /// As the thread that serves does it: one question after the other.
    #[test]
    fn probes_are_never_closer_than_three_quarters_of_a_second_nor_farther_than_ten(
        opened_by in found(), probes in probes(), timeout in 1.0..60.0,
    ) {
        let settings = Settings { timeout: Duration::from_secs_f64(timeout), ..SETTINGS };
        let mut breaker = Breaker::new(settings);
        let opened_by = if Health::of(opened_by) == Health::Good { Nobody } else { opened_by };
        for _ in 0..3 {
            let ticket = breaker.admit(at(0.0), 1, false).unwrap();
            breaker.record(at(0.0), &ticket, FAILED, 0.5);
        }
        prop_assert_eq!(breaker.poll(at(0.0), 0.5), Some(Duty::AskHealth));
        breaker.health(at(0.0), opened_by, "", 0.5);
        let mut last = 0.0;
        let mut now = 0.0_f64;
        for (found, takes, chance) in probes {
            let due = breaker.due().unwrap().since_start().as_secs_f64();
            prop_assert!(due - last >= CLOSEST.min(timeout) - ROUND, "{last} and {due}");
            prop_assert!(due - last <= FARTHEST.min(timeout) + ROUND, "{last} and {due}");
            now = now.max(due) + ROUND;
            last = now;
            prop_assert_eq!(breaker.poll(at(now), chance), Some(Duty::AskHealth));
            prop_assert_eq!(breaker.poll(at(now), chance), None);
            now += takes;
            breaker.health(at(now), found, "", chance);
            if breaker.state() == BreakerState::HalfOpen {
                // From here on it is a matter of the requests; the wait begins with the last of them.
                for who in 0..3 {
                    let ticket = breaker.admit(at(now), who, true).unwrap();
                    breaker.record(at(now), &ticket, Outcome::Failed(found), chance);
                }
                last = now;
            }
        }
    }

    /// Each takes up its offer after a splay, and ends when it ends, in whatever order.
    #[test]
    fn nor_are_those_that_requests_make(probes in probes(), splays in prop::collection::vec(0.0..1.0, 60)) {
        let mut rig = Rig::open(SILENT);
        let mut last = rig.now;
        let mut under_way: Vec<(f64, Ticket, Outcome)> = Vec::new();
        for (who, ((found, takes, chance), splay)) in (0..).zip(probes.into_iter().zip(splays)) {
            loop {
                let due = rig.breaker.due().unwrap().since_start().as_secs_f64();
                under_way.sort_by(|one, other| one.0.total_cmp(&other.0));
                match under_way.first() {
                    Some((ends, ..)) if *ends < due => {
                        let (ends, ticket, outcome) = under_way.remove(0);
                        rig.now = rig.now.max(ends);
                        rig.breaker.record(at(rig.now), &ticket, outcome, chance);
                    }
                    _ => {
                        prop_assert!(due - last >= CLOSEST - ROUND, "{last} and {due}");
                        prop_assert!(due - last <= FARTHEST + ROUND, "{last} and {due}");
                        rig.now = rig.now.max(due);
                        break;
                    }
                }
            }
            prop_assert_eq!(rig.breaker.poll(at(rig.now + ROUND), chance), Some(Duty::WakeOne));
            rig.now += splay;
            last = rig.now;
            let ticket = rig.admit(who).unwrap();
            prop_assert!(rig.admit(who + 1).is_none(), "one at a time");
            let takes = if found == TimedOut { 30.0 } else { takes };
            under_way.push((rig.now + takes, ticket, Outcome::Failed(found)));
        }
    }
}
