//! Sixty days of the engine's life, and nights in which the machine sleeps, on a clock that does not
//! wait.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod simulation;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use secrets_sync::clock::{Clock, Tick};
use secrets_sync::sync::Signal;
use simulation::{Asked, Engine, Kind, Mood, Process, Seen, Sim, Vault, alone};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// When the breaker is open its probes are at most so far apart: 8 s and a quarter.
const PROBES: Duration = Duration::from_secs(10);

/// Without a breaker, a secret's own tries are at most so far apart.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// All are current so long after the probe that finds the store.
const CURRENT: Duration = Duration::from_secs(2);

/// A secret of the simulation.
struct Spec {
    name: &'static str,
    store: &'static str,
    kind: Kind,
    interval: Duration,
}

const LEASE: u64 = 3_600;

const SPECS: [Spec; 8] = [
    spec("often", "default", Kind::Kv2, 15),
    spec("half", "default", Kind::Kv2, 30),
    spec("hourly", "default", Kind::Kv2, 60),
    spec("old", "default", Kind::Kv1, 60),
    // Its lease ends before its interval does.
    spec("lease", "default", Kind::Lease(LEASE), 120),
    spec("daily", "default", Kind::Kv2, 24 * 60),
    spec("lab-half", "lab", Kind::Kv2, 30),
    spec("lab-hourly", "lab", Kind::Kv2, 60),
];

const fn spec(name: &'static str, store: &'static str, kind: Kind, minutes: u64) -> Spec {
    Spec {
        name,
        store,
        kind,
        interval: Duration::from_secs(minutes * 60),
    }
}

/// What is read again after a success: the interval, or nine tenths of a lease where that is less.
fn period(spec: &Spec, interval: Duration) -> Duration {
    match spec.kind {
        Kind::Lease(seconds) => interval.min(Duration::from_secs(seconds).mul_f64(0.9)),
        Kind::Kv1 | Kind::Kv2 => interval,
    }
}

/// The engine, its two servers, and an account of what they were asked.
struct Life {
    sim: Sim,
    /// `default` and `lab`.
    vaults: [Vault; 2],
    engine: Option<Engine>,
    directory: TempDir,
    intervals: BTreeMap<&'static str, Duration>,
    account: Account,
}

