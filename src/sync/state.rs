//! What is known of every secret: events are folded in, the status document comes out. Pure: time
//! is handed in, nothing is logged here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

mod shown;

use shown::{stamp, store_entry};

use super::event::Report;
use super::schedule::Reason;
use crate::clock::Tick;
use crate::failure::{ErrorType, Failure};
use crate::observe::metrics::SecretLabels;
use crate::observe::{ConfigEntry, StatusDocument};
use crate::plan::{Plan, Secret};
use crate::store::StoreStatus;

/// The state of all secrets, in written order.
#[derive(Debug)]
pub(super) struct State {
    started: SystemTime,
    loaded: SystemTime,
    config_error: Option<String>,
    notices: Vec<String>,
    was_ready: bool,
    secrets: Vec<Known>,
    /// Index of the secret that a worker works for.
    workers: HashMap<u64, usize>,
}

/// Where a secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not yet written since it was taken up.
    Pending,
    /// As it should be.
    InSync,
    /// The last try failed.
    Failed,
    /// Its worker is past its deadline.
    Stalled,
}

/// One secret.
#[derive(Debug)]
pub(super) struct Known {
    /// The plan's.
    pub(super) secret: Arc<Secret>,
    /// Its series.
    pub(super) labels: SecretLabels,
    /// The worker that is listened to.
    pub(super) worker: Option<u64>,
    /// Where it stands.
    pub(super) standing: Standing,
    /// The version on disk.
    pub(super) version: Option<u64>,
    /// The last complete success.
    pub(super) last_success: Option<(Tick, SystemTime)>,
    /// Taken up then: staleness before the first success counts from here.
    pub(super) since: Tick,
    /// The next try.
    pub(super) next: Option<Tick>,
    /// Why then.
    reason: Option<Reason>,
    /// Attempts that failed in a row.
    attempt: u32,
    /// When a file of it was written last.
    last_write: Option<SystemTime>,
    /// While it fails.
    pub(super) failure: Option<Failure>,
    /// A leased credential on disk is good until then.
    pub(super) expires: Option<Tick>,
    /// Written (or found right) since start.
    written: bool,
    /// What its series of staleness says; `None` before there is one.
    stale_told: Option<Duration>,
    /// What it was before it stalled.
    before_stall: Option<(Standing, Option<Failure>)>,
}

impl State {
    /// For a plan just taken up.
    #[must_use]
    pub(super) fn new(plan: &Plan, now: Tick, wall: SystemTime) -> Self {
        let mut state = Self {
            started: wall,
            loaded: wall,
            config_error: None,
            notices: Vec::new(),
            was_ready: false,
            secrets: Vec::new(),
            workers: HashMap::new(),
        };
        state.apply(plan, &HashSet::new(), now, wall);
        state
    }

    /// Takes another plan up: `unchanged` secrets keep their state, changed ones start again but
    /// keep what is on disk, others are new. Gives back the labels of those that are gone.
    pub(super) fn apply(
        &mut self,
        plan: &Plan,
        unchanged: &HashSet<String>,
        now: Tick,
        wall: SystemTime,
    ) -> Vec<SecretLabels> {
        self.loaded = wall;
        self.config_error = None;
        let mut old: HashMap<String, Known> = self
            .secrets
            .drain(..)
            .map(|known| (known.secret.name.clone(), known))
            .collect();
        let mut gone = Vec::new();
        self.workers.clear();
        for secret in &plan.secrets {
            let labels = labels(secret);
            let known = match old.remove(&secret.name) {
                Some(mut known) if unchanged.contains(&secret.name) => {
                    known.secret = Arc::clone(secret);
                    known
                }
                Some(known) => {
                    if known.labels != labels {
                        gone.push(known.labels);
                    }
                    Known {
                        last_success: known.last_success,
                        version: known.version,
                        expires: known.expires,
                        last_write: known.last_write,
                        since: known.since,
                        ..Known::new(secret, labels, now)
                    }
                }
                None => Known::new(secret, labels, now),
            };
            if let Some(worker) = known.worker {
                self.workers.insert(worker, self.secrets.len());
            }
            self.secrets.push(known);
        }
        gone.extend(old.into_values().map(|known| known.labels));
        gone
    }

    /// The secrets, in written order.
    #[must_use]
    pub(super) fn secrets(&self) -> &[Known] {
        &self.secrets
    }

    /// The secrets, to be changed.
    pub(super) fn secrets_mut(&mut self) -> &mut [Known] {
        &mut self.secrets
    }

    /// From now on this worker is listened to for the secret at that index.
    pub(super) fn assign(&mut self, index: usize, worker: u64) {
        if let Some(known) = self.secrets.get_mut(index) {
            if let Some(old) = known.worker.replace(worker) {
                self.workers.remove(&old);
            }
            self.workers.insert(worker, index);
        }
    }

