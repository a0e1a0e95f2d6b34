//! Sixty days of the engine's life, and nights in which the machine sleeps, on a clock that does not
//! wait.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod life;
mod simulation;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use life::{CURRENT, DAY, HOUR, LEASE, Life, MINUTE, PROBES, SPECS, period};
use secrets_sync::clock::Clock;
use secrets_sync::config::Environment;
use secrets_sync::plan::{self, Purpose};
use simulation::{Asked, Mood, Process, Seen, alone};

/// How often something that comes again after 90 to 100 % of its period comes in that time: on
/// average after 95 %, and a hundredth more or less after so many times.
fn expected(span: Duration, period: Duration) -> std::ops::RangeInclusive<u32> {
    let count = span.as_secs_f64() / period.mul_f64(0.95).as_secs_f64();
    let slack = 2.0 + count * 0.01;
    (count - slack) as u32..=(count + slack) as u32
}

#[test]
fn sixty_days_without_drift_storm_or_growth() {
    let _alone = alone();
    let began = Instant::now();
    let mut life = Life::new(1);
    life.calm(CURRENT);
    assert!(life.engine().ready());
    life.assert_all_current();
    life.refresh();
    life.sim.set_exact(false);
    life.calm(DAY);

    // Ten calm days: nothing but what the intervals say.
    let at_rest = Process::now();
    let (reads, logins) = (life.account.reads.clone(), life.account.logins.len());
    let (renewals, day) = (life.account.renewals, life.sim.now());
    for _ in 0..10 {
        life.rotate("default");
        life.rotate("lab");
        life.calm(DAY);
    }
    life.calm(HOUR);
    let span = life.sim.now().since(day);
    for spec in &SPECS {
        let count = life.account.reads[spec.name] - reads[spec.name];
        let expected = expected(span, period(spec, spec.interval));
        println!(
            "`{}`: {count} reads in ten days, {expected:?} expected",
            spec.name
        );
        assert!(expected.contains(&count), "`{}`: {count}", spec.name);
    }
    let (logins, renewals) = (
        life.account.logins.len() - logins,
        life.account.renewals - renewals,
    );
    println!("{logins} logins and {renewals} renewals in ten days");
    // One before each end of 24 hours; 36 to 40 minutes apart in between.
    assert!((10..=11).contains(&logins), "{logins} logins");
    assert!((350..=405).contains(&renewals), "{renewals} renewals");
    // What the log said at the start, of all but leases: those end sooner than their intervals.
    let plan = plan::load_text(
        "config.yaml".as_ref(),
        life.config(),
        &Environment::default(),
        Purpose::Run,
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    let days = span.as_secs_f64() / DAY.as_secs_f64();
    for store in ["default", "lab"] {
        let specs = || SPECS.iter().filter(|spec| spec.store == store);
        let leased = specs().filter(|spec| period(spec, spec.interval) != spec.interval);
        let leased: f64 = leased
            .map(|spec| DAY.as_secs_f64() / spec.interval.mul_f64(0.95).as_secs_f64())
            .sum();
        let counted: u32 = specs()
            .filter(|spec| period(spec, spec.interval) == spec.interval)
            .map(|spec| life.account.reads[spec.name] - reads[spec.name])
            .sum();
        let (counted, said) = (f64::from(counted) / days, plan.expected(store));
        let reads = said.reads - leased;
        println!("`{store}`: {counted:.1} reads a day, {reads:.1} expected");
        assert!(
            (counted - reads).abs() <= reads * 0.02 + 0.5,
            "`{store}`: {counted} {reads}"
        );
        if store == "default" {
            let counted = f64::from(renewals) / days;
            println!(
                "`{store}`: {counted:.1} renewals a day, {:.1} expected",
                said.sessions
            );
            assert!(
                (counted - said.sessions).abs() <= said.sessions * 0.05,
                "{counted} {}",
                said.sessions
            );
        }
    }
    for store in ["default", "lab"] {
        let minutes = life.minutes(store, day, life.sim.now());
        let most = minutes.iter().max().unwrap();
        println!("`{store}`: at most {most} requests in a calm minute");
        assert!(*most <= life.calm_bound(store), "{most} in a calm minute");
    }

    // Outages, from a moment to hours: longer than leases and tokens live.
    for (mood, span) in [
        (Mood::Away, Duration::from_secs(45)),
        (Mood::Sealed, 10 * MINUTE),
        (Mood::Away, 2 * HOUR),
        (Mood::Broken, HOUR),
        (Mood::Hanging, 30 * MINUTE),
        (Mood::Throttling, 20 * MINUTE),
        (Mood::Sealed, 5 * HOUR),
    ] {
        life.outage(mood, span);
        life.calm(3 * DAY);
        assert_eq!(life.engine().status().synced_count, SPECS.len());
        assert!(life.vault("default").world().live_tokens(life.sim.now()) <= 2);
    }

    // Reloads touch what they change.
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let again = life.reload(|_| {});
    assert_eq!(again, BTreeSet::new());
    life.calm(DAY);
    let again = life.reload(|all| {
        all.insert("hourly", 40 * MINUTE);
    });
    assert_eq!(again, names(&["hourly"]));
    life.calm(DAY);
    let again = life.reload(|all| {
        all.remove("half");
    });
    assert_eq!(again, BTreeSet::new());
    life.calm(DAY);
    life.engine().reload("secrets: [");
    life.calm(DAY);
    assert!(life.engine().status().config.error.is_some());
    let again = life.reload(|all| {
        all.insert("hourly", HOUR);
        all.insert("half", 30 * MINUTE);
    });
    assert_eq!(again, names(&["half", "hourly"]));
    for _ in 0..50 {
        life.reload(|all| {
            all.insert("hourly", 40 * MINUTE);
        });
        life.reload(|all| {
            all.insert("hourly", HOUR);
        });
        life.calm(HOUR);
    }

    // And calm again, to the sixtieth day.
    life.refresh();
    let left = (life.account.began + 60 * DAY).since(life.sim.now());
    life.calm(left);
    for store in ["default", "lab"] {
        let minutes = life.minutes(store, life.account.began, life.sim.now());
        let (most, bound) = (*minutes.iter().max().unwrap(), life.bound(store));
        println!("`{store}`: at most {most} requests in a minute of sixty days, {bound} allowed");
        assert!(most <= bound);
    }
    let end = Process::now();
    println!(
        "sixty days in {:?} and {} steps; at the first {at_rest:?}, at the last {end:?}",
        began.elapsed(),
        life.sim.steps()
    );
    assert!(end.threads <= at_rest.threads, "{at_rest:?} {end:?}");
    assert!(
        end.descriptors <= at_rest.descriptors,
        "{at_rest:?} {end:?}"
    );
    assert!(
        end.memory <= at_rest.memory + 4 * 1024,
        "{at_rest:?} {end:?}"
    );
    life.end();
}

/// What was asked, by kind and answer.
fn asked(seen: &[Seen]) -> BTreeMap<String, u32> {
    let mut asked = BTreeMap::new();
    for seen in seen {
        let kind = format!("{:?} {}", seen.asked, seen.status);
        *asked.entry(kind).or_default() += 1;
    }
    asked
}

#[test]
fn after_a_suspend_what_is_due_is_done_once_and_nothing_else() {
    let _alone = alone();
    let mut life = Life::new(2);
    life.calm(CURRENT);
    // Naps shorter than what is left of any interval: the deadlines stay where they were.
    life.calm(MINUTE);
    for _ in 0..10 {
        life.sim.suspend(MINUTE);
        life.calm(Duration::from_secs(5));
    }
    life.sim.set_exact(false);
    life.calm(2 * HOUR);
    // A night, a long week-end, a holiday: leases and tokens have ended meanwhile.
    for span in [HOUR, 8 * HOUR, 3 * DAY, 30 * DAY] {
        life.rotate("default");
        life.rotate("lab");
        life.sim.set_exact(true);
        life.suspend(span);
        life.sim.run(CURRENT);
        for (number, store) in ["default", "lab"].into_iter().enumerate() {
            let seen = life.vaults[number].take_seen();
            println!("after {span:?}, `{store}`: {:?}", asked(&seen));
            for seen in &seen {
                life.count(number, seen);
                life.check(seen, true);
            }
            for spec in SPECS.iter().filter(|spec| spec.store == store) {
                let is_its =
                    |seen: &&Seen| matches!(&seen.asked, Asked::Read(name) if name == spec.name);
                let reads = seen.iter().filter(is_its).count();
                assert!(reads <= 1, "`{}` was read {reads} times", spec.name);
                assert!(reads == 1 || spec.interval > span, "`{}`", spec.name);
            }
            // Beside the reads a login, and the look-up after it.
            assert!(seen.len() <= life.intervals.len() + 2);
        }
        assert!(life.engine().ready());
        assert_eq!(life.failed(), BTreeSet::new());
        if span > DAY {
            life.assert_all_current();
        }
        life.sim.set_exact(false);
        life.calm(3 * HOUR);
    }
    life.end();
}

#[test]
fn a_clock_that_is_set_moves_no_deadline() {
    let _alone = alone();
    let mut life = Life::new(3);
    life.calm(CURRENT);
    life.sim.set_exact(false);
    life.calm(HOUR);
    for years in [1_i32, -2, 30, -29] {
        life.sim.set_wall(|wall| {
            let by = years.unsigned_abs() * 365 * DAY;
            if years > 0 { wall + by } else { wall - by }
        });
        life.sim.settle();
        life.look(true);
        let wall = life.sim.wall();
        life.calm(12 * HOUR);
        assert!(life.engine().ready());
        assert_eq!(life.failed(), BTreeSet::new());
        // What people are shown goes by the clock that they have set.
        let shown = &life.engine().status().secrets[0];
        let last = humantime::parse_rfc3339(shown.last_success.as_ref().unwrap()).unwrap();
        let next = humantime::parse_rfc3339(shown.next_refresh.as_ref().unwrap()).unwrap();
        assert!(last > wall && next > life.sim.wall() && next < life.sim.wall() + HOUR);
    }
    life.end();
}

/// Whether the machine runs or sleeps: a credential that has ended is not called ready.
#[test]
fn a_lease_that_ends_on_disk_takes_ready_back_awake_and_asleep() {
    let _alone = alone();
    let lease = Duration::from_secs(LEASE);
    for asleep in [false, true] {
        let mut life = Life::new(4);
        life.calm(CURRENT);
        let read = life.account.last["lease"];
        life.vaults[0].set_mood(Mood::Away);
        life.sim.set_exact(false);
        let before = (read + lease).since(life.sim.now()) - 2 * CURRENT;
        if asleep {
            life.suspend(before);
        } else {
            life.trouble(before);
        }
        life.sim.set_exact(true);
        life.trouble(CURRENT);
        assert!(life.engine().ready(), "it has not ended yet");
        if asleep {
            life.suspend(8 * HOUR);
        }
        life.trouble(2 * CURRENT);
        assert!(!life.engine().ready(), "it has ended");
        let file = std::fs::read_to_string(life.file("lease")).unwrap();
        assert_eq!(
            file,
            life.vaults[0].world().value("lease"),
            "the file stays"
        );
        life.vaults[0].set_mood(Mood::Well);
        life.account.found = None;
        life.trouble(PROBES);
        let found = life.account.found.expect("a probe");
        let left = (found + CURRENT).since(life.sim.now());
        life.trouble(left);
        assert!(life.engine().ready(), "{:?}", life.engine().status());
        assert_eq!(life.failed(), BTreeSet::new());
        life.end();
    }
}

#[test]
fn a_request_under_way_ends_with_the_suspend_and_nothing_is_called_stalled() {
    let _alone = alone();
    let mut life = Life::new(5);
    life.calm(CURRENT);
    life.vaults[0].set_mood(Mood::Hanging);
    life.refresh();
    life.trouble(CURRENT);
    assert!(life.engine().ready());
    life.suspend(20 * MINUTE);
    let after = life.engine().status();
    let states: Vec<_> = after.secrets.iter().map(|secret| &*secret.state).collect();
    assert!(!states.contains(&"stalled"), "{states:?}");
    assert!(states.contains(&"failed"), "{states:?}");
    life.vaults[0].set_mood(Mood::Well);
    life.trouble(PROBES + CURRENT);
    assert_eq!(life.failed(), BTreeSet::new());
    life.end();
}
