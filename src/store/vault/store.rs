//! One Vault or OpenBao server as a [`Store`]: reads, each with a session's token.

mod ask;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::answer::{Meaning, Operation};
use super::client::Client;
use super::explain::Asked;
use super::keeper::{self, Tools, revoke};
use super::kv;
use super::session::{Refusal, Session, patience};
use super::teller::Teller;
use super::token::Token;
use super::unwrapped::Unwrapped;
use super::wire::{Call, Method, Reply, Wire, number_of};
use crate::clock::{Clock, Stop};
use crate::failure::{ErrorType, Retry};
use crate::plan::{Daemon, SessionKey, SessionPlan, Source, StorePlan};
use crate::store::breaker::Found;
use crate::store::entrance::Entrance;
use crate::store::limiter::turn;
use crate::store::{Fetched, Mode, SessionStatus, Store, StoreError, StoreEvent};

/// What stores share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) mode: Mode,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Sender<StoreEvent>,
    pub(crate) unwrapped: Arc<Unwrapped>,
}

/// One server, with its sessions.
pub(crate) struct VaultStore {
    plan: Arc<StorePlan>,
    around: Surroundings,
    client: Arc<Client>,
    wire: Arc<dyn Wire>,
    sessions: Mutex<HashMap<SessionKey, Entry>>,
}

#[derive(Clone)]
struct Entry {
    session: Arc<Session>,
    tools: Tools,
}

impl VaultStore {
    pub(crate) fn new(
        plan: Arc<StorePlan>,
        entrance: &Arc<Entrance>,
        around: Surroundings,
    ) -> Self {
        let client = Arc::new(Client::new(
            Arc::clone(&plan),
            &around.daemon,
            Arc::clone(&around.clock),
            Arc::clone(entrance),
            around.events.clone(),
        ));
        let prober = Arc::downgrade(&client);
        entrance.probe_with(Box::new(move || match prober.upgrade() {
            Some(client) => client.health(),
            None => (Found::NoAnswer, "the store is closed".to_owned()),
        }));
        let wire: Arc<dyn Wire> = Arc::<Client>::clone(&client);
        Self {
            plan,
            around,
            client,
            wire,
            sessions: Mutex::default(),
        }
    }

    /// The plan it was made from.
    pub(crate) fn plan(&self) -> &Arc<StorePlan> {
        &self.plan
    }

    /// Makes the sessions that are new and replaces those that differ; equal ones stay. What the
    /// plan no longer has stays too, until [`VaultStore::retain`]. The sessions that were replaced:
    /// workers go on with them until they end.
    pub(crate) fn adopt(&self, plans: &[Arc<SessionPlan>]) -> Vec<Retired> {
        let mut replaced = Vec::new();
        let mut sessions = self.sessions();
        for plan in plans.iter().filter(|plan| plan.key.store == self.plan.name) {
            match sessions.get(&plan.key) {
                Some(entry) if entry.session.plan == *plan => {}
                _ => {
                    let old = sessions.insert(plan.key.clone(), self.entry(plan));
                    replaced.extend(old.map(|old| self.retired(old)));
                }
            }
        }
        replaced
    }

    fn entry(&self, plan: &Arc<SessionPlan>) -> Entry {
        let around = self.around.clone();
        Entry {
            session: Arc::new(Session::new(
                Arc::clone(plan),
                Arc::clone(&around.clock),
                self.plan.timeout,
            )),
            tools: Tools {
                teller: Teller::new(plan, around.events),
                daemon: around.daemon,
                mode: around.mode,
                wire: Arc::clone(&self.wire),
                clock: around.clock,
                unwrapped: around.unwrapped,
            },
        }
    }

    /// Takes out the sessions that these plans do not have.
    pub(crate) fn retain(&self, plans: &[Arc<SessionPlan>]) -> Vec<Retired> {
        let kept: HashSet<&SessionKey> = plans.iter().map(|plan| &plan.key).collect();
        let mut sessions = self.sessions();
        let gone: Vec<SessionKey> = sessions
            .keys()
            .filter(|key| !kept.contains(key))
            .cloned()
            .collect();
        gone.iter()
            .filter_map(|key| sessions.remove(key))
            .map(|entry| self.retired(entry))
            .collect()
    }

    fn retired(&self, entry: Entry) -> Retired {
        Retired {
            session: entry.session,
            wire: Arc::clone(&self.wire),
        }
    }

    /// The files whose content matters to this store.
    pub(crate) fn followed_files(&self) -> Vec<PathBuf> {
        let mut files = self.plan.tls.files();
        for entry in self.sessions().values() {
            files.extend(entry.session.plan.files());
        }
        files
    }