    /// The secret whose worker that is, while it is listened to.
    pub(super) fn by_worker(&mut self, worker: u64) -> Option<&mut Known> {
        let index = *self.workers.get(&worker)?;
        self.secrets.get_mut(index)
    }

    /// The index of the secret whose worker that is, while it is listened to.
    #[must_use]
    pub(super) fn index_of(&self, worker: u64) -> Option<usize> {
        self.workers.get(&worker).copied()
    }

    /// A later configuration was refused.
    pub(super) fn refuse(&mut self, error: String) {
        self.config_error = Some(error);
    }

    /// What is wrong with the daemon itself.
    pub(super) fn set_notices(&mut self, notices: Vec<String>) {
        self.notices = notices;
    }

    /// How many secrets there are, and how many are in sync now.
    #[must_use]
    pub(super) fn counts(&self) -> (usize, usize) {
        let synced = self
            .secrets
            .iter()
            .filter(|known| known.standing == Standing::InSync)
            .count();
        (self.secrets.len(), synced)
    }

    /// Whether everything that counts has been written since start, and no leased credential on
    /// disk has expired. Once true it stays so through reloads and failures.
    pub(super) fn is_ready(&mut self, now: Tick) -> bool {
        self.was_ready = self.was_ready || self.counted().all(|known| known.written);
        self.was_ready
            && self
                .counted()
                .all(|known| known.expires.is_none_or(|end| now < end))
    }

    /// Whether something that counts is not in sync, though it was ready; before that, whether
    /// something fails.
    #[must_use]
    pub(super) fn is_degraded(&self) -> bool {
        self.counted().any(|known| match known.standing {
            Standing::InSync => false,
            Standing::Pending => self.was_ready,
            Standing::Failed | Standing::Stalled => true,
        })
    }

    fn counted(&self) -> impl Iterator<Item = &Known> {
        self.secrets.iter().filter(|known| !known.secret.optional)
    }

    /// Everything, for people and programs.
    pub(super) fn document(
        &mut self,
        stores: &[StoreStatus],
        now: Tick,
        wall: SystemTime,
    ) -> StatusDocument {
        let (secret_count, synced_count) = self.counts();
        StatusDocument {
            schema: 1,
            ready: self.is_ready(now),
            degraded: self.is_degraded(),
            secret_count,
            synced_count,
            started: stamp(self.started),
            config: ConfigEntry {
                loaded: stamp(self.loaded),
                error: self.config_error.clone(),
            },
            stores: stores
                .iter()
                .map(|store| store_entry(store, now, wall))
                .collect(),
            secrets: self
                .secrets
                .iter()
                .map(|known| known.entry(stores, now, wall))
                .collect(),
            notices: self.notices.clone(),
        }
    }
}

impl Known {
    fn new(secret: &Arc<Secret>, labels: SecretLabels, now: Tick) -> Self {
        Self {
            secret: Arc::clone(secret),
            labels,
            worker: None,
            standing: Standing::Pending,
            version: None,
            last_success: None,
            since: now,
            next: None,
            reason: None,
            attempt: 0,
            last_write: None,
            failure: None,
            expires: None,
            written: false,
            stale_told: None,
            before_stall: None,
        }
    }

    /// Folds a report in.
    pub(super) fn fold(&mut self, report: &Report, now: Tick, wall: SystemTime) {
        match report {
            Report::Synced {
                version,
                written,
                next,
                reason,
                expires,
                ..
            } => {
                self.standing = Standing::InSync;
                self.version = *version;
                self.last_success = Some((now, wall));
                self.next = *next;
                self.reason = Some(*reason);
                self.attempt = 0;
                if !written.is_empty() {
                    self.last_write = Some(wall);
                }
                self.failure = None;
                self.expires = *expires;
                self.written = true;
                self.before_stall = None;
            }
            Report::Failed {
                failure,
                attempt,
                next,
                reason,
                ..
            } => self.fail(failure.clone(), *next, *reason, *attempt),
            Report::Ended => self.worker = None,
        }
    }

    /// The secret fails; what is on disk stays.
    pub(super) fn fail(
        &mut self,
        failure: Failure,
        next: Option<Tick>,
        reason: Reason,
        attempt: u32,
    ) {
        self.standing = Standing::Failed;
        self.failure = Some(failure);
        self.next = next;
        self.reason = Some(reason);
        self.attempt = attempt;
        self.before_stall = None;
    }

    /// Its worker is past its deadline; `true` the first time.
    pub(super) fn stall(&mut self, failure: Failure) -> bool {
        if self.standing == Standing::Stalled {
            return false;
        }
        self.before_stall = Some((self.standing, self.failure.replace(failure)));
        self.standing = Standing::Stalled;
        true
    }

