//! The workers of the running plan: started, told, replaced, waited for.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::cycle::{Cycle, Preview};
use super::event::Post;
use super::pulse::Phase;
use super::schedule::Pacing;
use super::worker::{Policy, Worker, WorkerHandle};
use crate::clock::{Clock, Tick};
use crate::failure::{ErrorType, Failure, MORE_THREADS, Retry};
use crate::files::Proofs;
use crate::plan::{Daemon, Plan, Secret};
use crate::store::vault::longest_fetch;
use crate::store::{Store, Stores};

/// A cycle may take as long as its fetches legally take, and this for all else (rendering has 10 s), before it counts
/// as stalled. What is done on disk has its own time (`cycle`): a file system that hangs shows sooner.
const SLACK: Duration = Duration::from_secs(30);

/// Workers that are woken together spread over this time each, one second at most in all.
const SPLAY_EACH: Duration = Duration::from_millis(5);
const SPLAY_MOST: Duration = Duration::from_secs(1);

/// Leaving workers that do not write are waited for this long.
const LEAVE_TIME: Duration = Duration::from_millis(300);

/// Tokens are given back within this time at exit.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// All workers.
pub(super) struct Crew {
    clock: Arc<dyn Clock>,
    daemon: Arc<Daemon>,
    events: Post,
    next_id: u64,
    /// Of those that start now.
    proofs: Arc<Proofs>,
    working: HashMap<String, Member>,
    leaving: Leaving,
}

struct Member {
    handle: WorkerHandle,
    secret: Arc<Secret>,
}

impl Crew {
    /// Nobody yet.
    pub(super) fn new(clock: Arc<dyn Clock>, daemon: Arc<Daemon>, events: Post) -> Self {
        Self {
            clock,
            daemon,
            events,
            next_id: 1,
            proofs: Arc::default(),
            working: HashMap::new(),
            leaving: Leaving::default(),
        }
    }

    /// Whoever starts from now on shows its directories anew: who started before did so long ago.
    pub(super) fn forget_proofs(&mut self) {
        self.proofs = Arc::default();
    }

    /// Starts a worker for the secret; it waits for leaving ones that write the same files.
    ///
    /// # Errors
    ///
    /// When its thread, or the one that keeps its session, cannot be started: a failure of this secret, to be
    /// tried again.
    pub(super) fn start(
        &mut self,
        secret: &Arc<Secret>,
        plan: &Plan,
        stores: &Stores,
        policy: Policy,
        preview: Option<Preview>,
    ) -> Result<u64, Failure> {
        let id = self.next_id;
        self.next_id += 1;
        let stores = stores_of(secret, stores)?;
        for (source, store) in secret.sources.iter().zip(&stores) {
            let prepared = store.prepare(source);
            // Who has a time limit tries it again by itself, within that.
            if policy == Policy::Forever {
                prepared.map_err(|error| error.failure)?;
            }
        }
        let worker = Worker {
            id,
            cycle: Cycle::new(
                Arc::clone(secret),
                stores,
                Arc::clone(&self.proofs),
                preview,
            ),
            pacing: Pacing::new(secret.interval, &self.daemon),
            policy,
            budget: budget(secret, plan),
            splay: splay(plan.secrets.len()),
            after: self.leaving.in_the_way_of(secret),
            old_until: None,
            called: false,
            trace: None,
            clock: Arc::clone(&self.clock),
            events: self.events.clone(),
            told: None,
            stack: None,
        };
        let handle = worker.spawn().map_err(|error| {
            Failure::new(
                ErrorType::Panic,
                Retry::Backoff(None),
                format!("cannot start a thread for this secret: {error}"),
            )
            .with_remedy(MORE_THREADS)
        })?;
        self.working.insert(
            secret.name.clone(),
            Member {
                handle,
                secret: Arc::clone(secret),
            },
        );
        Ok(id)
    }

    /// Tells the secret's worker to stop.
    pub(super) fn stop(&mut self, name: &str) {
        if let Some(mut member) = self.working.remove(name) {
            member.handle.stop();
            self.leaving.add(member);
        }
    }

    /// Tells everybody to stop; no write begins after this.
    pub(super) fn stop_all(&mut self) {
        for (_, mut member) in self.working.drain() {
            member.handle.stop();
            self.leaving.add(member);
        }
    }

    /// Tells everybody to fetch now.
    pub(super) fn refresh_all(&self) {
        for member in self.working.values() {
            member.handle.refresh();
        }
    }

    /// Tells everybody to look at the clock.
    pub(super) fn look_all(&self) {
        for member in self.working.values() {
            member.handle.look();
        }
    }