    /// The content of these files has changed.
    pub(crate) fn files_changed(&self, changed: &[PathBuf]) {
        let hit = |file: &PathBuf| changed.iter().any(|changed| changed.starts_with(file));
        let trust = self.plan.tls.files().iter().any(hit);
        let entries: Vec<Entry> = self.sessions().values().cloned().collect();
        let client = |entry: &Entry| {
            let tls = entry.session.plan.client.as_ref();
            tls.is_some_and(|tls| hit(&tls.cert) || hit(&tls.key))
        };
        if trust || entries.iter().any(client) {
            self.client.files_changed();
        }
        for entry in &entries {
            if trust || entry.session.plan.files().iter().any(hit) {
                entry.session.files_changed();
            }
        }
    }

    pub(crate) fn status(&self) -> Vec<SessionStatus> {
        let mut all: Vec<SessionStatus> = self
            .sessions()
            .values()
            .map(|entry| entry.session.status())
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    fn session(&self, key: &SessionKey) -> Result<Entry, StoreError> {
        self.sessions().get(key).cloned().ok_or_else(|| {
            StoreError::new(
                ErrorType::Auth,
                Retry::Settled,
                format!("the plan has no credentials `{}`", key.credentials),
            )
        })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionKey, Entry>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked<'a>(&'a self, source: &'a Source, token: &'a Token) -> Asked<'a> {
        let kind = if source.metadata { "metadata of " } else { "" };
        Asked {
            address: self.wire.address(),
            operation: Operation::Read,
            what: format!("read of {kind}`{}/{}`", source.mount, source.key),
            namespace: &source.namespace,
            source: Some(source),
            sent: token.value.iter().collect(),
        }
    }

    fn read(
        &self,
        source: &Source,
        session: &Session,
        token: &Token,
        stop: &Stop,
    ) -> Result<Reply, StoreError> {
        self.wire.send(
            &Call {
                operation: Operation::Read,
                who: who(source),
                method: Method::Get,
                path: &kv::request_path(source),
                namespace: &source.namespace,
                token: token.value.as_ref(),
                body: None,
                client: session.plan.client.as_ref(),
            },
            stop,
        )
    }
}

impl Store for VaultStore {
    fn prepare(&self, source: &Source) -> Result<(), StoreError> {
        let Entry { session, tools } = self.session(&source.session)?;
        session.prepare(|| keeper::start(&session, &tools))
    }

    fn fetch(&self, source: &Source, stop: &Stop) -> Result<Fetched, StoreError> {
        let back = self.wire.back();
        self.fetched(source, stop)
            .map_err(|error| error.with_back(back))
    }
}

impl VaultStore {
    fn fetched(&self, source: &Source, stop: &Stop) -> Result<Fetched, StoreError> {
        let Entry { session, tools } = self.session(&source.session)?;
        let mut token = session.token(|| keeper::start(&session, &tools), stop)?;
        let mut reply = self.read(source, &session, &token, stop)?;
        let refusal = match reply.meaning {
            Meaning::TokenDead => Some(Refusal::Dead),
            Meaning::Policy => Some(Refusal::Policy),
            _ => None,
        };
        if let Some(refusal) = refusal {
            // Once, with another token, if there is one.
            if let Some(other) = session.refused(&token, refusal, stop)? {
                token = other;
                reply = self.read(source, &session, &token, stop)?;
            }
        }
        let asked = self.asked(source, &token);
        let fetched = if reply.meaning == Meaning::Good {
            kv::fetched(source, reply.body.expose())
                .map_err(|error| asked.garbage(&error.why).with_remedy(error.remedy))
        } else {
            Err(asked.refused(&reply))
        };
        reply.span.judge(&fetched, |error| &error.failure);
        let fetched = fetched?;
        token.has_read(fetched.leased);
        Ok(fetched)
    }
}

/// The longest that one fetch may legally take with this time-out, when so many workers run: a wait for a token, the
/// read, and, where that finds the token dead, a wait for what the keeper makes of it, and the read again.
#[must_use]
pub fn longest_fetch(timeout: Duration, workers: usize) -> Duration {
    // A place among those in flight, and the answer.
    let request = turn(workers) + timeout * 2;
    (patience(timeout) + request) * 2
}

/// A session that the plan no longer has.
pub(crate) struct Retired {
    session: Arc<Session>,
    wire: Arc<dyn Wire>,
}

impl Retired {
    /// Stops its keeper; what is then left to revoke.
    pub(crate) fn close(self) -> Option<Revocation> {
        let tokens = self.session.close();
        (!tokens.is_empty()).then_some(Revocation {
            retired: self,
            tokens,
        })
    }
}

/// Tokens of one session that are ours to revoke.
pub(crate) struct Revocation {
    retired: Retired,
    tokens: Vec<Arc<Token>>,
}

impl Revocation {
    /// Revokes them, each once.
    pub(crate) fn carry_out(self, within: Duration) {
        for token in &self.tokens {
            revoke(&*self.retired.wire, &self.retired.session, token, within);
        }
    }
}

/// The same for the same read.
fn who(source: &Source) -> u64 {
    let kind = (source.version, source.metadata);
    number_of(&(
        &source.session,
        &source.namespace,
        &source.mount,
        &source.key,
        kind,
    ))
}