#[derive(Default)]
struct Account {
    began: Tick,
    /// Of the last read of a secret, where nothing came between that would shift the next.
    last: BTreeMap<String, Tick>,
    reads: BTreeMap<String, u32>,
    logins: Vec<Tick>,
    renewals: u32,
    /// Of the last login or renewal.
    granted: Tick,
    /// Requests to each store in each minute.
    minutes: [Vec<u32>; 2],
    /// The first good health answer since this was forgotten.
    found: Option<Tick>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sim = Sim::new(seed);
        let vaults = ["default", "lab"].map(|store| {
            let vault = Vault::start(&directory.path().join(store), &sim);
            let mut world = vault.world();
            world.add_token("static");
            for spec in SPECS.iter().filter(|spec| spec.store == store) {
                world.put(spec.name, spec.kind);
            }
            drop(world);
            vault
        });
        let mut life = Self {
            account: Account {
                began: sim.now(),
                ..Account::default()
            },
            intervals: SPECS.map(|spec| (spec.name, spec.interval)).into(),
            sim,
            vaults,
            engine: None,
            directory,
        };
        let config = life.config();
        let engine = Engine::start(&life.sim, life.directory.path(), &config, &[]);
        life.engine = Some(engine);
        life
    }

    fn config(&self) -> String {
        let [default, lab] = self.vaults.each_ref().map(Vault::address);
        let mut config = format!(
            "secretStore: {{ address: '{default}', authMethod: approle, roleId: r, secretId: s, \
             maxConcurrent: 2 }}\n\
             secretStores: {{ lab: {{ address: '{lab}', authMethod: token, token: static, \
             maxConcurrent: 2 }} }}\nsecrets:\n"
        );
        for spec in &SPECS {
            let Some(interval) = self.intervals.get(spec.name) else {
                continue;
            };
            let (name, store) = (spec.name, spec.store);
            let version = if spec.kind == Kind::Kv2 { "v2" } else { "v1" };
            let path = self.file(name);
            config += &format!(
                "- {{ name: {name}, store: {store}, key: {name}, kvVersion: {version}, \
                 refreshInterval: {}s, files: [{{ path: '{}', field: value }}] }}\n",
                interval.as_secs(),
                path.display()
            );
        }
        config
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("files").join(name)
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn vault(&self, store: &str) -> &Vault {
        &self.vaults[usize::from(store == "lab")]
    }

    /// Twice what the plan's intervals need and 20 a second, and two bursts: the one that was saved
    /// up, and the one that a closing breaker gives.
    fn bound(&self, store: &str) -> u32 {
        let mine = || SPECS.iter().filter(|spec| spec.store == store);
        let rate: f64 = mine()
            .filter_map(|spec| self.intervals.get(spec.name))
            .map(|interval| 1.0 / interval.as_secs_f64())
            .sum();
        let per_minute = (2.0 * rate + 20.0) * 60.0;
        per_minute as u32 + 2 * 2 * u32::try_from(mine().count()).unwrap()
    }

    /// So many secrets, each once, and what a session may need at the same time.
    fn calm_bound(&self, store: &str) -> u32 {
        let mine = SPECS.iter().filter(|spec| spec.store == store);
        u32::try_from(mine.count()).unwrap() + 4
    }

    /// Time goes on, and all is as it should be in calm times.
    fn calm(&mut self, span: Duration) {
        self.live(span, true);
    }

    /// Time goes on; what is asked is counted.
    fn trouble(&mut self, span: Duration) {
        self.live(span, false);
    }

    fn live(&mut self, span: Duration, calm: bool) {
        let end = self.sim.now() + span;
        self.sim.settle();
        self.look(calm);
        loop {
            let more = self.sim.step(end);
            self.look(calm);
            if !more {
                return;
            }
        }
    }

    fn look(&mut self, calm: bool) {
        for (number, store) in ["default", "lab"].into_iter().enumerate() {
            for seen in self.vaults[number].take_seen() {
                self.count(number, &seen);
                // The lab has no trouble but what is the machine's.
                self.check(&seen, calm || store == "lab");
            }
        }
    }

    fn count(&mut self, store: usize, seen: &Seen) {
        let minute = seen.at.since(self.account.began).as_secs() / 60;
        let minutes = &mut self.account.minutes[store];
        minutes.resize(minutes.len().max(minute as usize + 1), 0);
        minutes[minute as usize] += 1;
        assert!(!seen.ended_token, "with a token that had ended: {seen:?}");
    }

    fn check(&mut self, seen: &Seen, calm: bool) {
        let account = &mut self.account;
        if calm {
            assert!(matches!(seen.status, 200 | 204), "{seen:?}");
        }
        match &seen.asked {
            Asked::Health => {
                if seen.status == 200 {
                    account.found.get_or_insert(seen.at);
                }
            }
            Asked::Login if seen.status == 200 => {
                account.logins.push(seen.at);
                account.granted = seen.at;
            }
            Asked::Renew if seen.status == 200 => {
                account.renewals += 1;
                let after = seen.at.since(account.granted);
                if calm {
                    let (least, most) = (HOUR.mul_f64(0.6), HOUR.mul_f64(2.0 / 3.0));
                    assert!(after >= least && after <= most, "renewed after {after:?}");
                }
                account.granted = seen.at;
            }
            Asked::Read(name) => {
                let spec = SPECS.iter().find(|spec| spec.name == name).unwrap();
                let last = account.last.remove(name);
                if seen.status == 200 {
                    account.last.insert(name.clone(), seen.at);
                    *account.reads.entry(name.clone()).or_default() += 1;
                }
                if let (Some(last), true) = (last, calm) {
                    let period = period(spec, self.intervals[spec.name]);
                    let after = seen.at.since(last);
                    // The clock counts nanoseconds, factors are rounded to them.
                    let slack = Duration::from_micros(1);
                    assert!(
                        after + slack >= period.mul_f64(0.9) && after <= period + slack,
                        "`{name}` was read {after:?} after the last time, its period is {period:?}"
                    );
                }
            }
            Asked::Login | Asked::Renew | Asked::LookUp | Asked::Revoke => {}
        }
    }

    /// Something shifts when these are read: what came before says nothing of the next time.
    fn shifted(&mut self, names: impl Fn(&Spec) -> bool) {
        for spec in SPECS.iter().filter(|spec| names(spec)) {
            self.account.last.remove(spec.name);
        }
    }

    /// The machine sleeps: what is due meanwhile comes late.
    fn suspend(&mut self, span: Duration) {
        self.shifted(|_| true);
        self.sim.suspend(span);
    }

    /// SIGUSR1: all are read now.
    fn refresh(&mut self) {
        self.shifted(|_| true);
        self.engine().signal(Signal::Refresh);
    }

    /// The server of `default` is in trouble for that long. Everything has a new version meanwhile;
    /// whoever has noticed is current soon after.
    fn outage(&mut self, mood: Mood, span: Duration) {
        let began = self.sim.now();
        self.shifted(|spec| spec.store == "default");
        self.vaults[0].set_mood(mood);
        self.rotate("default");
        self.trouble(span);
        let failed: BTreeSet<String> = self.failed();
        let breaker = self.engine().status().stores[0].breaker.clone();
        let end = self.sim.now();
        // After the first minute, in which it was noticed, the probes alone are left.
        let minutes = self.minutes("default", began + 2 * MINUTE, end);
        assert!(
            minutes.iter().all(|count| *count <= 20),
            "{mood:?}: {minutes:?} requests a minute"
        );
        self.account.found = None;
        self.vaults[0].set_mood(Mood::Well);
        self.sim.set_exact(true);
        let within = match breaker.as_str() {
            "open" => {
                self.trouble(PROBES);
                let found = self.account.found.expect("a probe");
                let left = (found + CURRENT).since(self.sim.now());
                self.trouble(left);
                found.since(end) + CURRENT
            }
            // 429 is no outage: they come by themselves.
            _ => {
                self.trouble(MAX_BACKOFF);
                MAX_BACKOFF
            }
        };
        assert!(
            self.failed().is_empty(),
            "{mood:?}, {within:?} after its end: {:?}",
            self.engine().status()
        );
        for name in &failed {
            self.assert_current(name);
        }
        println!(
            "{mood:?} for {span:?}: {} had noticed, the breaker was {breaker}, all current \
             {within:?} after it",
            failed.len()
        );
        // Whoever was woken has had its splay.
        self.trouble(2 * MINUTE);
        self.sim.set_exact(false);
    }

    fn rotate(&self, store: &str) {
        let mut world = self.vault(store).world();
        for spec in SPECS.iter().filter(|spec| spec.store == store) {
            world.rotate(spec.name);
        }
    }

    fn failed(&self) -> BTreeSet<String> {
        let status = self.engine().status();
        status
            .secrets
            .iter()
            .filter(|secret| secret.state != "in_sync")
            .map(|secret| secret.name.clone())
            .collect()
    }

    fn assert_current(&self, name: &str) {
        let spec = SPECS.iter().find(|spec| spec.name == name).unwrap();
        let file = std::fs::read_to_string(self.file(name)).unwrap();
        assert_eq!(file, self.vault(spec.store).world().value(name));
    }

    fn assert_all_current(&self) {
        for name in self.intervals.keys() {
            self.assert_current(name);
        }
    }

    fn minutes(&self, store: &str, from: Tick, to: Tick) -> Vec<u32> {
        let minute = |at: Tick| at.since(self.account.began).as_secs() / 60;
        (minute(from)..minute(to))
            .map(|minute| {
                let minutes = &self.account.minutes[usize::from(store == "lab")];
                minutes.get(minute as usize).copied().unwrap_or(0)
            })
            .collect()
    }

    /// Takes up what `change` makes of the intervals; gives who was read because of it.
    fn reload(
        &mut self,
        change: impl Fn(&mut BTreeMap<&'static str, Duration>),
    ) -> BTreeSet<String> {
        let before = self.intervals.clone();
        change(&mut self.intervals);
        let after = self.intervals.clone();
        self.shifted(|spec| before.get(spec.name) != after.get(spec.name));
        let reads = self.account.reads.clone();
        let config = self.config();
        self.engine().reload(&config);
        self.calm(CURRENT);
        let again = self.account.reads.iter();
        again
            .filter(|(name, count)| reads.get(*name) != Some(count))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn end(mut self) {
        self.look(false);
        let engine = self.engine.take().unwrap();
        assert!(engine.lives());
        engine.stop();
    }
}

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
        (Mood::Sealed, 7 * HOUR),
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
