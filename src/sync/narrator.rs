//! Tells the log what happened: a line when a state changes, then at most one in five minutes
//! with a count, and one at its end.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use log::{debug, error, info, warn};

use super::crowd::Crowd;
use super::event::Report;
use super::state::Known;
use crate::clock::Tick;
use crate::failure::{ErrorType, Failure, Retry};
use crate::observe::quiet::Quiet;
use crate::plan::{Notice, Plan, SessionKey, whole};
use crate::store::{BreakerState, StoreEvent};

/// What is being repeated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Secret(String),
    Warning(String, String),
    Store(String),
    Session(SessionKey),
    Notice(SessionKey, String),
}

/// What is said of many secrets at once, besides the classes of failures.
const WARNING: &str = "warning";
const CURRENT_AGAIN: &str = "the secret is current again";
const RIGHT: &str = "the files are right as they are";

/// As many paths are named in a line.
const MOST_PATHS: usize = 50;

/// Keeps count of what was said.
#[derive(Debug)]
pub(super) struct Narrator {
    quiet: Quiet<Subject>,
    crowd: Crowd,
}

impl Narrator {
    /// For a plan; nothing told yet.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut narrator = Self {
            quiet: Quiet::new(),
            crowd: Crowd::default(),
        };
        narrator.make_room(plan);
        narrator
    }

    /// What a worker reported; `known` as it was before the report is folded in.
    pub(super) fn report(&mut self, known: &Known, report: &Report, now: Tick) {
        match report {
            Report::Synced { .. } => self.synced(known, report, now),
            Report::Failed {
                failure,
                attempt,
                next,
                ..
            } => self.failed(known, failure, *attempt, *next, now),
            Report::Ended => {}
        }
    }

    fn synced(&mut self, known: &Known, report: &Report, now: Tick) {
        let Report::Synced {
            version,
            written,
            unchanged,
            took,
            warnings,
            preview,
            ..
        } = report
        else {
            return;
        };
        let secret = &*known.labels.secret;
        let store = &*known.labels.store;
        let duration_ms = millis(*took);
        for warning in warnings {
            let subject = Subject::Warning(secret.to_owned(), warning.clone());
            if self.quiet.note(subject, warning, now).is_some()
                && self
                    .crowd
                    .admits(store, WARNING, log::Level::Warn, secret, now)
            {
                warn!(target: "sync", secret, store; "{warning}");
            }
        }
        if let Some(ended) = self.quiet.clear(&Subject::Secret(secret.to_owned()), now)
            && self
                .crowd
                .admits(store, CURRENT_AGAIN, log::Level::Info, secret, now)
        {
            info!(target: "sync", secret, store, failed_ms = millis(ended.after), failures = ended.repeated;
                "{CURRENT_AGAIN}");
        }
        let version = *version;
        if preview.is_some() {
            return;
        }
        if written.is_empty() {
            if known.last_success.is_none() {
                if !self
                    .crowd
                    .admits(store, RIGHT, log::Level::Info, secret, now)
                {
                    return;
                }
                info!(target: "sync", secret, store, version, duration_ms, unchanged;
                    "{RIGHT}");
            } else {
                debug!(target: "sync", secret, store, version, duration_ms, unchanged; "unchanged");
            }
            return;
        }
        info!(target: "sync", secret, store, version, duration_ms, path = listed(written);
            "written");
    }

    /// A failure of a secret, a worker's or its thread's.
    pub(super) fn failed(
        &mut self,
        known: &Known,
        failure: &Failure,
        attempt: u32,
        next: Option<Tick>,
        now: Tick,
    ) {
        let secret = &*known.labels.secret;
        let Some(line) = self
            .quiet
            .note(Subject::Secret(secret.to_owned()), &state(failure), now)
        else {
            return;
        };
        let level = match failure.retry {
            Retry::Backoff(_) => log::Level::Warn,
            Retry::Settled => log::Level::Error,
        };
        if !self.crowd.admits(
            &known.labels.store,
            failure.error_type.as_str(),
            level,
            secret,
            now,
        ) {
            return;
        }
        log::log!(target: "sync", level,
            secret, store = *known.labels.store, path = *known.labels.vault_path,
            error = *failure.message, error_type = failure.error_type.as_str(), attempt,
            next_retry_ms = next.map(|next| millis(next.since(now))),
            repeated = more_than_none(line.repeated),
            remedy = failure.remedy.as_deref();
            "{}", what_it_means(failure));
    }

    /// Tells how many lines were left out, once it is known (`None`: there will be no more).
    pub(super) fn turn(&mut self, now: Option<Tick>) {
        for others in self.crowd.over(now) {
            let what = others.alike.what;
            let is_class = ErrorType::ALL.iter().any(|class| class.as_str() == what);
            log::log!(target: "sync", others.level, store = *others.alike.store,
                error_type = is_class.then_some(what), left_out = others.lines, named = *others.named;
                "{} more lines were left out (`{what}`): `secrets-sync status` has every secret", others.lines);
        }
    }

    /// A worker that had stalled goes on.
    pub(super) fn goes_on(&self, known: &Known) {
        info!(target: "sync", secret = *known.labels.secret; "the stalled worker goes on");
    }

    /// What a store told.
    pub(super) fn store(&mut self, event: &StoreEvent, now: Tick) {
        match event {
            StoreEvent::LoggedIn {
                session,
                method,
                ttl_secs,
                renewable,
                accessor,
                uses: _,
            } => {
                self.quiet.clear(&Subject::Session(session.clone()), now);
                info!(target: "store", store = *session.store, credentials = *session.credentials,
                    namespace = some(&session.namespace), method, ttl_secs, renewable, accessor = some(accessor);
                    "the session has a token");
            }
            StoreEvent::SessionFailed { session, failure } => {
                let subject = Subject::Session(session.clone());
                if let Some(line) = self.quiet.note(subject, &state(failure), now) {
                    error!(target: "store", store = *session.store, credentials = *session.credentials,
                        namespace = some(&session.namespace), error = *failure.message,
                        error_type = failure.error_type.as_str(), repeated = more_than_none(line.repeated),
                        remedy = failure.remedy.as_deref();
                        "the session has trouble");
                }
            }
            StoreEvent::SessionNotice {
                session,
                message,
                warning,
            } => {
                let subject = Subject::Notice(session.clone(), message.clone());
                if self.quiet.note(subject, message, now).is_some() {
                    log::log!(target: "store", level(*warning), store = *session.store,
                        credentials = *session.credentials; "{message}");
                }
            }
            StoreEvent::Breaker {
                store,
                state,
                reason,
            } => self.breaker(store, *state, reason, now),
            StoreEvent::Tls {
                store,
                message,
                warning,
            } => log::log!(target: "store", level(*warning), store = **store; "{message}"),
        }
    }

    /// A breaker that opens and closes in turn says so no more often than a failure that stays.
    fn breaker(&mut self, store: &str, state: BreakerState, reason: &str, now: Tick) {
        let subject = Subject::Store(store.to_owned());
        if state == BreakerState::Closed {
            let away_ms = self
                .quiet
                .clear(&subject, now)
                .map(|ended| millis(ended.after));
            info!(target: "store", store, away_ms; "the store is back: {reason}");
            return;
        }
        let is_open = state == BreakerState::Open;
        let text = if is_open { reason } else { "" };
        let Some(line) = self.quiet.note(subject, text, now) else {
            return;
        };
        let repeated = more_than_none(line.repeated);
        if is_open {
            warn!(target: "store", store, repeated;
                "the store is away, one probe asks for it: {reason}");
        } else {
            info!(target: "store", store, repeated; "the store is being tried: {reason}");
        }
    }

    /// Each secret of the plan may fail, and may have a warning, and each is told of once.
    fn make_room(&mut self, plan: &Plan) {
        self.quiet.make_room(3 * plan.secrets.len());
    }

    /// Forgets what the plan no longer has.
    pub(super) fn retain(&mut self, plan: &Plan) {
        let secrets: HashSet<&str> = plan.secrets.iter().map(|secret| &*secret.name).collect();
        let sessions: HashSet<&SessionKey> =
            plan.sessions.iter().map(|session| &session.key).collect();
        self.make_room(plan);
        self.quiet.retain(|subject| match subject {
            Subject::Secret(name) | Subject::Warning(name, _) => secrets.contains(&**name),
            Subject::Store(name) => plan.stores.iter().any(|store| store.name == *name),
            Subject::Session(key) | Subject::Notice(key, _) => sessions.contains(key),
        });
    }
}

