//! All stores of the running plan: made, kept over a reload where equal, closed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::entrance::Entrance;
use super::vault::{Retired, Surroundings, VaultStore};
use super::{Store, StoreEvent, StoreStatus};
use crate::clock::{Clock, Woken, wait};
use crate::plan::{Daemon, Demand, Plan, SessionPlan, StorePlan};

/// How long the revocation of what a reload no longer needs may take; nobody waits for it.
const RETIRE_WITHIN: Duration = Duration::from_secs(5);

/// What a run may do with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The daemon and `--once`.
    Use,
    /// `--dry-run` and `doctor`: a wrapped secret ID is looked up, never unwrapped.
    Look,
}

/// The stores by name. Owned by the supervisor.
pub struct Stores {
    around: Surroundings,
    stores: BTreeMap<String, Open>,
    sessions: Vec<Arc<SessionPlan>>,
    /// Replaced by the last [`Stores::apply`], in use until [`Stores::retire`].
    going: Vec<Open>,
    replaced: Vec<Retired>,
}

struct Open {
    store: Arc<VaultStore>,
    entrance: Arc<Entrance>,
}

impl Stores {
    /// None yet.
    #[must_use]
    pub fn new(
        daemon: Arc<Daemon>,
        mode: Mode,
        clock: Arc<dyn Clock>,
        events: Sender<StoreEvent>,
    ) -> Self {
        Self {
            around: Surroundings {
                daemon,
                mode,
                clock,
                events,
                unwrapped: Arc::default(),
            },
            stores: BTreeMap::new(),
            sessions: Vec::new(),
            going: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Makes what the plan needs and keeps what is equal (its sessions, tokens, connections and
    /// breaker). What the plan no longer has lives until [`Stores::retire`], so that workers still
    /// running on it finish. Sessions log in when the first fetch asks for them.
    pub fn apply(&mut self, plan: &Plan) {
        let mut before = std::mem::take(&mut self.stores);
        for store in &plan.stores {
            let demand = plan.demand(&store.name);
            let open = match before.remove(&store.name) {
                Some(open) if open.store.plan() == store => {
                    open.entrance.demand(demand);
                    open
                }
                other => {
                    self.going.extend(other);
                    self.open(store, demand)
                }
            };
            self.replaced.extend(open.store.adopt(&plan.sessions));
            self.stores.insert(store.name.clone(), open);
        }
        self.going.extend(before.into_values());
        self.sessions.clone_from(&plan.sessions);
    }

    fn open(&self, plan: &Arc<StorePlan>, demand: Demand) -> Open {
        let around = self.around.clone();
        let entrance = Arc::new(Entrance::new(
            plan,
            &around.daemon,
            demand,
            Arc::clone(&around.clock),
            around.events.clone(),
        ));
        Open {
            store: Arc::new(VaultStore::new(Arc::clone(plan), &entrance, around)),
            entrance,
        }
    }

    /// Lets go of what the last applied plan does not use: stops its keepers, revokes its tokens.
    /// Does not wait for that.
    pub fn retire(&mut self) {
        let mut retired = std::mem::take(&mut self.replaced);
        for open in std::mem::take(&mut self.going) {
            open.entrance.close();
            retired.extend(open.store.retain(&[]));
        }
        for open in self.stores.values() {
            retired.extend(open.store.retain(&self.sessions));
        }
        revoke_all(retired, RETIRE_WITHIN);
    }

    /// The store of a source.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Store>> {
        let open = self.stores.get(name)?;
        Some(Arc::<VaultStore>::clone(&open.store))
    }

    /// The same with all that it can be asked: for `doctor`.
    pub(crate) fn vault(&self, name: &str) -> Option<Arc<VaultStore>> {
        self.stores.get(name).map(|open| Arc::clone(&open.store))
    }

    /// Credential and TLS files to follow. A directory among them (`tlsCAPath`) stands for the
    /// names and contents of its files.
    #[must_use]
    pub fn followed_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self
            .stores
            .values()
            .flat_map(|open| open.store.followed_files())
            .collect();
        files.sort();
        files.dedup();
        files
    }

    /// Tells sessions and agents that the content of these files changed.
    pub fn files_changed(&self, files: &[PathBuf]) {
        for open in self.stores.values() {
            open.store.files_changed(files);
        }
    }

    /// For status and metrics; never blocks on the network.
    #[must_use]
    pub fn status(&self) -> Vec<StoreStatus> {
        self.stores
            .iter()
            .map(|(name, open)| StoreStatus {
                name: name.clone(),
                breaker: open.entrance.state(),
                next_probe: open.entrance.next_probe(),
                waiting: open.entrance.waiting(),
                sessions: open.store.status(),
            })
            .collect()
    }

    /// Stops the keepers and revokes the tokens that a login made (unless leases in use hang on
    /// them), within the time given, in all.
    pub fn close(mut self, within: Duration) {
        self.going
            .extend(std::mem::take(&mut self.stores).into_values());
        let mut retired = std::mem::take(&mut self.replaced);
        for open in std::mem::take(&mut self.going) {
            open.entrance.close();
            retired.extend(open.store.retain(&[]));
        }
        let clock = Arc::clone(&self.around.clock);
        let until = clock.now() + within;
        // Closed when the last of them is done.
        let done = revoke_all(retired, within);
        while let Woken::Message(()) = wait(&*clock, &done, Some(until)) {}
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        // Without `close`, nothing is revoked, but no keeper goes on either.
        for open in self.stores.values().chain(&self.going) {
            open.entrance.close();
            for retired in open.store.retain(&[]) {
                drop(retired.close());
            }
        }
        for retired in std::mem::take(&mut self.replaced) {
            drop(retired.close());
        }
    }
}

/// Stops keepers and revokes their tokens, each session's on a thread of its own: one server that
/// hangs takes no time from another. The channel closes when all are done.
fn revoke_all(retired: Vec<Retired>, within: Duration) -> crossbeam_channel::Receiver<()> {
    let (done, all_done) = bounded(0);
    for revocation in retired.into_iter().filter_map(Retired::close) {
        let done: Sender<()> = done.clone();
        // Without a thread the token ends by itself.
        let _ = std::thread::Builder::new()
            .name("revocation".into())
            .stack_size(256 * 1024)
            .spawn(move || {
                revocation.carry_out(within);
                drop(done);
            });
    }
    all_done
}
