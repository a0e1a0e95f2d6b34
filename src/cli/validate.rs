//! `validate`: the configuration and the daemon's environment, offline. What was understood goes
//! to standard output, what is wrong with it to standard error.

use std::path::Path;

use super::console;
use super::exit::Exit;
use crate::config::{self, Environment};
use crate::plan::tls::FileFault;
use crate::plan::{self, CredentialProblem, Notice, Plan, Purpose};

pub(super) fn main(file: &Path, environment: &Environment) -> Exit {
    let mut errors = config::daemon_settings(environment)
        .err()
        .unwrap_or_default();
    let mut understood = String::new();
    let mut warnings = Vec::new();
    match plan::load(file, environment, Purpose::Validate) {
        Ok(plan) => {
            understood = plan::describe(&plan);
            look_over(&plan, &mut warnings, &mut errors);
        }
        // Where they stand, they are what people look for first.
        Err(problems) => errors.splice(..0, problems.entries()).for_each(drop),
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
