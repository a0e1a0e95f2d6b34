//! `status`: how every secret stands, for people and, with `--json`, for programs.

pub(super) mod look;
mod table;

use std::path::Path;
use std::time::SystemTime;

use super::exit::Exit;
use super::{console, isready};
use crate::config::Environment;
use crate::observe::status_file::{self, Candidates, Missing};

pub(super) fn main(json: bool, given: Option<&Path>, environment: &Environment) -> Exit {
    let candidates = Candidates::new(given, environment);
    let now = SystemTime::now();
    let found = match status_file::read(&candidates, now) {
        Ok(found) => found,
        Err(Missing::Unusable {
            path,
            why,
            passed_over,
        }) => {
            isready::tell_all(&passed_over);
            console::fail_with_help(
                &format_args!("`{}`: {why}", path.display()),
                &"the daemon's log tells more",
            );
            return Exit::Failure;
        }
        Err(Missing::NotRunning(places)) => {
            console::fail_with_help(
                &format_args!("no daemon found: {}", places.join("; ")),
                &isready::NO_DAEMON,
            );
            return Exit::Unusable;
        }
    };
    isready::tell_all(&found.passed_over);
    let document = &found.document;
    let text = if json {
        match serde_json::to_string(document) {
            Ok(mut text) => {
                text.push('\n');
                text
            }
            Err(error) => {
                console::fail(&format_args!("cannot write the status: {error}"));
                return Exit::Failure;
            }
        }
    } else {
        table::table(document, now, look::Look::of_stdout(environment))
    };
    match console::print(&text) {
        Exit::Success if document.ready && !document.degraded => Exit::Success,
        _ => Exit::Failure,
    }
}
