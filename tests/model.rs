//! Whatever happens, in whatever order: the engine against a small model of what it promises.
//!
//! A run is a sequence of steps (good and bad answers of many kinds, a server that is sealed, away or
//! silent, revoked tokens, reloads, signals, a full disk, files that others touch, nights of sleep), on a
//! virtual clock. After each step the model says what every file must hold, to the byte, and what
//! status and metrics must say. In the end the faults cease, and within the bounds of the
//! documentation everything has to be well.
//!
//! The sequences come from a fixed seed. More of them: `PROPTEST_CASES=2000 cargo test --test model`; others:
//! `MODEL_SEED=7` beside it. What fails is made as short as possible and printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod simulation;
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrets_sync::clock::{Clock, Tick};
use secrets_sync::sync::Signal;
use simulation::{Asked, Engine, Fault, Kind, Mood, Process, Seen, Sim, Vault, alone};
use tempfile::TempDir;

/// The secrets there are; a configuration has some of them.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// `d` has leases of this length.
const LEASE: u64 = 600;

const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// The breaker's probes are at most so far apart, and what waits for one is current 2 s after it.
const PROBED: Duration = Duration::from_secs(12);

/// What changes is shown, to the second, in this time.
const SHOWN: Duration = Duration::from_secs(2);

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A new version of a secret.
    Rotate(usize),
    /// A secret is answered badly, or well again.
    Answer(usize, Option<Fault>),
    /// The whole server.
    Server(Mood),
    /// All tokens of logins are forgotten.
    Revoke,
    /// The configuration has this secret, with this interval in seconds, or not any more.
    Configure(usize, Option<u64>),
    /// A configuration that cannot be read.
    Spoil,
    /// SIGHUP without a change.
    Reload,
    /// SIGUSR1.
    Refresh,
    /// Nothing more can be written, or again.
    Disk { full: bool },
    /// Somebody writes over a file, or takes it away.
    Touch(usize, Hand),
    /// Time goes on, in seconds.
    Pass(u64),
    /// The machine sleeps, in seconds.
    Sleep(u64),
}

#[derive(Clone, Copy, Debug)]
enum Hand {
    Writes,
    Removes,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let secret = 0..NAMES.len();
    let fault = prop_oneof![
        Just(None),
        prop_oneof![
            Just(Fault::Denied),
            Just(Fault::Doubtful),
            Just(Fault::Absent),
            (1u64..400).prop_map(|pause| Fault::Throttled(Some(pause))),
            Just(Fault::Throttled(None)),
            Just(Fault::Broken),
            Just(Fault::Garbage),
            Just(Fault::Hanging),
        ]
        .prop_map(Some),
    ];
    let mood = prop_oneof![
        3 => Just(Mood::Well),
        1 => Just(Mood::Away),
        1 => Just(Mood::Sealed),
        1 => Just(Mood::Broken),
        1 => Just(Mood::Throttling),
        1 => Just(Mood::Hanging),
    ];
    let interval = prop_oneof![
        1 => Just(None),
        3 => prop_oneof![Just(30u64), Just(60), Just(200), Just(600)].prop_map(Some),
    ];
    let step = prop_oneof![
        3 => secret.clone().prop_map(Step::Rotate),
        4 => (secret.clone(), fault).prop_map(|(secret, fault)| Step::Answer(secret, fault)),
        3 => mood.prop_map(Step::Server),
        1 => Just(Step::Revoke),
        2 => (secret.clone(), interval)
            .prop_map(|(secret, interval)| Step::Configure(secret, interval)),
        1 => Just(Step::Spoil),
        1 => Just(Step::Reload),
        2 => Just(Step::Refresh),
        2 => any::<bool>().prop_map(|full| Step::Disk { full }),
        1 => (secret, prop_oneof![Just(Hand::Writes), Just(Hand::Removes)])
            .prop_map(|(secret, hand)| Step::Touch(secret, hand)),
        6 => (1u64..400).prop_map(Step::Pass),
        1 => (1u64..100_000).prop_map(Step::Sleep),
    ];
    prop::collection::vec(step, 1..25)
}