    /// A worker's thread has ended; whether it had been told to.
    pub(super) fn ended(&mut self, id: u64) -> bool {
        let told = self.leaving.remove(id);
        if !told {
            self.working.retain(|_, member| member.handle.id != id);
        }
        told
    }

    /// Whether nobody is on the way out.
    pub(super) fn nobody_leaves(&self) -> bool {
        self.leaving.members.is_empty()
    }

    /// While leaving workers are to be waited for: when to look again. Those that write are given
    /// the daemon's shutdown time, less what is kept for tokens; others may be in a request that
    /// takes long, and are left alone after a moment.
    pub(super) fn leaves_until(&mut self, began: Tick, now: Tick) -> Option<Tick> {
        let moment = began + LEAVE_TIME;
        let most = self.daemon.shutdown_timeout;
        let longest = began + most.saturating_sub(close_time(most));
        // Each that ends has this asked again: it must not look at all of them each time.
        if self.nobody_leaves()
            || now >= longest
            || (now >= moment && !self.leaving.somebody_writes())
        {
            return None;
        }
        Some(if now < moment {
            moment.min(longest)
        } else {
            (now + LEAVE_TIME).min(longest)
        })
    }

    /// When what the secret's worker is at should end; `None` while it rests. What it begins from now on
    /// has [`DISK_TIME`](super::cycle::DISK_TIME) at least.
    pub(super) fn deadline(&self, name: &str) -> Option<Tick> {
        self.working.get(name)?.handle.pulse.deadline()
    }
}

/// Workers on the way out, found by what they may still write.
#[derive(Default)]
struct Leaving {
    members: HashMap<u64, Member>,
    /// One that was seen to write.
    writes: Option<u64>,
    by_name: HashMap<String, BTreeSet<u64>>,
    /// By each of their paths.
    at: HashMap<PathBuf, BTreeSet<u64>>,
    /// By the directories of their paths.
    within: HashMap<PathBuf, BTreeSet<u64>>,
}

impl Leaving {
    fn add(&mut self, member: Member) {
        let id = member.handle.id;
        let name = member.secret.name.clone();
        self.by_name.entry(name).or_default().insert(id);
        for path in paths(&member.secret) {
            self.at.entry(path.to_owned()).or_default().insert(id);
            if let Some(parent) = path.parent() {
                self.within.entry(parent.to_owned()).or_default().insert(id);
            }
        }
        self.members.insert(id, member);
    }

    /// Whether somebody writes: the one that did when it was last asked, or else any.
    fn somebody_writes(&mut self) -> bool {
        let writes = |member: &Member| member.handle.pulse.phase() == Phase::Writing;
        let known = self.writes.and_then(|id| self.members.get(&id));
        if !known.is_some_and(writes) {
            let found = self.members.iter().find(|(_, member)| writes(member));
            self.writes = found.map(|(id, _)| *id);
        }
        self.writes.is_some()
    }

    /// Whether it was there.
    fn remove(&mut self, id: u64) -> bool {
        let Some(member) = self.members.remove(&id) else {
            return false;
        };
        forget(&mut self.by_name, &member.secret.name, id);
        for path in paths(&member.secret) {
            forget(&mut self.at, path, id);
            if let Some(parent) = path.parent() {
                forget(&mut self.within, parent, id);
            }
        }
        true
    }

    /// Who has to be gone before a worker of this secret begins: who may write its files, or
    /// into its `dir`, or whose `dir` they lie in.
    fn in_the_way_of(&self, secret: &Secret) -> Vec<Receiver<Infallible>> {
        let mut ids = BTreeSet::new();
        ids.extend(self.by_name.get(&secret.name).into_iter().flatten());
        for path in paths(secret) {
            ids.extend(self.at.get(path).into_iter().flatten());
            ids.extend(self.within.get(path).into_iter().flatten());
            let parent = path.parent().and_then(|parent| self.at.get(parent));
            ids.extend(parent.into_iter().flatten());
        }
        ids.iter()
            .filter_map(|id| Some(self.members.get(id)?.handle.gone()))
            .collect()
    }
}

fn forget<K, Q>(index: &mut HashMap<K, BTreeSet<u64>>, key: &Q, id: u64)
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

fn paths(secret: &Secret) -> impl Iterator<Item = &Path> {
    secret
        .outputs
        .iter()
        .map(|output| output.target.path.as_path())
}

fn stores_of(secret: &Secret, stores: &Stores) -> Result<Vec<Arc<dyn Store>>, Failure> {
    secret
        .sources
        .iter()
        .map(|source| {
            let name = &source.session.store;
            stores.get(name).ok_or_else(|| {
                Failure::new(
                    ErrorType::Unavailable,
                    Retry::Settled,
                    format!("there is no store `{name}`"),
                )
            })
        })
        .collect()
}

