//! The status as people read it: a headline, what is wrong with the daemon as a whole, a row a
//! secret. The table of `status` and the status page are made of the same rows, in which foreign
//! text is fit to be shown.

mod why;

use std::time::{Duration, SystemTime};

use super::status::{SecretEntry, StatusDocument};
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
            parts.push(why::breaker(store, now));
        }
        parts.extend(store.error.clone());
        if store.waiting > 0 {
            parts.push(why::queue(store));
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
    let (next, reason) = why::next(secret, document, now);
    let mut cells = [
        secret.name.clone(),
        secret.store.clone(),
        state,
        secret
            .version
            .map_or_else(none, |version| version.to_string()),
        age.unwrap_or_else(none),
        next.unwrap_or_else(none),
        reason.unwrap_or_else(none),
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
