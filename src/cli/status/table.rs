//! The status document as a table.

use std::time::{Duration, SystemTime};

use crate::cli::isready::headline;
use crate::observe::{SecretEntry, StatusDocument};
use crate::printable::printable;

const TITLES: [&str; 6] = ["NAME", "STORE", "STATE", "VERSION", "AGE", "NEXT REFRESH"];

/// Headline, what is wrong with the daemon as a whole, then a line a secret, with its error and
/// what to do below it.
pub(super) fn table(document: &StatusDocument, now: SystemTime) -> String {
    let mut text = format!("{}\n", headline(document));
    let mut line = |parts: &[&str]| {
        let parts: Vec<_> = parts.iter().map(|part| printable(part)).collect();
        text.push_str(parts.concat().trim_end());
        text.push('\n');
    };
    if let Some(error) = &document.config.error {
        line(&["configuration: the last reload was refused: ", error]);
    }
    for store in &document.stores {
        match (&store.error, store.breaker.as_str()) {
            (Some(error), _) => line(&["store `", &store.name, "`: ", error]),
            (None, "closed") => {}
            (None, breaker) => line(&["store `", &store.name, "`: circuit breaker ", breaker]),
        }
    }
    for notice in &document.notices {
        line(&[notice]);
    }
    if document.secrets.is_empty() {
        return text;
    }
    line(&[]);
    let rows: Vec<_> = document
        .secrets
        .iter()
        .map(|secret| cells(secret, now))
        .collect();
    let widths: Vec<usize> = (0..TITLES.len())
        .map(|column| {
            rows.iter()
                .map(|row| width(&row[column]))
                .chain([TITLES[column].len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    line(&[&spread(&TITLES, &widths)]);
    for (secret, row) in document.secrets.iter().zip(&rows) {
        line(&[&spread(row, &widths)]);
        if let Some(error) = &secret.error {
            let class = secret.error_type.as_deref().unwrap_or("error");
            line(&["  ", class, ": ", error]);
        }
        if let Some(remedy) = &secret.remedy {
            line(&["  help: ", remedy]);
        }
    }
    text
}

fn cells(secret: &SecretEntry, now: SystemTime) -> [String; TITLES.len()] {
    let none = || "-".to_owned();
    let state = if secret.optional {
        format!("{} (optional)", secret.state)
    } else {
        secret.state.clone()
    };
    let age = time(secret.last_success.as_deref())
        .map(|last| short(now.duration_since(last).unwrap_or_default()));
    let next = time(secret.next_refresh.as_deref()).map(|next| match next.duration_since(now) {
        Ok(wait) if wait >= Duration::from_secs(1) => format!("in {}", short(wait)),
        _ => "now".to_owned(),
    });
    [
        printable(&secret.name).into_owned(),
        printable(&secret.store).into_owned(),
        printable(&state).into_owned(),
        secret
            .version
            .map_or_else(none, |version| version.to_string()),
        age.unwrap_or_else(none),
        next.unwrap_or_else(none),
    ]
}

fn spread<T: AsRef<str>>(row: &[T], widths: &[usize]) -> String {
    row.iter()
        .zip(widths)
        .map(|(cell, to)| {
            let cell = cell.as_ref();
            format!("{cell}{}", " ".repeat(to.saturating_sub(width(cell)) + 2))
        })
        .collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn time(text: Option<&str>) -> Option<SystemTime> {
    humantime::parse_rfc3339(text?).ok()
}

/// The two largest units: `5s`, `4m`, `1h30m`, `3d2h`.
fn short(duration: Duration) -> String {
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
    use crate::observe::{ConfigEntry, StoreEntry};

    fn now() -> SystemTime {
        humantime::parse_rfc3339("2026-11-24T12:00:00Z").unwrap()
    }

    #[test]
    fn the_table_shows_state_and_what_to_do() {
        let document = StatusDocument {
            schema: 1,
            ready: true,
            degraded: true,
            secret_count: 3,
            synced_count: 1,
            config: ConfigEntry {
                loaded: String::new(),
                error: Some("config.yaml:3:1: secrets: missing".into()),
            },
            stores: vec![
                StoreEntry {
                    name: "default".into(),
                    breaker: "closed".into(),
                    error: None,
                },
                StoreEntry {
                    name: "lab".into(),
                    breaker: "open".into(),
                    error: None,
                },
            ],
            notices: vec!["port 8080: address in use".into()],
            secrets: vec![
                SecretEntry {
                    name: "tls-cert".into(),
                    store: "default".into(),
                    state: "in_sync".into(),
                    version: Some(12),
                    last_success: Some("2026-11-24T11:55:30Z".into()),
                    next_refresh: Some("2026-11-24T13:30:00Z".into()),
                    ..SecretEntry::default()
                },
                SecretEntry {
                    name: "db".into(),
                    store: "lab".into(),
                    state: "failed".into(),
                    last_success: Some("2026-11-20T10:00:00Z".into()),
                    next_refresh: Some("2026-11-24T12:00:00.4Z".into()),
                    error_type: Some("not_found".into()),
                    error: Some("`secret/app/db`: nothing\u{1b}[31m there".into()),
                    remedy: Some("write it".into()),
                    ..SecretEntry::default()
                },
                SecretEntry {
                    name: "extra".into(),
                    store: "default".into(),
                    state: "pending".into(),
                    optional: true,
                    ..SecretEntry::default()
                },
            ],
            ..StatusDocument::default()
        };
        assert_eq!(
            table(&document, now()),
            "\
ready, degraded: 1 of 3 secrets in sync
configuration: the last reload was refused: config.yaml:3:1: secrets: missing
store `lab`: circuit breaker open
port 8080: address in use

NAME      STORE    STATE               VERSION  AGE   NEXT REFRESH
tls-cert  default  in_sync             12       4m    in 1h30m
db        lab      failed              -        4d2h  now
  not_found: `secret/app/db`: nothing\\u{1b}[31m there
  help: write it
extra     default  pending (optional)  -        -     -
"
        );
    }

    #[test]
    fn an_empty_plan_is_one_line() {
        let document = StatusDocument {
            ready: true,
            ..StatusDocument::default()
        };
        assert_eq!(table(&document, now()), "ready: 0 of 0 secrets in sync\n");
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