    /// Its worker goes on; `true` if it had stalled.
    pub(super) fn unstall(&mut self) -> bool {
        match self.before_stall.take() {
            Some((standing, failure)) => {
                self.standing = standing;
                self.failure = failure;
                true
            }
            None => false,
        }
    }

    /// Time since the last complete success (since it was taken up, before the first); zero in
    /// sync.
    #[must_use]
    pub(super) fn stale(&self, now: Tick) -> Duration {
        if self.standing == Standing::InSync {
            return Duration::ZERO;
        }
        now.since(self.last_success.map_or(self.since, |(tick, _)| tick))
    }

    /// The same, where it is another than the last time: nearly always nothing, each second for every secret.
    pub(super) fn stale_news(&mut self, now: Tick) -> Option<Duration> {
        let stale = self.stale(now);
        (self.stale_told.replace(stale) != Some(stale)).then_some(stale)
    }
}

/// The failure of a worker that is past its deadline.
#[must_use]
pub(super) fn stalled(secret: &Secret) -> Failure {
    let mut directories: Vec<_> = secret
        .outputs
        .iter()
        .map(|output| format!("`{}`", output.target.directory().display()))
        .collect();
    directories.dedup();
    directories.truncate(MOST_DIRECTORIES);
    Failure::new(
        ErrorType::Stalled,
        crate::failure::Retry::Backoff(None),
        "the worker is past its deadline",
    )
    .with_remedy(format!(
        "bring the file system of {} back, or unmount it by force (`umount -f -l`): a system call there has not \
         come back, and the secret goes on when it does",
        directories.join(", ")
    ))
}

/// As many directories are named.
const MOST_DIRECTORIES: usize = 5;

