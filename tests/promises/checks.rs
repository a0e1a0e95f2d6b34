//! What has to be so at any moment of rest, and in the end.

use std::time::Duration;

use secrets_sync::clock::{Clock, Tick};

use super::{MAX_BACKOFF, NAMES, PROBED, SHOWN, Window, World};
use crate::simulation::Mood;

impl World {
    /// Everything that has to be so at any moment of rest.
    pub fn check(&mut self) {
        self.notice_ready();
        self.check_files();
        self.check_shown();
        self.check_requests();
    }

    pub fn check_files(&self) {
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

    pub fn check_shown(&mut self) {
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
    pub fn check_requests(&self) {
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
    pub fn heal(mut self) {
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
    pub fn bounds(&self) -> Vec<(Duration, &'static str)> {
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
    pub fn calm(&mut self) {
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
