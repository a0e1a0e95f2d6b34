//! `validate`: the configuration and the daemon's environment, offline. What was understood goes
//! to standard output, what is wrong with it to standard error.

use std::path::Path;
use std::sync::Arc;

use super::console;
use super::exit::Exit;
use super::traces::Traces;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Environment};
use crate::plan::tls::FileFault;
use crate::plan::{self, CredentialProblem, Daemon, Notice, Plan, Purpose};
use crate::printable::printable;
use crate::sandbox::{Roots, Writes};

pub(super) fn main(file: &Path, environment: &Environment) -> Exit {
    let daemon = config::daemon_settings(environment);
    let mut understood = String::new();
    let mut warnings = Vec::new();
    let mut errors = Vec::new();
    match plan::load(file, environment, Purpose::Validate) {
        Ok(plan) => {
            understood = plan::describe(&plan);
            if let Ok(daemon) = &daemon {
                understood.push_str(&walls(&plan, daemon));
            }
            look_over(&plan, &mut warnings, &mut errors);
            for text in warnings
                .iter_mut()
                .chain(&mut errors)
                .chain([&mut understood])
            {
                *text = plan.hidden.mask(text).into_owned();
            }
        }
        // Where they stand, they are what people look for first.
        Err(problems) => errors.extend(problems.entries()),
    }
    match daemon {
        Ok(daemon) => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            errors.extend(Traces::planned(&daemon, environment, &clock).err());
        }
        Err(wrong) => errors.extend(wrong),
    }
    let printed = console::print(&understood);
    for warning in &warnings {
        console::fail(&format_args!("warning: {warning}"));
    }
    for error in &errors {
        console::fail(error);
    }
    if errors.is_empty() {
        printed
    } else {
        Exit::Unusable
    }
}

/// What the sandbox will allow.
fn walls(plan: &Plan, daemon: &Daemon) -> String {
    let mut text = "\nsandbox\n".to_owned();
    if !daemon.sandbox {
        text.push_str("  off\n");
        return text;
    }
    for line in Roots::of(plan, daemon, Writes::All).describe() {
        text.push_str(&format!("  {}\n", printable(&line)));
    }
    text
}

fn look_over(plan: &Plan, warnings: &mut Vec<String>, errors: &mut Vec<String>) {
    warnings.extend(plan.notices.iter().filter(|n| n.warning).map(notice));
    for problem in plan::inspect(plan) {
        match problem.kind {
            // They may come before the daemon starts, or be another user's to read.
            FileFault::Missing | FileFault::Empty | FileFault::Unreadable => {
                warnings.push(credential(&problem));
            }
            FileFault::Malformed | FileFault::Mismatch => errors.push(credential(&problem)),
        }
    }
}

fn notice(notice: &Notice) -> String {
    [&notice.place, &notice.key]
        .into_iter()
        .flatten()
        .chain([&notice.message])
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(": ")
}

fn credential(problem: &CredentialProblem) -> String {
    let mut text = match &problem.key {
        Some(key) => format!("{key}: {}", problem.message),
        None => problem.message.clone(),
    };
    if let Some(help) = &problem.help {
        text.push_str("\n  help: ");
        text.push_str(help);
    }
    text
}