fn labels(secret: &Secret) -> SecretLabels {
    let (store, vault_path) = secret
        .sources
        .first()
        .map_or_else(Default::default, |source| {
            (
                source.session.store.clone(),
                format!("{}/{}", source.mount, source.key),
            )
        });
    SecretLabels {
        secret: secret.name.clone(),
        store,
        vault_path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Retry;
    use crate::plan::{Interval, KvVersion, Layout, SessionKey, Source};
    use crate::store::BreakerState;
    use std::path::PathBuf;

    fn secret(name: &str, optional: bool) -> Arc<Secret> {
        Arc::new(Secret {
            name: name.into(),
            sources: vec![Source {
                alias: None,
                session: SessionKey {
                    store: "default".into(),
                    credentials: "default".into(),
                    namespace: String::new(),
                },
                namespace: String::new(),
                mount: "secret".into(),
                key: format!("app/{name}"),
                kv: KvVersion::V2,
                version: None,
                metadata: false,
            }],
            interval: Interval::Every(Duration::from_secs(60)),
            optional,
            layout: Layout::Files,
            outputs: Vec::new(),
            max_file_bytes: 1,
        })
    }

    fn plan(secrets: &[(&str, bool)]) -> Plan {
        Plan {
            file: PathBuf::from("config.yaml"),
            stores: Vec::new(),
            sessions: Vec::new(),
            secrets: secrets
                .iter()
                .map(|(name, optional)| secret(name, *optional))
                .collect(),
            notices: Vec::new(),
            hidden: crate::config::Hidden::default(),
        }
    }

    fn at(secs: u64) -> Tick {
        Tick::from_start(Duration::from_secs(secs))
    }

    fn wall(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + secs)
    }

    fn state(secrets: &[(&str, bool)]) -> State {
        let mut state = State::new(&plan(secrets), at(0), wall(0));
        for index in 0..secrets.len() {
            state.assign(index, index as u64 + 1);
        }
        state
    }

    fn good(expires: Option<Tick>) -> Report {
        Report::Synced {
            version: Some(4),
            written: Vec::new(),
            unchanged: 0,
            took: Duration::ZERO,
            next: Some(at(70)),
            reason: Reason::Interval,
            expires,
            warnings: Vec::new(),
            preview: None,
        }
    }

    fn bad() -> Report {
        Report::Failed {
            failure: Failure {
                error_type: ErrorType::Denied,
                message: "no".into(),
                remedy: None,
                retry: Retry::Settled,
                is_halfway: false,
            },
            attempt: 1,
            took: Duration::ZERO,
            next: Some(at(70)),
            reason: Reason::Settled,
            is_final: false,
        }
    }

    fn fold(state: &mut State, worker: u64, report: &Report, secs: u64) {
        state
            .by_worker(worker)
            .unwrap()
            .fold(report, at(secs), wall(secs));
    }

    #[test]
    fn who_is_to_be_woken_waits_for_the_store_while_that_is_away_else_for_a_login() {
        let mut state = state(&[("a", false)]);
        let failure = Failure::new(ErrorType::Unavailable, Retry::Backoff(None), "away");
        state.secrets_mut()[0].fail(failure, None, Reason::Woken, 1);
        let mut reason = |breaker| {
            let store = StoreStatus {
                name: "default".into(),
                breaker,
                next_probe: Some(at(8)),
                waiting: 0,
                sessions: Vec::new(),
            };
            let document = state.document(&[store], at(5), wall(5));
            assert_eq!(
                document.stores[0].next_probe.as_deref(),
                Some("2027-01-15T08:00:08.000Z")
            );
            document.secrets[0].next_reason.clone().unwrap()
        };
        assert_eq!(reason(BreakerState::Open), "store");
        assert_eq!(reason(BreakerState::HalfOpen), "store");
        assert_eq!(reason(BreakerState::Closed), "session");
    }

    #[test]
    fn ready_when_everything_that_counts_was_written_and_degraded_while_something_fails() {
        let mut state = state(&[("a", false), ("b", false), ("extra", true)]);
        fold(&mut state, 1, &good(None), 1);
        assert!(!state.is_ready(at(1)), "b is not there yet");
        fold(&mut state, 3, &bad(), 1);
        assert!(!state.is_degraded(), "an optional secret does not count");
        fold(&mut state, 2, &good(None), 2);
        assert!(state.is_ready(at(2)));
        assert!(!state.is_degraded());
        fold(&mut state, 1, &bad(), 3);
        assert!(state.is_ready(at(3)), "a later failure leaves it ready");
        assert!(state.is_degraded());
        fold(&mut state, 1, &good(None), 4);
        assert!(!state.is_degraded());
        assert_eq!(state.counts(), (3, 2));
    }

    #[test]
    fn an_expired_lease_on_disk_takes_readiness_back_until_it_is_replaced() {
        let mut state = state(&[("a", false)]);
        fold(&mut state, 1, &good(Some(at(30))), 1);
        assert!(state.is_ready(at(29)));
        assert!(!state.is_ready(at(30)));
        fold(&mut state, 1, &good(Some(at(90))), 31);
        assert!(state.is_ready(at(31)));
    }

    #[test]
    fn a_reload_keeps_what_is_equal_and_a_new_secret_only_degrades() {
        let mut state = state(&[("a", false), ("b", false)]);
        fold(&mut state, 1, &good(None), 1);
        fold(&mut state, 2, &good(None), 1);
        assert!(state.is_ready(at(1)));
        let unchanged = HashSet::from(["a".to_owned()]);
        let gone = state.apply(
            &plan(&[("c", false), ("a", false)]),
            &unchanged,
            at(5),
            wall(5),
        );
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].vault_path, "secret/app/b");
        assert!(state.is_ready(at(5)));
        assert!(state.is_degraded(), "c is not yet written");
        assert!(
            state.by_worker(2).is_none(),
            "its worker is not listened to"
        );
        assert!(state.by_worker(1).is_some(), "a goes on with its worker");
        let document = state.document(&[], at(5), wall(5));
        let names: Vec<_> = document.secrets.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["c", "a"]);
        assert_eq!(document.secrets[1].state, "in_sync");
        assert_eq!(document.secrets[1].version, Some(4));
        assert_eq!(
            document.secrets[1].next_refresh.as_deref(),
            Some("2027-01-15T08:01:10.000Z")
        );
    }

    #[test]
    fn a_stalled_worker_shows_and_comes_back_as_it_was() {
        let mut state = state(&[("a", false)]);
        fold(&mut state, 1, &good(None), 1);
        let known = &mut state.secrets_mut()[0];
        let failure = stalled(&known.secret);
        assert!(known.stall(failure.clone()));
        assert!(!known.stall(failure), "told once");
        assert_eq!(known.stale(at(11)), Duration::from_secs(10));
        assert!(state.is_degraded());
        let document = state.document(&[], at(5), wall(5));
        assert_eq!(document.secrets[0].state, "stalled");
        assert_eq!(document.secrets[0].error_type.as_deref(), Some("stalled"));
        assert!(state.secrets_mut()[0].unstall());
        assert_eq!(state.secrets()[0].standing, Standing::InSync);
        assert_eq!(state.secrets()[0].stale(at(11)), Duration::ZERO);
    }

    #[test]
    fn staleness_counts_from_the_last_success_or_from_the_start() {
        let mut state = state(&[("a", false)]);
        fold(&mut state, 1, &bad(), 4);
        assert_eq!(state.secrets()[0].stale(at(10)), Duration::from_secs(10));
        fold(&mut state, 1, &good(None), 20);
        fold(&mut state, 1, &bad(), 30);
        assert_eq!(state.secrets()[0].stale(at(50)), Duration::from_secs(30));
        let known = &mut state.secrets_mut()[0];
        let told: Vec<_> = [50, 50, 51].map(|now| known.stale_news(at(now))).into();
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(told, [seconds(30), None, seconds(31)]);
    }
}
