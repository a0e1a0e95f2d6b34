//! The status as people read it: a headline, what is wrong with the daemon as a whole, a row a
//! secret. The table of `status` and the status page are made of the same rows, in which foreign
//! text is fit to be shown.

use std::time::{Duration, SystemTime};

use super::status::{SecretEntry, StatusDocument, StoreEntry, reason};
use crate::printable::printable;

/// The titles of the columns, in order.
pub const TITLES: [&str; 7] = [
    "NAME",
    "STORE",
    "STATE",
    "VERSION",
    "AGE",
    "NEXT REFRESH",
    "WHY THEN",
];

/// How good news something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Somebody should act.
    Bad,
    /// It will pass, or is not counted.
    Waiting,
    /// All is well.
    Good,
}

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Of its state.
    pub tone: Tone,
    /// One for each of the [`TITLES`]; `-` where there is nothing to say.
    pub cells: [String; TITLES.len()],
    /// Class and message of what it fails with.
    pub error: Option<String>,
    /// What to do about that.
    pub remedy: Option<String>,
}

/// One line of how it stands.
#[must_use]
pub fn headline(document: &StatusDocument) -> String {
    let state = match (document.ready, document.degraded) {
        (true, false) => "ready",
        (true, true) => "ready, degraded",
        (false, _) => "not ready",
    };
    let (synced, all) = (document.synced_count, document.secret_count);
    let plural = if all == 1 { "secret" } else { "secrets" };
    format!("{state}: {synced} of {all} {plural} in sync")
}

/// How good news the headline is.
#[must_use]
pub fn tone(document: &StatusDocument) -> Tone {
    match (document.ready, document.degraded) {
        (true, false) => Tone::Good,
        (true, true) => Tone::Bad,
        (false, _) => Tone::Waiting,
    }
}

/// What is wrong with the daemon as a whole, a line each.
#[must_use]
pub fn notes(document: &StatusDocument, now: SystemTime) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(error) = &document.config.error {
        notes.push(format!(
            "configuration: the last reload was refused: {error}"
        ));
    }
    for store in &document.stores {
        let mut parts = Vec::new();
        if store.breaker != "closed" {
            parts.push(breaker(store, now));
        }
        parts.extend(store.error.clone());
        if store.waiting > 0 {
            parts.push(queue(store));
        }
        if !parts.is_empty() {
            notes.push(format!("store `{}`: {}", store.name, parts.join("; ")));
        }
    }
    notes.extend(document.notices.iter().cloned());
    for note in &mut notes {
        *note = printable(note).into_owned();
    }
    notes
}

/// A row for each secret, in written order.
#[must_use]
pub fn rows(document: &StatusDocument, now: SystemTime) -> Vec<Row> {
    document
        .secrets
        .iter()
        .map(|secret| row(secret, document, now))
        .collect()
}

/// How good news a secret's state is.
#[must_use]
pub fn tone_of(secret: &SecretEntry) -> Tone {
    match secret.state.as_str() {
        "in_sync" => Tone::Good,
        "pending" => Tone::Waiting,
        _ => Tone::Bad,
    }
}

/// The row of one secret.
#[must_use]
pub fn row(secret: &SecretEntry, document: &StatusDocument, now: SystemTime) -> Row {
    let none = || "-".to_owned();
    let mut state = match secret.state.as_str() {
        "in_sync" => "in sync".to_owned(),
        other => other.to_owned(),
    };
    if secret.optional {
        state.push_str(" (optional)");
    }
    let age = time(secret.last_success.as_deref())
        .map(|last| short(now.duration_since(last).unwrap_or_default()));
    let (next, why) = next(secret, document, now);
    let mut cells = [
        secret.name.clone(),
        secret.store.clone(),
        state,
        secret
            .version
            .map_or_else(none, |version| version.to_string()),
        age.unwrap_or_else(none),
        next.unwrap_or_else(none),
        why.unwrap_or_else(none),
    ];
    for cell in &mut cells {
        *cell = printable(cell).into_owned();
    }
    Row {
        tone: tone_of(secret),
        cells,
        error: secret.error.as_ref().map(|error| {
            let class = secret.error_type.as_deref().unwrap_or("error");
            printable(&format!("{class}: {error}")).into_owned()
        }),
        remedy: secret
            .remedy
            .as_ref()
            .map(|remedy| printable(remedy).into_owned()),
    }
}

/// When a secret is tried next, and why then.
#[must_use]
pub fn next(
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
    let under_way = at.is_some_and(|at| at <= now)
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

fn breaker(store: &StoreEntry, now: SystemTime) -> String {
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

fn queue(store: &StoreEntry) -> String {
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

/// `in 5m`, or `now`.
#[must_use]
pub fn within(at: SystemTime, now: SystemTime) -> String {
    match at.duration_since(now) {
        Ok(wait) if wait >= Duration::from_secs(1) => format!("in {}", short(wait)),
        _ => "now".to_owned(),
    }
}

/// A time of the document.
#[must_use]
pub fn time(text: Option<&str>) -> Option<SystemTime> {
    humantime::parse_rfc3339(text?).ok()
}

/// RFC 3339 ends with the year 9999.
#[must_use]
pub fn end_of_calendar() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800)
}

/// The two largest units: `5s`, `4m`, `1h30m`, `3d2h`.
#[must_use]
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (large, small) = match seconds {
        0..60 => return format!("{seconds}s"),
        60..3_600 => return format!("{}m", seconds / 60),
        3_600..86_400 => ((seconds / 3_600, "h"), (seconds % 3_600 / 60, "m")),
        _ => ((seconds / 86_400, "d"), (seconds % 86_400 / 3_600, "h")),
    };
    match small {
        (0, _) => format!("{}{}", large.0, large.1),
        (count, unit) => format!("{}{}{count}{unit}", large.0, large.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::SessionEntry;

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

    #[test]
    fn the_headline_tells_degraded_from_ready() {
        let line = |ready, degraded| {
            headline(&StatusDocument {
                ready,
                degraded,
                secret_count: 1,
                synced_count: 1,
                ..StatusDocument::default()
            })
        };
        assert_eq!(line(true, false), "ready: 1 of 1 secret in sync");
        assert_eq!(line(true, true), "ready, degraded: 1 of 1 secret in sync");
        assert_eq!(line(false, true), "not ready: 1 of 1 secret in sync");
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (3_600, "1h"),
            (5_400, "1h30m"),
            (86_400, "1d"),
            (266_400, "3d2h"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
