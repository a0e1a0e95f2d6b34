//! The engine's life on the virtual clock: two servers, seven secrets, and an account of every
//! request, which is held against what the documentation promises as soon as it comes.

#![allow(dead_code, unreachable_pub, reason = "parts of one test program")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use secrets_sync::clock::{Clock, Tick};
use secrets_sync::sync::Signal;
use tempfile::TempDir;

use crate::simulation::{Asked, Engine, Kind, Mood, Seen, Sim, Vault};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3_600);
pub const DAY: Duration = Duration::from_secs(86_400);

/// When the breaker is open its probes are at most so far apart: 8 s and a quarter.
pub const PROBES: Duration = Duration::from_secs(10);

/// Without a breaker, a secret's own tries are at most so far apart.
pub const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// All are current so long after the probe that finds the store.
pub const CURRENT: Duration = Duration::from_secs(2);

/// A secret of the simulation.
pub struct Spec {
    pub name: &'static str,
    pub store: &'static str,
    pub kind: Kind,
    pub interval: Duration,
}

pub const LEASE: u64 = 3_600;

pub const SPECS: [Spec; 7] = [
    spec("often", "default", Kind::Kv2, 20),
    spec("half", "default", Kind::Kv2, 30),
    spec("hourly", "default", Kind::Kv2, 60),
    spec("old", "default", Kind::Kv1, 60),
    // Its lease ends before its interval does.
    spec("lease", "default", Kind::Lease(LEASE), 120),
    spec("daily", "default", Kind::Kv2, 24 * 60),
    spec("lab-hourly", "lab", Kind::Kv2, 60),
];

pub const fn spec(name: &'static str, store: &'static str, kind: Kind, minutes: u64) -> Spec {
    Spec {
        name,
        store,
        kind,
        interval: Duration::from_secs(minutes * 60),
    }
}

/// What is read again after a success: the interval, or nine tenths of a lease where that is less.
pub fn period(spec: &Spec, interval: Duration) -> Duration {
    match spec.kind {
        Kind::Lease(seconds) => interval.min(Duration::from_secs(seconds).mul_f64(0.9)),
        Kind::Kv1 | Kind::Kv2 => interval,
    }
}

/// The engine, its two servers, and an account of what they were asked.
pub struct Life {
    pub sim: Sim,
    /// `default` and `lab`.
    pub vaults: [Vault; 2],
    pub engine: Option<Engine>,
    pub directory: TempDir,
    pub intervals: BTreeMap<&'static str, Duration>,
    pub account: Account,
}

#[derive(Default)]
pub struct Account {
    pub began: Tick,
    /// Of the last read of a secret, where nothing came between that would shift the next.
    pub last: BTreeMap<String, Tick>,
    pub reads: BTreeMap<String, u32>,
    pub logins: Vec<Tick>,
    pub renewals: u32,
    /// Of the last login or renewal.
    pub granted: Tick,
    /// Requests to each store in each minute.
    pub minutes: [Vec<u32>; 2],
    /// The first good health answer since this was forgotten.
    pub found: Option<Tick>,
}

impl Life {
    pub fn new(seed: u64) -> Self {
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

    pub fn config(&self) -> String {
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

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("files").join(name)
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    pub fn vault(&self, store: &str) -> &Vault {
        &self.vaults[usize::from(store == "lab")]
    }

    /// Twice what the plan's intervals need and 20 a second, and two bursts: the one that was saved
    /// up, and the one that a closing breaker gives.
    pub fn bound(&self, store: &str) -> u32 {
        let mine = || SPECS.iter().filter(|spec| spec.store == store);
        let rate: f64 = mine()
            .filter_map(|spec| self.intervals.get(spec.name))
            .map(|interval| 1.0 / interval.as_secs_f64())
            .sum();
        let per_minute = (2.0 * rate + 20.0) * 60.0;
        per_minute as u32 + 2 * (2 + 2 * u32::try_from(mine().count()).unwrap())
    }

    /// So many secrets, each once, and what a session may need at the same time.
    pub fn calm_bound(&self, store: &str) -> u32 {
        let mine = SPECS.iter().filter(|spec| spec.store == store);
        u32::try_from(mine.count()).unwrap() + 4
    }

    /// Time goes on, and all is as it should be in calm times.
    pub fn calm(&mut self, span: Duration) {
        self.live(span, true);
    }

    /// Time goes on; what is asked is counted.
    pub fn trouble(&mut self, span: Duration) {
        self.live(span, false);
    }

    pub fn live(&mut self, span: Duration, calm: bool) {
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

    pub fn look(&mut self, calm: bool) {
        for (number, store) in ["default", "lab"].into_iter().enumerate() {
            for seen in self.vaults[number].take_seen() {
                self.count(number, &seen);
                // The lab has no trouble but what is the machine's.
                self.check(&seen, calm || store == "lab");
            }
        }
    }

    pub fn count(&mut self, store: usize, seen: &Seen) {
        let minute = seen.at.since(self.account.began).as_secs() / 60;
        let minutes = &mut self.account.minutes[store];
        minutes.resize(minutes.len().max(minute as usize + 1), 0);
        minutes[minute as usize] += 1;
        assert!(!seen.ended_token, "with a token that had ended: {seen:?}");
    }

    pub fn check(&mut self, seen: &Seen, calm: bool) {
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
    pub fn shifted(&mut self, names: impl Fn(&Spec) -> bool) {
        for spec in SPECS.iter().filter(|spec| names(spec)) {
            self.account.last.remove(spec.name);
        }
    }

    /// The machine sleeps: what is due meanwhile comes late.
    pub fn suspend(&mut self, span: Duration) {
        self.shifted(|_| true);
        self.sim.suspend(span);
    }

    /// SIGUSR1: all are read now.
    pub fn refresh(&mut self) {
        self.shifted(|_| true);
        self.engine().signal(Signal::Refresh);
    }

    /// The server of `default` is in trouble for that long. Everything has a new version meanwhile;
    /// whoever has noticed is current soon after.
    pub fn outage(&mut self, mood: Mood, span: Duration) {
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

    pub fn rotate(&self, store: &str) {
        let mut world = self.vault(store).world();
        for spec in SPECS.iter().filter(|spec| spec.store == store) {
            world.rotate(spec.name);
        }
    }

    pub fn failed(&self) -> BTreeSet<String> {
        let status = self.engine().status();
        status
            .secrets
            .iter()
            .filter(|secret| secret.state != "in_sync")
            .map(|secret| secret.name.clone())
            .collect()
    }

    pub fn assert_current(&self, name: &str) {
        let spec = SPECS.iter().find(|spec| spec.name == name).unwrap();
        let file = std::fs::read_to_string(self.file(name)).unwrap();
        assert_eq!(file, self.vault(spec.store).world().value(name));
    }

    pub fn assert_all_current(&self) {
        for name in self.intervals.keys() {
            self.assert_current(name);
        }
    }

    pub fn minutes(&self, store: &str, from: Tick, to: Tick) -> Vec<u32> {
        let minute = |at: Tick| at.since(self.account.began).as_secs() / 60;
        (minute(from)..minute(to))
            .map(|minute| {
                let minutes = &self.account.minutes[usize::from(store == "lab")];
                minutes.get(minute as usize).copied().unwrap_or(0)
            })
            .collect()
    }

    /// Takes up what `change` makes of the intervals; gives who was read because of it.
    pub fn reload(
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

    pub fn end(mut self) {
        self.look(false);
        let engine = self.engine.take().unwrap();
        assert!(engine.lives());
        engine.stop();
    }
}
