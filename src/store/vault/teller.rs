//! What a session tells the supervisor, each thing once.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;

use super::token::Facts;
use crate::failure::{ErrorType, Failure};
use crate::plan::{SessionKey, SessionPlan};
use crate::store::StoreEvent;

/// As many notices are remembered, not to be told again.
const MOST_NOTICES: usize = 50;

/// Sends the events of one session. Clones share what was told.
#[derive(Clone)]
pub(super) struct Teller {
    session: SessionKey,
    method: &'static str,
    events: Sender<StoreEvent>,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    failure: Option<(ErrorType, String)>,
    notices: Vec<String>,
}

impl Teller {
    pub(super) fn new(plan: &SessionPlan, events: Sender<StoreEvent>) -> Self {
        Self {
            session: plan.key.clone(),
            method: plan.auth.method(),
            events,
            told: Arc::default(),
        }
    }

    /// A new token is in use.
    pub(super) fn logged_in(&self, facts: &Facts) {
        self.tell(StoreEvent::LoggedIn {
            session: self.session.clone(),
            method: self.method,
            ttl_secs: facts.ttl.map_or(0, |ttl| ttl.as_secs()),
            renewable: facts.renewable,
            accessor: facts.accessor.clone(),
            uses: facts.uses,
        });
    }

    /// A failure: told when it is the first of a row or for another reason than the last.
    pub(super) fn failed(&self, failure: &Failure) {
        let reason = (failure.error_type, failure.message.clone());
        let mut told = self.told();
        if told.failure.as_ref() == Some(&reason) {
            return;
        }
        told.failure = Some(reason);
        drop(told);
        self.tell(StoreEvent::SessionFailed {
            session: self.session.clone(),
            failure: failure.clone(),
        });
    }

    /// A success: the next failure is the first of a row.
    pub(super) fn recovered(&self) {
        self.told().failure = None;
    }

    /// Something to know, once in the life of the session.
    pub(super) fn notice(&self, message: String, warning: bool) {
        let mut told = self.told();
        if told.notices.contains(&message) {
            return;
        }
        // A server whose words differ each time must not fill the memory with them.
        if told.notices.len() >= MOST_NOTICES {
            told.notices.remove(0);
        }
        told.notices.push(message.clone());
        drop(told);
        self.tell(StoreEvent::SessionNotice {
            session: self.session.clone(),
            message,
            warning,
        });
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: StoreEvent) {
        // Nobody listens any more when the daemon ends.
        let _ = self.events.send(event);
    }
}
