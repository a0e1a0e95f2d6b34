//! The model: what every file holds and every secret is said to be, by what the server answered and
//! what happened besides.

#![allow(dead_code, unreachable_pub, reason = "parts of one test program")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod checks;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrets_sync::clock::{Clock, Tick};
use secrets_sync::sync::Signal;
use tempfile::TempDir;

pub use steps::{Hand, Step, steps};

use crate::simulation::{Asked, Engine, Kind, Mood, Seen, Sim, Vault};

/// The secrets there are; a configuration has some of them.
pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// `d` has leases of this length.
pub const LEASE: u64 = 600;

pub const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// The breaker's probes are at most so far apart, and what waits for one is current 2 s after it.
pub const PROBED: Duration = Duration::from_secs(12);

/// What changes is shown, to the second, in this time.
pub const SHOWN: Duration = Duration::from_secs(2);

/// What the model knows of a secret.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Of the configuration in use; `None`: it is not in it.
    pub interval: Option<u64>,
    /// What its two files hold, where there are any.
    pub plain: Option<String>,
    pub made: Option<String>,
    /// The last answer was good, and the disk took it.
    pub well: bool,
    /// The last answer was an error that trying again soon does not help, or the disk was full.
    pub settled: bool,
    /// An answer is waited for that never comes.
    pub hangs: bool,
    /// Since the last good answer there was trouble that is not its own.
    pub excused: bool,
    /// It has been written, or found right, since it came into the configuration.
    pub written: bool,
    /// When what is on disk is no longer good.
    pub ends: Option<Tick>,
    /// The last good read, where nothing came after it that shifts the next.
    pub last: Option<Tick>,
}

/// The engine with its server, and the model beside it.
pub struct World {
    pub sim: Sim,
    pub vault: Vault,
    pub engine: Option<Engine>,
    pub directory: TempDir,
    pub known: BTreeMap<&'static str, Known>,
    pub mood: Mood,
    /// The breaker has been seen closed since the server is well.
    pub closed: bool,
    pub full: bool,
    pub spoiled: bool,
    pub was_ready: bool,
    /// What was asked during this step.
    pub window: Window,
}

#[derive(Debug, Default)]
pub struct Window {
    pub began: Tick,
    pub reads: BTreeMap<String, u32>,
    /// Those that the rate limit counts.
    pub limited: u32,
    pub health: u32,
    /// Good answers to the health question: each may close the breaker, and give a burst.
    pub found: u32,
}

impl World {
    pub fn new() -> Self {
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

    pub fn config(&self) -> String {
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

    pub fn files(&self, name: &str) -> [String; 2] {
        let path = |what: &str| format!("{}/files/{name}.{what}", self.directory.path().display());
        [path("plain"), path("made")]
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    pub fn known(&mut self, name: &str) -> &mut Known {
        self.known.get_mut(name).unwrap()
    }

    pub fn take(&mut self, step: &Step) {
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
    pub fn shifted(&mut self, excused: bool) {
        for known in self.known.values_mut() {
            known.last = None;
            known.excused |= excused;
        }
    }

    pub fn configure(&mut self, name: &'static str, interval: Option<u64>) {
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

    pub fn reload(&mut self) {
        self.spoiled = false;
        let config = self.config();
        self.with_room(|world| world.engine().configure(&config));
        self.engine().signal(Signal::Reload);
        self.look();
    }

    /// The disk is full: for this process, no file may grow.
    pub fn fill(&mut self, full: bool) {
        self.full = full;
        set_full(full);
    }

    /// Another process' writes go on.
    pub fn with_room(&mut self, write: impl FnOnce(&mut Self)) {
        // The engine rests: what it does about it comes after.
        set_full(false);
        write(self);
        set_full(self.full);
    }

    pub fn touch(&mut self, name: &'static str, hand: Hand) {
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

    pub fn pass(&mut self, span: Duration) {
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

    pub fn look(&mut self) {
        for seen in self.vault.take_seen() {
            self.note(&seen);
        }
        self.notice_ready();
    }

    pub fn note(&mut self, seen: &Seen) {
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

    pub fn note_read(&mut self, name: &str, seen: &Seen) {
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

    pub fn configured(&self) -> impl Iterator<Item = (&&'static str, &Known)> {
        self.known
            .iter()
            .filter(|(_, known)| known.interval.is_some())
    }

    pub fn notice_ready(&mut self) {
        self.was_ready = self.was_ready || self.configured().all(|(_, known)| known.written);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        set_full(false);
        // Before its server.
        drop(self.engine.take());
    }
}

pub fn set_full(full: bool) {
    let limits = getrlimit(Resource::Fsize);
    let current = if full { Some(0) } else { limits.maximum };
    setrlimit(Resource::Fsize, Rlimit { current, ..limits }).unwrap();
}

pub fn kind(name: &str) -> Kind {
    match name {
        "c" => Kind::Kv1,
        "d" => Kind::Lease(LEASE),
        _ => Kind::Kv2,
    }
}
