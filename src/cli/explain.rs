//! `explain`: everything about one secret. What the running daemon says of it comes from its files;
//! what lies on disk is looked at here, with the caller's own rights.

mod files;
mod gather;
mod text;

use std::path::PathBuf;
use std::time::SystemTime;

use super::arguments::Explain;
use super::config_path::NotFound;
use super::console;
use super::exit::Exit;
use super::isready::{self, NO_DAEMON};
use super::status::look::Look;
use crate::config::{self, Environment};

use gather::{Explained, Nothing};

pub(super) fn main(options: &Explain, config: Option<PathBuf>, environment: &Environment) -> Exit {
    let explained = match gather::gather(options, config, environment, SystemTime::now()) {
        Ok(explained) => explained,
        Err(Nothing::ConfigMissing(missing)) => {
            console::fail_with_help(&missing, &NotFound::HELP);
            return Exit::Unusable;
        }
        Err(Nothing::UnknownName { known, passed_over }) => {
            isready::tell_all(&passed_over);
            return unknown(&options.name, &known);
        }
        Err(Nothing::NotRunning(places)) => {
            console::fail_with_help(
                &format_args!(
                    "no daemon found, and no configuration: {}",
                    places.join("; ")
                ),
                &NO_DAEMON,
            );
            return Exit::Unusable;
        }
    };
    isready::tell_all(&explained.passed_over);
    let printed = if options.json {
        match serde_json::to_string(&explained) {
            Ok(text) => console::print(&format!("{text}\n")),
            Err(error) => {
                console::fail(&format_args!("cannot write what is known: {error}"));
                Exit::Failure
            }
        }
    } else {
        let look = Look::of_stdout(environment);
        console::print(&text::text(&explained, SystemTime::now(), look))
    };
    match printed {
        Exit::Success => exit(&explained),
        failure => failure,
    }
}

/// As of `status`, of this secret alone.
fn exit(explained: &Explained) -> Exit {
    if !explained.running {
        return Exit::Unusable;
    }
    match &explained.status {
        Some(status) if status.state == "in_sync" => Exit::Success,
        _ => Exit::Failure,
    }
}

fn unknown(name: &str, known: &[String]) -> Exit {
    let message = format!("no secret `{name}`");
    let near = config::nearest(name, known.iter().map(String::as_str));
    match near {
        Some(near) => console::fail_with_help(&message, &format_args!("did you mean `{near}`?")),
        None => console::fail_with_help(&message, &"`secrets-sync status` names all of them"),
    }
    Exit::Unusable
}
