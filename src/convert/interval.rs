//! `refreshInterval` and `refreshPolicy`.

use std::time::Duration;

use super::phrase::phrase;
use super::remark::{Teller, shown};
use crate::config::{DurationError, parse_duration, show_duration};

/// What the operator's schema says where nothing is written.
const DEFAULT: &str = "1h";
/// Ours.
const LEAST: Duration = Duration::from_secs(1);

/// As our configuration writes it.
pub(super) fn interval(
    interval: Option<&str>,
    policy: Option<&str>,
    at: &str,
    teller: &mut Teller<'_>,
) -> String {
    match policy {
        None | Some("" | "Periodic") => {}
        // Fetched until it succeeds, then when what is written about it changes.
        Some(policy @ ("CreatedOnce" | "OnChange")) => {
            if interval.is_some_and(|text| !text.is_empty()) {
                teller.note_only(
                    &format!("{at}.refreshInterval"),
                    format!("not used with `{policy}`, as in the operator"),
                );
            }
            return "once".to_owned();
        }
        Some(other) => teller.warn(
            &format!("{at}.refreshPolicy"),
            format!("`{}` is not a policy: taken as `Periodic`", shown(other)),
        ),
    }
    let Some(text) = interval.filter(|text| !text.is_empty()) else {
        return DEFAULT.to_owned();
    };
    let told = format!("{at}.refreshInterval");
    if let Some((name, written)) = from_outside(text) {
        teller.warn(
            &told,
            format!(
                "`${{{name}}}` is filled in from outside: the daemon takes it from its environment"
            ),
        );
        return written;
    }
    match parse_duration(text) {
        Ok(Duration::ZERO) | Err(DurationError::Negative) => "once".to_owned(),
        Ok(duration) if duration < LEAST => {
            teller.warn(
                &told,
                format!(
                    "`{}` is below the second that is the least: `1s`",
                    shown(text)
                ),
            );
            "1s".to_owned()
        }
        Ok(_) if text.is_ascii() && !text.starts_with('+') => text.to_owned(),
        Ok(duration) => show_duration(duration),
        Err(error) => {
            teller.warn(
                &told,
                format!(
                    "`{}` {}: `{DEFAULT}`, the operator's default",
                    shown(text),
                    error.message()
                ),
            );
            DEFAULT.to_owned()
        }
    }
}

/// A variable that holds the interval, with a default that is one.
fn from_outside(text: &str) -> Option<(String, String)> {
    let inner = text.strip_prefix("${")?.strip_suffix('}')?;
    let written = phrase(text);
    let [name] = written.variables.as_slice() else {
        return None;
    };
    if inner.contains('}') {
        return None;
    }
    let (_, default) = written.written.strip_suffix('}')?.split_once(":-")?;
    let default = match parse_duration(default) {
        Ok(duration) if duration >= LEAST => default,
        Ok(Duration::ZERO) | Err(DurationError::Negative) => "once",
        _ => DEFAULT,
    };
    Some((name.clone(), format!("${{{name}:-{default}}}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for (written, policy, expected, told) in [
            (None, None, "1h", 0),
            (Some(""), None, "1h", 0),
            (Some("1h30m"), None, "1h30m", 0),
            (Some("0.03m"), None, "0.03m", 0),
            (Some("0"), None, "once", 0),
            (Some("0s"), None, "once", 0),
            (Some("0m"), Some("Periodic"), "once", 0),
            (Some("-5m"), None, "once", 0),
            (Some("300ms"), None, "1s", 1),
            (Some("60"), None, "1h", 1),
            (Some("1d"), None, "1h", 1),
            (Some("${X}"), None, "${X:-1h}", 1),
            (Some("${X:-5m}"), None, "${X:-5m}", 1),
            (Some("${X:=0}"), None, "${X:-once}", 1),
            (Some("${X}m"), None, "1h", 1),
            (Some("1h"), Some("CreatedOnce"), "once", 1),
            (None, Some("CreatedOnce"), "once", 0),
            (Some("1h"), Some("OnChange"), "once", 1),
            (Some("2h"), Some("Never"), "2h", 1),
        ] {
            let mut remarks = Vec::new();
            let mut teller = Teller::new(&mut remarks, "f", "o");
            assert_eq!(
                interval(written, policy, "spec", &mut teller),
                expected,
                "{written:?}"
            );
            assert_eq!(remarks.len(), told, "{written:?}");
        }
    }
}
