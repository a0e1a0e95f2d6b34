//! The workers of the running plan: started, told, replaced, waited for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::cycle::{Cycle, Preview};
use super::event::Event;
use super::pulse::{Phase, Pulse};
use super::schedule::Pacing;
use super::worker::{Policy, Worker, WorkerHandle};
use crate::clock::{Clock, Tick};
use crate::failure::{ErrorType, Failure, Retry};
use crate::files::TargetPath;
use crate::plan::{Daemon, Plan, Secret};
use crate::store::{Store, Stores};

/// A cycle may take three times the time-outs of its reads, and this, before it counts as stalled.
const SLACK: Duration = Duration::from_secs(10);

/// Workers that are woken together spread over this time each, one second at most in all.
const SPLAY_EACH: Duration = Duration::from_millis(10);
const SPLAY_MOST: Duration = Duration::from_secs(1);

/// Leaving workers that do not write are waited for this long.
const LEAVE_TIME: Duration = Duration::from_millis(300);

/// All workers.
pub(super) struct Crew {
    clock: Arc<dyn Clock>,
    daemon: Arc<Daemon>,
    events: Sender<Event>,
    next_id: u64,
    working: HashMap<String, Member>,
    leaving: Vec<Member>,
}

struct Member {
    handle: WorkerHandle,
    secret: Arc<Secret>,
}

impl Crew {
    /// Nobody yet.
    pub(super) fn new(clock: Arc<dyn Clock>, daemon: Arc<Daemon>, events: Sender<Event>) -> Self {
        Self {
            clock,
            daemon,
            events,
            next_id: 1,
            working: HashMap::new(),
            leaving: Vec::new(),
        }
    }

    /// Starts a worker for the secret; it waits for leaving ones that write the same files.
    ///
    /// # Errors
    ///
    /// When its thread cannot be started: a failure of this secret, to be tried again.
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
        let worker = Worker {
            id,
            cycle: Cycle::new(Arc::clone(secret), stores_of(secret, stores)?, preview),
            pacing: Pacing::new(secret.interval, &self.daemon),
            policy,
            budget: budget(secret, plan),
            splay: splay(plan.secrets.len()),
            after: self.predecessors(secret),
            clock: Arc::clone(&self.clock),
            events: self.events.clone(),
        };
        let handle = worker.spawn().map_err(|error| Failure {
            error_type: ErrorType::Panic,
            message: format!("cannot start a thread for this secret: {error}"),
            remedy: Some("raise the limit on threads (`TasksMax=`, `--pids-limit`)".into()),
            retry: Retry::Backoff(None),
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
            self.leaving.push(member);
        }
    }

    /// Tells everybody to stop; no write begins after this.
    pub(super) fn stop_all(&mut self) {
        for (_, mut member) in self.working.drain() {
            member.handle.stop();
            self.leaving.push(member);
        }
    }

    /// Tells everybody to fetch now.
    pub(super) fn refresh_all(&self) {
        for member in self.working.values() {
            member.handle.refresh();
        }
    }

    /// A worker's thread has ended.
    pub(super) fn ended(&mut self, id: u64) {
        self.leaving.retain(|member| member.handle.id != id);
        self.working.retain(|_, member| member.handle.id != id);
    }

    /// Whether nobody is on the way out.
    pub(super) fn nobody_leaves(&self) -> bool {
        self.leaving.is_empty()
    }

    /// While leaving workers are to be waited for: when to look again. Those that write are given
    /// the daemon's shutdown time; others may be in a request that takes long, and are left alone
    /// after a moment.
    pub(super) fn leaves_until(&self, began: Tick, now: Tick) -> Option<Tick> {
        let moment = began + LEAVE_TIME;
        let longest = began + self.daemon.shutdown_timeout;
        let somebody_writes = self
            .leaving
            .iter()
            .any(|member| member.handle.pulse.phase() == Phase::Writing);
        if self.leaving.is_empty() || now >= longest || (now >= moment && !somebody_writes) {
            return None;
        }
        Some(if now < moment {
            moment.min(longest)
        } else {
            (now + LEAVE_TIME).min(longest)
        })
    }

    /// What the secret's worker is doing.
    pub(super) fn pulse(&self, name: &str) -> Option<&Pulse> {
        self.working.get(name).map(|member| &*member.handle.pulse)
    }

    /// Whether the secret's worker is past its deadline.
    pub(super) fn is_late(&self, name: &str, now: Tick) -> bool {
        self.pulse(name).is_some_and(|pulse| pulse.is_late(now))
    }

    fn predecessors(&self, secret: &Secret) -> Vec<Receiver<Infallible>> {
        self.leaving
            .iter()
            .filter(|member| {
                member.secret.name == secret.name
                    || paths(&member.secret).any(|old| paths(secret).any(|new| old == new))
            })
            .map(|member| member.handle.gone())
            .collect()
    }
}

fn paths(secret: &Secret) -> impl Iterator<Item = &TargetPath> {
    secret.outputs.iter().map(|output| &output.target.path)
}

fn stores_of(secret: &Secret, stores: &Stores) -> Result<Vec<Arc<dyn Store>>, Failure> {
    secret
        .sources
        .iter()
        .map(|source| {
            let name = &source.session.store;
            stores.get(name).ok_or_else(|| Failure {
                error_type: ErrorType::Unavailable,
                message: format!("there is no store `{name}`"),
                remedy: None,
                retry: Retry::Settled,
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
            Some(store.timeout * 3)
        })
        .sum::<Duration>()
        + SLACK
}

fn splay(workers: usize) -> Duration {
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    SPLAY_EACH.saturating_mul(workers).min(SPLAY_MOST)
}
