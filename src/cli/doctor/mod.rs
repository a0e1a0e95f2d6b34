//! `doctor`: checks from the operator's seat, each with a verdict and what to do. It does what the daemon
//! does, by the same code, once and with an end: no check waits longer than its time, and nothing that
//! was made remains.

mod disk;
mod machine;
mod report;
mod server;
mod session;
mod traces;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::arguments::Doctor as Options;
use super::console;
use super::environ::Environ;
use super::exit::Exit;
use super::process::harden;
use crate::config::{Environment, daemon_settings};
use crate::plan::{self, Auth, Plan, Purpose};
use report::{Check, Report};

/// How long a file system may take: a dead mount never answers.
const LOCAL: Duration = Duration::from_secs(5);

pub(super) fn main(file: &Path, options: &Options, environment: &Environment) -> Exit {
    let environ = Environ::open();
    let unhardened = harden();
    let daemon = daemon_settings(environment);
    let plan = plan::load(file, environment, Purpose::Run);
    let (plan, daemon) = match (plan, daemon) {
        (Ok(plan), Ok(daemon)) => (plan, Arc::new(daemon)),
        (plan, daemon) => {
            if let Err(problems) = plan {
                problems
                    .entries()
                    .for_each(|problem| console::fail(&problem));
            }
            let errors = daemon.err().unwrap_or_default();
            errors.iter().for_each(|error| console::fail(error));
            return Exit::Unusable;
        }
    };
    // Where it cannot be done, the daemon says so; this ends soon.
    let _ = environ.and_then(|environ| environ.wipe(&plan.inline_credentials()));
    let plan = Arc::new(plan);
    let mut report = Report::new(options.json, environment);
    let mut checks = configuration(&plan);
    checks.extend(unhardened.into_iter().map(|text| {
        let remedy = "the daemon cannot do it either: look at its container or unit";
        Check::warning("process", text, remedy)
    }));
    let credentials = credentials(&plan);
    let hopeless = credentials
        .is_none()
        .then_some("a file system with credentials does not answer");
    checks
        .extend(credentials.unwrap_or_else(|| vec![disk::silent("credential", "the credentials")]));
    report.add("configuration", checks);
    let (of, with, seen) = (Arc::clone(&plan), Arc::clone(&daemon), environment.clone());
    let checks = within(LOCAL * 3, move || machine::checks(&of, &with, &seen));
    report.add(
        "this machine",
        checks.unwrap_or_else(|| vec![disk::silent("status_file", "the status file")]),
    );
    report.add("files", disk::checks(&plan));
    if let Some(tracing) = daemon.tracing.clone() {
        let seen = environment.clone();
        let check = within(LOCAL * 2, move || traces::check(&tracing, &seen));
        let silent = || disk::silent("traces", "the certificates for traces");
        report.add("traces", vec![check.unwrap_or_else(silent)]);
    }
    tell_of_uses(&plan);
    // Side by side: a server that hangs keeps no other waiting.
    std::thread::scope(|scope| {
        let examine = |store: &Arc<plan::StorePlan>| {
            let mut found = match hopeless {
                Some(_) => server::Found {
                    checks: Vec::new(),
                    hopeless,
                },
                None => server::examine(&plan, store),
            };
            found
                .checks
                .extend(session::examine(&plan, store, &daemon, found.hopeless));
            found.checks
        };
        let rounds: Vec<_> = plan
            .stores
            .iter()
            .map(|store| (store, scope.spawn(move || examine(store))))
            .collect();
        for (store, round) in rounds {
            let checks = round.join().unwrap_or_else(|_| {
                let text = "this check failed by a defect of ours: please report it";
                vec![Check::fail("store", text)]
            });
            report.add(
                format!("store `{}` ({})", store.name, store.address),
                checks,
            );
        }
    });
    report.finish()
}

/// What was understood, what it warns of, and the credentials' files.
fn configuration(plan: &Plan) -> Vec<Check> {
    let (secrets, stores) = (plan.secrets.len(), plan.stores.len());
    let text = format!(
        "`{}`: {secrets} secret{} of {stores} store{}",
        plan.file.display(),
        plural(secrets),
        plural(stores)
    );
    let mut all = vec![Check::ok("configuration", text)];
    for notice in &plan.notices {
        let place = notice.key.as_deref().or(notice.place.as_deref());
        let text = match place {
            Some(place) => format!("{place}: {}", notice.message),
            None => notice.message.clone(),
        };
        all.push(if notice.warning {
            Check::warning(
                "configuration",
                text,
                "`secrets-sync validate` shows what was understood",
            )
        } else {
            Check::ok("configuration", text)
        });
    }
    all
}

/// What is wrong with the files of credentials and certificates; `None` where one never answers.
fn credentials(plan: &Arc<Plan>) -> Option<Vec<Check>> {
    let of = Arc::clone(plan);
    let problems = within(LOCAL, move || plan::inspect(&of))?;
    let check = |problem: plan::CredentialProblem| {
        let text = match &problem.key {
            Some(key) => format!("{key}: {}", problem.message),
            None => problem.message,
        };
        let remedy = "put it there, for the daemon's user to read: it is taken up at once";
        let help = problem.help.unwrap_or_else(|| remedy.to_owned());
        Check::fail("credential", text).remedy(Some(help))
    };
    Some(problems.into_iter().map(check).collect())
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// Before it happens: a secret ID may be good for a few logins only.
fn tell_of_uses(plan: &Plan) {
    for session in &plan.sessions {
        if let Auth::AppRole {
            secret_id: Some(_),
            wrapping_path: None,
            ..
        } = &session.auth
        {
            console::fail(&format_args!(
                "warning: the login of credentials `{}` of store `{}` spends a use of the secret ID, where its \
                 uses are limited",
                session.key.credentials, session.key.store
            ));
        }
    }
}

/// What the work comes to, if it does so in time; else it is left behind.
fn within<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = bounded(1);
    let _ = std::thread::Builder::new()
        .name("check".into())
        .spawn(move || drop(done.send(work())))
        .ok()?;
    result.recv_timeout(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_left_behind() {
        let (_never, told) = bounded::<()>(0);
        assert_eq!(within(Duration::from_millis(1), move || told.recv()), None);
        assert_eq!(within(LOCAL, || 7), Some(7));
    }
}
