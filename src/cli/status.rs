//! `status`: how every secret stands, for people and, with `--json`, for programs; with `--watch`
//! again and again.

pub(super) mod look;
mod table;
mod watch;

use std::fmt;
use std::time::SystemTime;

use super::arguments::Status;
use super::exit::Exit;
use super::{console, isready};
use crate::config::Environment;
use crate::observe::StatusDocument;
use crate::observe::status_file::{self, Candidates, Missing};
use look::Look;

/// What was found.
enum Seen {
    Document(Box<StatusDocument>),
    Nothing(Reason),
}

/// Why there is no document.
#[derive(PartialEq, Eq)]
struct Reason {
    message: String,
    help: &'static str,
    exit: Exit,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Seen {
    /// Looks; and what was passed over on the way.
    fn look(candidates: &Candidates, now: SystemTime) -> (Self, Vec<String>) {
        match status_file::read(candidates, now) {
            Ok(found) => (Self::Document(Box::new(found.document)), found.passed_over),
            Err(Missing::Unusable {
                path,
                why,
                passed_over,
            }) => {
                let reason = Reason {
                    message: format!("`{}`: {why}", path.display()),
                    help: "the daemon's log tells more",
                    exit: Exit::Failure,
                };
                (Self::Nothing(reason), passed_over)
            }
            Err(Missing::NotRunning(places)) => {
                let reason = Reason {
                    message: format!("no daemon found: {}", places.join("; ")),
                    help: isready::NO_DAEMON,
                    exit: Exit::Unusable,
                };
                (Self::Nothing(reason), Vec::new())
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Document(document) if document.ready && !document.degraded => Exit::Success,
            Self::Document(_) => Exit::Failure,
            Self::Nothing(reason) => reason.exit,
        }
    }
}

pub(super) fn main(options: &Status, environment: &Environment) -> Exit {
    let candidates = Candidates::new(options.status_file.as_deref(), environment);
    if options.watch {
        return watch::watch(&candidates, options.json, environment);
    }
    let now = SystemTime::now();
    let (seen, passed_over) = Seen::look(&candidates, now);
    isready::tell_all(&passed_over);
    let document = match &seen {
        Seen::Document(document) => document,
        Seen::Nothing(reason) => {
            console::fail_with_help(reason, &reason.help);
            return reason.exit;
        }
    };
    let text = if options.json {
        match json(document) {
            Ok(text) => text,
            Err(error) => {
                console::fail(&format_args!("cannot write the status: {error}"));
                return Exit::Failure;
            }
        }
    } else {
        table::table(document, now, Look::of_stdout(environment))
    };
    match console::print(&text) {
        Exit::Success => seen.exit(),
        failure => failure,
    }
}

/// A line.
fn json(document: &StatusDocument) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string(document)?;
    text.push('\n');
    Ok(text)
}
