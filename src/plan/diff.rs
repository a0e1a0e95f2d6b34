//! What a reload changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::model::{Plan, Secret, SessionKey, SessionPlan, StorePlan};

/// The secrets of two plans, by name; each list is in the order of the plan that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Diff {
    /// Only in the new plan.
    pub added: Vec<String>,
    /// Only in the old plan.
    pub removed: Vec<String>,
    /// In both, but something that its worker goes by is different.
    pub changed: Vec<String>,
    /// In both, and all the same: its worker need not notice.
    pub unchanged: Vec<String>,
}

/// Compares two plans by the effective configuration of each secret: its own, that of the stores
/// it reads from, and that of the sessions it uses.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> Diff {
    let before = Index::of(old);
    let after = Index::of(new);
    let mut diff = Diff::default();
    for secret in &new.secrets {
        let name = secret.name.clone();
        match before.secrets.get(name.as_str()) {
            None => diff.added.push(name),
            Some(earlier) if before.effective(earlier) == after.effective(secret) => {
                diff.unchanged.push(name);
            }
            Some(_) => diff.changed.push(name),
        }
    }
    diff.removed = old
        .secrets
        .iter()
        .filter(|secret| !after.secrets.contains_key(secret.name.as_str()))
        .map(|secret| secret.name.clone())
        .collect();
    diff
}

struct Index<'p> {
    secrets: HashMap<&'p str, &'p Secret>,
    stores: HashMap<&'p str, &'p Arc<StorePlan>>,
    sessions: HashMap<&'p SessionKey, &'p Arc<SessionPlan>>,
}

impl<'p> Index<'p> {
    fn of(plan: &'p Plan) -> Self {
        Self {
            secrets: plan
                .secrets
                .iter()
                .map(|secret| (secret.name.as_str(), secret.as_ref()))
                .collect(),
            stores: plan
                .stores
                .iter()
                .map(|store| (store.name.as_str(), store))
                .collect(),
            sessions: plan
                .sessions
                .iter()
                .map(|session| (&session.key, session))
                .collect(),
        }
    }

    #[allow(clippy::type_complexity)] // used in one comparison
    fn effective<'s>(
        &self,
        secret: &'s Secret,
    ) -> (
        &'s Secret,
        Vec<Option<&'p Arc<StorePlan>>>,
        Vec<Option<&'p Arc<SessionPlan>>>,
    ) {
        let keys: BTreeSet<&SessionKey> = secret
            .sources
            .iter()
            .map(|source| &source.session)
            .collect();
        (
            secret,
            keys.iter()
                .map(|key| self.stores.get(key.store.as_str()).copied())
                .collect(),
            keys.iter()
                .map(|key| self.sessions.get(*key).copied())
                .collect(),
        )
    }
}