/// Paths for a line, which stays one that people read.
fn listed(paths: &[PathBuf]) -> String {
    let shown = paths.iter().take(MOST_PATHS);
    let mut shown: Vec<_> = shown.map(|path| path.display().to_string()).collect();
    if let Some(more @ 1..) = paths.len().checked_sub(MOST_PATHS) {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// What makes a failure another one than the last. For most it is the class and what to do about it,
/// since servers put times and numbers into their words; of credentials and certificates, which people
/// bring one after the other, each is told.
fn state(failure: &Failure) -> String {
    let what = match failure.error_type {
        ErrorType::Auth | ErrorType::Tls => Some(&failure.message),
        _ => failure.remedy.as_ref(),
    };
    format!("{} {}", failure.error_type, what.map_or("", |what| what))
}

/// What a failure means for the files of its secret.
fn what_it_means(failure: &Failure) -> &'static str {
    match failure.error_type {
        ErrorType::Stalled => "the secret could not be synced: its worker has stalled",
        _ if failure.is_halfway => {
            "the secret could not be synced; new content is in place already, not all is done"
        }
        _ => "the secret could not be synced; its files stay as they are",
    }
}

/// What a plan means for its stores.
pub(super) fn expectations(plan: &Plan) {
    for store in &plan.stores {
        let expected = plan.expected(&store.name);
        let mut auth: Vec<_> = plan
            .sessions
            .iter()
            .filter(|session| session.key.store == store.name)
            .map(|session| session.auth.method())
            .collect();
        auth.sort_unstable();
        auth.dedup();
        info!(target: "store", store = *store.name, address = store.address.to_string(),
            auth = auth.join(", "), requests_a_day = expected.requests(), reads_a_day = whole(expected.reads),
            session_requests_a_day = whole(expected.sessions);
            "the store will be asked about {} times a day", expected.requests());
    }
}

/// What a plan wants people to know.
pub(super) fn notices(notices: &[Notice]) {
    for notice in notices {
        log::log!(target: "config", level(notice.warning),
            place = notice.place.as_deref(),
            key = notice.key.as_deref();
            "{}", notice.message);
    }
}

fn level(warning: bool) -> log::Level {
    if warning {
        log::Level::Warn
    } else {
        log::Level::Info
    }
}

/// Left out of a line when there is nothing to say.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn more_than_none(count: u64) -> Option<u64> {
    Some(count).filter(|count| *count > 0)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
