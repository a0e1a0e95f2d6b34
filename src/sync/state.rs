//! What is known of every secret: events are folded in, the status document comes out. Pure: time
//! is handed in, nothing is logged here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

mod shown;
mod tally;

use shown::{stamp, store_entry};
use tally::Tally;

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
    /// All of them, counted; `None` where they may stand otherwise since then.
    tally: Option<Tally>,
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
            tally: None,
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
        self.tally = None;
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
        self.tally = None;
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
    #[must_use]
    pub(super) fn by_worker(&self, worker: u64) -> Option<&Known> {
        self.secrets.get(self.index_of(worker)?)
    }

    /// Folds in what that worker reported.
    pub(super) fn fold(&mut self, worker: u64, report: &Report, now: Tick, wall: SystemTime) {
        let index = self.workers.get(&worker);
        if let Some(known) = index.and_then(|index| self.secrets.get_mut(*index)) {
            let before = known.counts();
            known.fold(report, now, wall);
            if known.counts() != before {
                self.tally = None;
            }
        }
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

    fn fold(&mut self, report: &Report, now: Tick, wall: SystemTime) {
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
mod tests;
