//! When a secret is tried next, and why then.

use std::time::{Duration, SystemTime};

use super::{time, within};
use crate::observe::status::{SecretEntry, StatusDocument, StoreEntry, TIMES_MOVE, reason};

/// Times of a secret in sync are at most so old: until they are shown, at a turn of the main loop.
const TIMES_OLD: Duration = TIMES_MOVE.saturating_add(Duration::from_millis(2500));

/// When a secret is tried next, and why then.
#[must_use]
pub(super) fn next(
    secret: &SecretEntry,
    document: &StatusDocument,
    now: SystemTime,
) -> (Option<String>, Option<String>) {
    let store = document
        .stores
        .iter()
        .find(|store| store.name == secret.store);
    let at = time(secret.next_refresh.as_deref());
    let reason = secret.next_reason.as_deref();
    // A time that has passed is only an old one, where it is not shown each time that it moves.
    let old = if secret.state == "in_sync" {
        TIMES_OLD
    } else {
        Duration::ZERO
    };
    let under_way = at.is_some_and(|at| at + old <= now)
        || (at.is_none() && reason.is_none() && secret.state == "pending");
    if secret.state == "stalled" {
        let why = "a system call of its worker has not come back";
        return (None, Some(why.to_owned()));
    }
    if under_way {
        let queue = store.filter(|store| store.waiting > 0).map(queue);
        let why = queue.map_or_else(
            || "under way".to_owned(),
            |queue| format!("under way; {queue}"),
        );
        return (Some("now".to_owned()), Some(why));
    }
    let next = at.map(|at| within(at, now));
    let interval = if secret.interval.is_empty() {
        "the interval"
    } else {
        &secret.interval
    };
    let why = match reason {
        None => return (next, None),
        Some(reason::INTERVAL) => format!("every {interval}, less up to a tenth"),
        Some(reason::LEASE) => match time(secret.lease_expires.as_deref()) {
            Some(end) => format!("before its lease ends {}", within(end, now)),
            None => format!("it is good for less than {interval}"),
        },
        Some(reason::BACKOFF) => format!("retry {} with backoff", secret.attempt),
        Some(reason::ASKED) => "the server asked not to be asked before".to_owned(),
        Some(reason::SETTLED) => "no quick retry: it fails until somebody acts".to_owned(),
        Some(reason::STORE) => {
            let probe = store.and_then(|store| time(store.next_probe.as_deref()));
            let probe = probe.map_or_else(String::new, |at| {
                format!(", asked after again {}", within(at, now))
            });
            return (
                Some("when it is back".to_owned()),
                Some(format!("waits for store `{}`{probe}", secret.store)),
            );
        }
        Some(reason::SESSION) => {
            let login = store.and_then(|store| {
                let without = store.sessions.iter().filter(|session| !session.has_token);
                without
                    .filter_map(|session| time(session.next.as_deref()))
                    .min()
            });
            let login = login.map_or_else(String::new, |at| {
                format!(", tried again {}", within(at, now))
            });
            return (
                Some("after a login".to_owned()),
                Some(format!("waits for a login to `{}`{login}", secret.store)),
            );
        }
        Some(reason::ONCE) => {
            return (
                None,
                Some("`once`: at SIGUSR1, or a reload that changes it".to_owned()),
            );
        }
        Some(reason::THREAD) => "its thread could not be started: tried again".to_owned(),
        Some(other) => other.to_owned(),
    };
    (next, Some(why))
}

pub(super) fn breaker(store: &StoreEntry, now: SystemTime) -> String {
    let state = match store.breaker.as_str() {
        "half_open" => "half-open",
        other => other,
    };
    match time(store.next_probe.as_deref()) {
        Some(at) => format!(
            "circuit breaker {state}, asked after again {}",
            within(at, now)
        ),
        None => format!("circuit breaker {state}"),
    }
}

pub(super) fn queue(store: &StoreEntry) -> String {
    let plural = if store.waiting == 1 {
        "request waits"
    } else {
        "requests wait"
    };
    format!(
        "{} {plural} for a place (`maxConcurrent`, rate limit)",
        store.waiting
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::SessionEntry;
    use crate::observe::view::row;

    fn now() -> SystemTime {
        humantime::parse_rfc3339("2026-11-24T12:00:00Z").unwrap()
    }

    fn why(state: &str, reason: Option<&str>, next: Option<&str>) -> (String, String) {
        let secret = SecretEntry {
            name: "a".into(),
            store: "lab".into(),
            state: state.into(),
            next_refresh: next.map(|time| format!("2026-11-24T{time}Z")),
            next_reason: reason.map(str::to_owned),
            interval: "5m".into(),
            attempt: 3,
            lease_expires: Some("2026-11-24T12:10:00Z".into()),
            ..SecretEntry::default()
        };
        let document = StatusDocument {
            stores: vec![StoreEntry {
                name: "lab".into(),
                breaker: "open".into(),
                next_probe: Some("2026-11-24T12:00:08Z".into()),
                waiting: 2,
                sessions: vec![SessionEntry {
                    next: Some("2026-11-24T12:00:12Z".into()),
                    ..SessionEntry::default()
                }],
                ..StoreEntry::default()
            }],
            ..StatusDocument::default()
        };
        let row = row(&secret, &document, now());
        (row.cells[5].clone(), row.cells[6].clone())
    }

    #[test]
    fn the_next_refresh_says_why_it_is_then() {
        let soon = Some("12:04:30");
        for (state, reason, next, expected) in [
            (
                "in_sync",
                Some("interval"),
                soon,
                "in 4m|every 5m, less up to a tenth",
            ),
            (
                "in_sync",
                Some("lease"),
                soon,
                "in 4m|before its lease ends in 10m",
            ),
            (
                "failed",
                Some("backoff"),
                soon,
                "in 4m|retry 3 with backoff",
            ),
            (
                "failed",
                Some("retry_after"),
                soon,
                "in 4m|the server asked not to be asked before",
            ),
            (
                "failed",
                Some("settled"),
                soon,
                "in 4m|no quick retry: it fails until somebody acts",
            ),
            (
                "failed",
                Some("store"),
                None,
                "when it is back|waits for store `lab`, asked after again in 8s",
            ),
            (
                "failed",
                Some("session"),
                None,
                "after a login|waits for a login to `lab`, tried again in 12s",
            ),
            (
                "in_sync",
                Some("once"),
                None,
                "-|`once`: at SIGUSR1, or a reload that changes it",
            ),
            (
                "failed",
                Some("thread"),
                soon,
                "in 4m|its thread could not be started: tried again",
            ),
            (
                "in_sync",
                Some("interval"),
                Some("11:59:52"),
                "now|under way; 2 requests wait for a place (`maxConcurrent`, rate limit)",
            ),
            (
                "in_sync",
                Some("interval"),
                Some("11:59:55"),
                "now|every 5m, less up to a tenth",
            ),
            (
                "failed",
                Some("settled"),
                Some("11:59:59"),
                "now|under way; 2 requests wait for a place (`maxConcurrent`, rate limit)",
            ),
            (
                "pending",
                None,
                None,
                "now|under way; 2 requests wait for a place (`maxConcurrent`, rate limit)",
            ),
            (
                "stalled",
                Some("interval"),
                Some("11:00:00"),
                "-|a system call of its worker has not come back",
            ),
            ("in_sync", Some("to\u{1b}come"), soon, "in 4m|to\\u{1b}come"),
            ("in_sync", None, soon, "in 4m|-"),
        ] {
            let (next, why) = why(state, reason, next);
            assert_eq!(format!("{next}|{why}"), expected);
        }
    }
}