/// What the model knows of a secret.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Of the configuration in use; `None`: it is not in it.
    interval: Option<u64>,
    /// What its two files hold, where there are any.
    plain: Option<String>,
    made: Option<String>,
    /// The last answer was good, and the disk took it.
    well: bool,
    /// The last answer was an error that trying again soon does not help, or the disk was full.
    settled: bool,
    /// An answer is waited for that never comes.
    hangs: bool,
    /// Since the last good answer there was trouble that is not its own.
    excused: bool,
    /// It has been written, or found right, since it came into the configuration.
    written: bool,
    /// When what is on disk is no longer good.
    ends: Option<Tick>,
    /// The last good read, where nothing came after it that shifts the next.
    last: Option<Tick>,
}

/// The engine with its server, and the model beside it.
struct World {
    sim: Sim,
    vault: Vault,
    engine: Option<Engine>,
    directory: TempDir,
    known: BTreeMap<&'static str, Known>,
    mood: Mood,
    /// The breaker has been seen closed since the server is well.
    closed: bool,
    full: bool,
    spoiled: bool,
    was_ready: bool,
    /// What was asked during this step.
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    began: Tick,
    reads: BTreeMap<String, u32>,
    /// Those that the rate limit counts.
    limited: u32,
    health: u32,
    /// Good answers to the health question: each may close the breaker, and give a burst.
    found: u32,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sim = Sim::new(11);
        let vault = Vault::start(&directory.path().join("vault"), &sim);
        let mut known: BTreeMap<&'static str, Known> = BTreeMap::new();
        for (name, interval) in NAMES.iter().zip([Some(60), Some(200), None, Some(600)]) {
            vault.world().put(name, kind(name));
            let new = Known {
                interval,
                ..Known::default()
            };
            known.insert(name, new);
        }
        let mut world = Self {
            sim,
            vault,
            engine: None,
            directory,
            known,
            mood: Mood::Well,
            closed: false,
            full: false,
            spoiled: false,
            was_ready: false,
            window: Window::default(),
        };
        world.window.began = world.sim.now();
        let config = world.config();
        let engine = Engine::start(&world.sim, world.directory.path(), &config, &[]);
        world.engine = Some(engine);
        world.pass(SHOWN);
        world.check();
        world
    }

    fn config(&self) -> String {
        let mut config = format!(
            "secretStore: {{ address: '{}', authMethod: approle, roleId: r, secretId: s }}\nsecrets:\n",
            self.vault.address()
        );
        for (name, known) in &self.known {
            let Some(interval) = known.interval else {
                continue;
            };
            let version = if kind(name) == Kind::Kv2 { "v2" } else { "v1" };
            let [plain, made] = self.files(name);
            config += &format!(
                "- {{ name: {name}, key: {name}, kvVersion: {version}, refreshInterval: {interval}s, \
                 template: {{ data: {{ made: '<{{{{ .value }}}}>' }} }}, \
                 files: [{{ path: '{plain}', field: value }}, {{ path: '{made}', template: made }}] }}\n"
            );
        }
        config
    }

    fn files(&self, name: &str) -> [String; 2] {
        let path = |what: &str| format!("{}/files/{name}.{what}", self.directory.path().display());
        [path("plain"), path("made")]
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn known(&mut self, name: &str) -> &mut Known {
        self.known.get_mut(name).unwrap()
    }

    fn take(&mut self, step: &Step) {
        self.window = Window {
            began: self.sim.now(),
            ..Window::default()
        };
        match step {
            Step::Rotate(secret) => drop(self.vault.world().rotate(NAMES[*secret])),
            Step::Answer(secret, fault) => {
                let name = NAMES[*secret];
                self.vault.world().set_fault(name, *fault);
                // Of the others nobody comes out of step.
                self.known(name).last = None;
            }
            Step::Server(mood) => {
                self.mood = *mood;
                self.closed &= *mood == Mood::Well;
                self.vault.set_mood(*mood);
                self.shifted(*mood != Mood::Well);
            }
            Step::Revoke => {
                self.vault.world().revoke_all();
                self.shifted(true);
            }
            Step::Configure(secret, interval) => self.configure(NAMES[*secret], *interval),
            Step::Spoil => {
                self.spoiled = true;
                self.with_room(|world| world.engine().configure("secrets: ["));
                self.engine().signal(Signal::Reload);
            }
            Step::Reload => self.reload(),
            Step::Refresh => {
                self.shifted(false);
                self.engine().signal(Signal::Refresh);
            }
            Step::Disk { full } => self.fill(*full),
            Step::Touch(secret, hand) => self.touch(NAMES[*secret], *hand),
            Step::Pass(seconds) => self.pass(Duration::from_secs(*seconds)),
            Step::Sleep(seconds) => {
                self.shifted(self.mood != Mood::Well);
                self.sim.suspend(Duration::from_secs(*seconds));
                self.look();
            }
        }
        self.pass(SHOWN);
        self.check();
    }

    /// Nobody's next read says anything; `excused`: whoever fails now may.
    fn shifted(&mut self, excused: bool) {
        for known in self.known.values_mut() {
            known.last = None;
            known.excused |= excused;
        }
    }

    fn configure(&mut self, name: &'static str, interval: Option<u64>) {
        let others = self.known.iter().filter(|(other, _)| **other != name);
        let alone = others.filter(|(_, known)| known.interval.is_some()).count() == 0;
        if alone && interval.is_none() {
            return;
        }
        let known = self.known(name);
        if known.interval != interval {
            known.last = None;
            known.well = false;
            known.hangs = false;
            known.written = false;
            if interval.is_none() || known.interval.is_none() {
                known.ends = None;
            }
            known.interval = interval;
        }
        self.reload();
    }

    fn reload(&mut self) {
        self.spoiled = false;
        let config = self.config();
        self.with_room(|world| world.engine().configure(&config));
        self.engine().signal(Signal::Reload);
        self.look();
    }

    /// The disk is full: for this process, no file may grow.
    fn fill(&mut self, full: bool) {
        self.full = full;
        set_full(full);
    }

    /// Another process' writes go on.
    fn with_room(&mut self, write: impl FnOnce(&mut Self)) {
        // The engine rests: what it does about it comes after.
        set_full(false);
        write(self);
        set_full(self.full);
    }

    fn touch(&mut self, name: &'static str, hand: Hand) {
        let [plain, _] = self.files(name);
        if self.known(name).plain.is_none() {
            return;
        }
        match hand {
            Hand::Writes => {
                self.with_room(|_| std::fs::write(&plain, "by another hand").unwrap());
                self.known(name).plain = Some("by another hand".to_owned());
            }
            Hand::Removes => {
                std::fs::remove_file(&plain).unwrap();
                self.known(name).plain = None;
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.sim.now() + span;
        // What is shown counts in the end only.
        let exact = (self.sim.now() + span.saturating_sub(SHOWN)).min(end);
        self.sim.set_exact(false);
        self.sim.settle();
        self.look();
        while self.sim.now() < exact {
            self.sim.step(exact);
            self.look();
        }
        self.sim.set_exact(true);
        while self.sim.now() < end {
            self.sim.step(end);
            self.look();
        }
    }

    fn look(&mut self) {
        for seen in self.vault.take_seen() {
            self.note(&seen);
        }
        self.notice_ready();
    }

    fn note(&mut self, seen: &Seen) {
        match &seen.asked {
            Asked::Health => {
                self.window.health += 1;
                self.window.found += u32::from(seen.status == 200);
            }
            // Sent past the limits, once for a token.
            Asked::Revoke => {}
            Asked::Login | Asked::LookUp | Asked::Renew => self.window.limited += 1,
            Asked::Read(name) => {
                self.window.limited += 1;
                *self.window.reads.entry(name.clone()).or_default() += 1;
                self.note_read(name, seen);
            }
        }
    }

    fn note_read(&mut self, name: &str, seen: &Seen) {
        let (full, mood) = (self.full, self.mood);
        let known = self.known(name);
        let last = known.last.take();
        if let (Some(last), Some(interval)) = (last, known.interval) {
            let period = match kind(name) {
                Kind::Lease(seconds) => interval.min(seconds * 9 / 10),
                Kind::Kv1 | Kind::Kv2 => interval,
            };
            let period = Duration::from_secs(period);
            let after = seen.at.since(last);
            // The rate limit may hold one up for a moment that others make use of.
            assert!(
                after + Duration::from_millis(1) >= period.mul_f64(0.9) && after <= period + SHOWN,
                "`{name}` was read {after:?} after the last time, its period is {period:?}"
            );
        }
        known.hangs = seen.status == 0;
        known.settled = seen.permanent;
        let Some(value) = &seen.given else {
            known.well &= known.hangs;
            return;
        };
        let made = format!("<{value}>");
        let is_right = known.plain.as_ref() == Some(value) && known.made.as_ref() == Some(&made);
        if full && !is_right {
            known.well = false;
            known.settled = true;
            return;
        }
        known.plain = Some(value.clone());
        known.made = Some(made);
        known.well = true;
        known.written = true;
        known.excused = mood != Mood::Well;
        known.ends = match kind(name) {
            Kind::Lease(seconds) => Some(seen.at + Duration::from_secs(seconds)),
            Kind::Kv1 | Kind::Kv2 => None,
        };
        known.last = Some(seen.at);
    }

    fn configured(&self) -> impl Iterator<Item = (&&'static str, &Known)> {
        self.known
            .iter()
            .filter(|(_, known)| known.interval.is_some())
    }

    fn notice_ready(&mut self) {
        self.was_ready = self.was_ready || self.configured().all(|(_, known)| known.written);
    }

    /// Everything that has to be so at any moment of rest.
    fn check(&mut self) {
        self.notice_ready();
        self.check_files();
        self.check_shown();
        self.check_requests();
    }

    fn check_files(&self) {
        for (name, known) in &self.known {
            let held = self
                .files(name)
                .map(|path| std::fs::read_to_string(path).ok());
            assert_eq!(
                held,
                [known.plain.clone(), known.made.clone()],
                "the files of `{name}`"
            );
        }
        // And nothing beside them.
        let files = std::fs::read_dir(self.directory.path().join("files")).unwrap();
        for file in files {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "`{name}` was left behind");
        }
    }

    fn check_shown(&mut self) {
        let status = self.engine().status();
        // What is wrong with single secrets never opens it.
        let breaker = &*status.stores[0].breaker;
        self.closed |= breaker == "closed" && self.mood == Mood::Well;
        assert!(!self.closed || breaker == "closed", "{status:?}");
        let now = self.sim.now();
        let names: Vec<_> = self.configured().map(|(name, _)| *name).collect();
        let shown: Vec<_> = status.secrets.iter().map(|secret| &*secret.name).collect();
        assert_eq!(shown, names);
        assert_eq!(status.secret_count, names.len());
        let in_sync = status
            .secrets
            .iter()
            .filter(|secret| secret.state == "in_sync");
        assert_eq!(status.synced_count, in_sync.count());
        for secret in &status.secrets {
            let known = &self.known[&*secret.name];
            match &*secret.state {
                "in_sync" => assert!(known.well || known.hangs, "{secret:?} {known:?}"),
                "failed" | "pending" => assert!(
                    !known.well || known.hangs || known.excused,
                    "{secret:?} {known:?}"
                ),
                other => panic!("`{other}`: {secret:?}"),
            }
        }
        let degraded = status.secrets.iter().any(|secret| match &*secret.state {
            "in_sync" => false,
            "pending" => self.was_ready,
            _ => true,
        });
        assert_eq!(status.degraded, degraded, "{status:?}");
        let ends: Vec<Tick> = self
            .configured()
            .filter_map(|(_, known)| known.ends)
            .collect();
        // A lease that ends at this moment may be seen in the next second.
        if !ends
            .iter()
            .any(|end| *end <= now && now.since(*end) < SHOWN)
        {
            let ready = self.was_ready && ends.iter().all(|end| now < *end);
            assert_eq!(status.ready, ready, "{status:?} {:?}", self.known);
            assert_eq!(self.engine().ready(), ready);
        }
        assert_eq!(status.config.error.is_some(), self.spoiled);
        let gauge = |series: &str| self.engine().metric(series);
        assert_eq!(gauge("secrets_configured"), Some(names.len() as f64));
        assert_eq!(gauge("secrets_synced"), Some(status.synced_count as f64));
        let loaded = f64::from(u8::from(!self.spoiled));
        assert_eq!(
            gauge("secrets_sync_config_last_reload_successful"),
            Some(loaded)
        );
        let metrics = self.engine().metrics();
        assert!(!metrics.contains("error_type=\"panic\""), "{metrics}");
        assert!(self.engine().lives());
    }

    /// No step makes a storm.
    fn check_requests(&self) {
        let window = &self.window;
        let span = self.sim.now().since(window.began).as_secs_f64();
        let reads = NAMES.len() as f64;
        // As the documentation says, with the shortest interval there is.
        let bound = (2.0 * reads / 30.0 + 20.0) * span + 2.0 * reads * f64::from(2 + window.found);
        assert!(f64::from(window.limited) <= bound, "{bound}: {window:?}");
        // What it comes to: backoff is not a loop. A machine that slept is awake for a moment only.
        let awake = span.min(402.0);
        for (name, count) in &window.reads {
            let refreshes = awake / 27.0;
            let bound = 30.0 + refreshes + 2.0 * f64::from(window.found);
            assert!(f64::from(*count) <= bound, "`{name}`, {bound}: {window:?}");
        }
        let all: u32 = window.reads.values().sum();
        let bound = 6.0 + awake / 6.0 + f64::from(all) / 3.0;
        assert!(f64::from(window.health) <= bound, "{bound}: {window:?}");
    }

    /// The faults cease. All is well in time, and stays so until the end.
    fn heal(mut self) {
        self.fill(false);
        let bounds = self.bounds();
        for name in NAMES {
            self.vault.world().set_fault(name, None);
        }
        self.mood = Mood::Well;
        self.vault.set_mood(Mood::Well);
        self.shifted(true);
        self.reload();
        let healed = self.sim.now();
        for (bound, name) in bounds {
            let at = healed + bound;
            self.pass(at.since(self.sim.now()));
            let status = self.engine().status();
            let secret = status.secrets.iter().find(|secret| secret.name == name);
            let known = &self.known[name];
            assert_eq!(
                secret.unwrap().state,
                "in_sync",
                "after {bound:?}: {status:?} {known:?}"
            );
        }
        self.window = Window {
            began: self.sim.now(),
            ..Window::default()
        };
        self.check();
        self.calm();
        let status = self.engine().status();
        assert_eq!(status.synced_count, status.secret_count, "{status:?}");
        assert!(status.ready && !status.degraded, "{status:?}");
        assert_eq!(status.notices, Vec::<String>::new());
        assert!(status.stores.iter().all(|store| store.breaker == "closed"));
        for (name, known) in self.configured() {
            assert_eq!(known.plain.as_deref(), Some(self.vault.world().value(name)));
        }
        self.engine.take().unwrap().stop();
    }
}

impl World {
    /// How long after the end of all faults each secret is well, the first ones first: a permanent
    /// error waits for the interval, others for their backoff, or for the breaker's next probe.
    fn bounds(&self) -> Vec<(Duration, &'static str)> {
        let mut bounds: Vec<_> = self
            .configured()
            .map(|(name, known)| {
                let interval = Duration::from_secs(known.interval.unwrap_or_default());
                let bound = if known.settled && !known.excused && self.mood == Mood::Well {
                    interval + SHOWN
                } else {
                    interval.max(MAX_BACKOFF) + PROBED + SHOWN
                };
                (bound, *name)
            })
            .collect();
        bounds.sort();
        bounds
    }

    /// The next quarter of an hour is as if nothing had been.
    fn calm(&mut self) {
        self.pass(Duration::from_secs(900));
        self.check();
        let window = &self.window;
        assert_eq!(window.health, 0, "{window:?}");
        for (name, known) in self.configured() {
            let interval = known.interval.unwrap_or_default();
            let most = 1 + 902 * 10 / (interval.min(540) * 9);
            let reads = window.reads.get(*name).copied().unwrap_or_default();
            assert!(u64::from(reads) <= most, "{most} reads: {window:?}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        set_full(false);
        // Before its server.
        drop(self.engine.take());
    }
}

fn set_full(full: bool) {
    let limits = getrlimit(Resource::Fsize);
    let current = if full { Some(0) } else { limits.maximum };
    setrlimit(Resource::Fsize, Rlimit { current, ..limits }).unwrap();
}

fn kind(name: &str) -> Kind {
    match name {
        "c" => Kind::Kv1,
        "d" => Kind::Lease(LEASE),
        _ => Kind::Kv2,
    }
}

#[test]
fn whatever_happens_files_and_status_are_true_and_all_heals() {
    let _alone = alone();
    // A full disk is an error then, as it is in the daemon.
    let too_large = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, too_large).unwrap();
    let number = |name: &str, default: u32| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (cases, seed) = (number("PROPTEST_CASES", 40), number("MODEL_SEED", 1));
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };
    let mut seeds = [0; 32];
    seeds[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seeds);
    let began = Instant::now();
    let before = Process::now();
    let result = TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.heal();
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    println!(
        "{cases} runs in {:?}; before {before:?}, after {:?}",
        began.elapsed(),
        Process::now()
    );
}
