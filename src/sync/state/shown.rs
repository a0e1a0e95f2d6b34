//! The state as the status document and the details show it: words and times for people.

use std::time::{Duration, SystemTime};

use super::super::event::Report;
use super::super::schedule::Reason;
use super::Known;
use super::Standing;
use crate::clock::Tick;
use crate::config::show_duration;
use crate::observe::details::Attempt;
use crate::observe::view::end_of_calendar;
use crate::observe::{SecretEntry, SessionEntry, StoreEntry};
use crate::plan::Interval;
use crate::store::{BreakerState, SessionStatus, StoreStatus};

impl Known {
    fn next_reason(&self, stores: &[StoreStatus]) -> Option<&'static str> {
        Some(self.reason?.word(self.is_away(stores)))
    }

    /// Whether a store of it is not to be asked now.
    fn is_away(&self, stores: &[StoreStatus]) -> bool {
        stores.iter().any(|store| {
            store.breaker != BreakerState::Closed
                && self
                    .secret
                    .sources
                    .iter()
                    .any(|source| source.session.store == store.name)
        })
    }

    /// The attempt that a report tells of.
    pub(in crate::sync) fn attempt(
        &self,
        report: &Report,
        stores: &[StoreStatus],
        now: Tick,
        wall: SystemTime,
    ) -> Option<Attempt> {
        let wait = |next: &Option<Tick>| next.map(|next| millis(next.since(now)));
        let word = |reason: &Reason| reason.word(self.is_away(stores)).to_owned();
        let at_ms = millis(
            wall.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        );
        match report {
            Report::Synced {
                version,
                written,
                took,
                next,
                reason,
                ..
            } => Some(Attempt {
                at_ms,
                took_ms: millis(*took),
                version: *version,
                written: written.len(),
                wait_ms: wait(next),
                reason: word(reason),
                ..Attempt::default()
            }),
            Report::Failed {
                failure,
                took,
                next,
                reason,
                ..
            } => Some(Attempt {
                at_ms,
                took_ms: millis(*took),
                error_type: Some(failure.error_type.to_string()),
                error: Some(failure.message.clone()),
                wait_ms: wait(next),
                reason: word(reason),
                ..Attempt::default()
            }),
            Report::Ended => None,
        }
    }

    pub(super) fn entry(&self, stores: &[StoreStatus], now: Tick, wall: SystemTime) -> SecretEntry {
        SecretEntry {
            name: self.secret.name.clone(),
            store: self.labels.store.clone(),
            state: match self.standing {
                Standing::Pending => "pending",
                Standing::InSync => "in_sync",
                Standing::Failed => "failed",
                Standing::Stalled => "stalled",
            }
            .into(),
            version: self.version,
            last_success: self.last_success.map(|(_, wall)| stamp(wall)),
            next_refresh: self.next.map(|next| stamp(wall + next.since(now))),
            next_reason: self.next_reason(stores).map(str::to_owned),
            interval: match self.secret.interval {
                Interval::Every(interval) => show_duration(interval),
                Interval::Once => "once".into(),
            },
            attempt: self.attempt,
            last_write: self.last_write.map(stamp),
            lease_expires: self.expires.and_then(|end| moment(end, now, wall)),
            error_type: self
                .failure
                .as_ref()
                .map(|failure| failure.error_type.to_string()),
            error: self.failure.as_ref().map(|failure| failure.message.clone()),
            remedy: self
                .failure
                .as_ref()
                .and_then(|failure| failure.remedy.clone()),
            optional: self.secret.optional,
        }
    }
}

pub(super) fn store_entry(store: &StoreStatus, now: Tick, wall: SystemTime) -> StoreEntry {
    StoreEntry {
        name: store.name.clone(),
        breaker: match store.breaker {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half_open",
            BreakerState::Open => "open",
        }
        .into(),
        error: store
            .sessions
            .iter()
            .find_map(|session| session.failure.as_ref())
            .map(|failure| failure.message.clone()),
        next_probe: store.next_probe.and_then(|probe| moment(probe, now, wall)),
        waiting: store.waiting,
        sessions: store
            .sessions
            .iter()
            .map(|session| session_entry(session, now, wall))
            .collect(),
    }
}

fn session_entry(session: &SessionStatus, now: Tick, wall: SystemTime) -> SessionEntry {
    SessionEntry {
        credentials: session.key.credentials.clone(),
        namespace: session.key.namespace.clone(),
        method: session.method.into(),
        has_token: session.has_token,
        expires: session.expires.and_then(|end| moment(end, now, wall)),
        renewable: session.renewable,
        accessor: session.accessor.clone(),
        policies: session.policies.clone(),
        next: session.next.and_then(|next| moment(next, now, wall)),
        error: session
            .failure
            .as_ref()
            .map(|failure| failure.message.clone()),
    }
}

/// When that is; what has passed is now. A server may say any number: beyond the calendar is never.
fn moment(then: Tick, now: Tick, wall: SystemTime) -> Option<String> {
    wall.checked_add(then.since(now))
        .filter(|then| *then < end_of_calendar())
        .map(stamp)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339, UTC, to the millisecond.
pub(super) fn stamp(wall: SystemTime) -> String {
    humantime::format_rfc3339_millis(wall).to_string()
}