fn budget(secret: &Secret, plan: &Plan) -> Duration {
    secret
        .sources
        .iter()
        .filter_map(|source| {
            let store = plan
                .stores
                .iter()
                .find(|store| store.name == source.session.store)?;
            Some(longest_fetch(store.timeout, plan.secrets.len()))
        })
        .sum::<Duration>()
        + SLACK
}

/// How much of the shutdown time is kept for giving tokens back.
#[must_use]
pub(super) fn close_time(shutdown: Duration) -> Duration {
    CLOSE_TIME.min(shutdown / 2)
}

pub(super) fn splay(workers: usize) -> Duration {
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    SPLAY_EACH.saturating_mul(workers).min(SPLAY_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::files::{Mode, Target, TargetPath};
    use crate::plan::{Interval, Layout, Output};
    use crate::render::{Content, Encoding};

    fn secret(name: &str, paths: &[&str]) -> Arc<Secret> {
        let output = |path: &&str| Output {
            target: Target {
                path: TargetPath::parse(path, Path::new("/")).unwrap(),
                is_dir: false,
                mode: Mode::PRIVATE,
                owner: None,
                group: None,
                in_place: false,
                allow_empty: false,
            },
            content: Content::EveryField(Encoding::None),
            template: None,
        };
        Arc::new(Secret {
            name: name.into(),
            sources: Vec::new(),
            interval: Interval::Once,
            optional: false,
            layout: Layout::Files,
            outputs: paths.iter().map(output).collect(),
            max_file_bytes: 1,
        })
    }

    /// A worker that waits for something that never comes.
    fn member(id: u64, secret: Arc<Secret>) -> Member {
        let clock = ManualClock::new();
        let handle = Worker {
            id,
            cycle: Cycle::new(Arc::clone(&secret), Vec::new(), Arc::default(), None),
            pacing: Pacing::new(
                secret.interval,
                &crate::config::daemon_settings(&crate::config::Environment::default()).unwrap(),
            ),
            policy: Policy::Forever,
            budget: Duration::from_secs(1),
            splay: Duration::ZERO,
            after: vec![crossbeam_channel::never()],
            old_until: None,
            called: false,
            trace: None,
            clock: Arc::new(clock),
            events: super::super::event::Mailbox::new().0,
            told: None,
            stack: None,
        }
        .spawn()
        .unwrap();
        Member { handle, secret }
    }

    #[test]
    fn a_new_worker_waits_for_those_that_may_write_where_it_writes() {
        let mut leaving = Leaving::default();
        leaving.add(member(1, secret("old", &["/s/a", "/s/b"])));
        leaving.add(member(2, secret("dir", &["/s/app"])));
        let waits = |leaving: &Leaving, name: &str, paths: &[&str]| {
            leaving.in_the_way_of(&secret(name, paths)).len()
        };
        assert_eq!(waits(&leaving, "new", &["/s/c"]), 0, "a neighbour");
        assert_eq!(waits(&leaving, "new", &["/s/a", "/s/b"]), 1);
        assert_eq!(waits(&leaving, "old", &["/t/x"]), 1, "the same secret");
        assert_eq!(waits(&leaving, "new", &["/s/app/key"]), 1, "into its `dir`");
        assert_eq!(waits(&leaving, "new", &["/s"]), 2, "a `dir` around it");
        assert!(leaving.remove(1) && !leaving.remove(1));
        assert_eq!(waits(&leaving, "old", &["/s/a"]), 0);
        assert!(leaving.remove(2));
        assert!(leaving.at.is_empty() && leaving.within.is_empty() && leaving.by_name.is_empty());
    }

    #[test]
    fn a_cycle_is_not_called_stalled_while_each_of_its_fetches_may_still_succeed() {
        let text = "secretStore: { address: 'http://127.0.0.1:1', authMethod: none, timeout: 30s }\n\
                    secrets: [{ name: a, sources: { x: { key: x }, y: { key: y } },\n\
                    files: [{ path: /s/a, field: x.v }] }]\n";
        let environment = crate::config::Environment::default();
        let plan = crate::plan::load_text(
            "c.yaml".as_ref(),
            text.to_owned(),
            &environment,
            crate::plan::Purpose::Run,
        )
        .unwrap();
        let fetch = longest_fetch(Duration::from_secs(30), 1);
        let budget = budget(&plan.secrets[0], &plan);
        assert!(budget >= fetch * 2 + SLACK, "{budget:?}");
    }

    #[test]
    fn giving_tokens_back_keeps_within_the_shutdown_time() {
        let secs = Duration::from_secs;
        assert_eq!(close_time(secs(30)), secs(1));
        assert_eq!(close_time(secs(1)), Duration::from_millis(500));
        assert_eq!(close_time(Duration::ZERO), Duration::ZERO);
    }
}
