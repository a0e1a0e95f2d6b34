//! `run`: the daemon, `--once`, `--dry-run`.

use std::fs::Metadata;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use log::{error, info, warn};

use super::arguments::Run;
use super::console;
use super::environ::Environ;
use super::exit::Exit;
use super::left_overs;
use super::process::{harden, take_room};
use super::traces::Traces;
use crate::clock::{Clock, Stop, SystemClock, Tick, pause};
use crate::config::{Environment, daemon_settings, kind_of_stream};
use crate::observe::log as logging;
use crate::observe::metrics;
use crate::observe::status_file::{LockPolicy, LockStep, StatusFile, StatusLock};

use crate::plan::tls::FileFault;
use crate::plan::{self, CredentialProblem, Daemon, Plan, Purpose, inspect};
use crate::sandbox::{Roots, Sandbox, Writes, close};
use crate::sync::{OncePolicy, Outlook, Signal, Start, Supervisor, Watch, catch, listen, once};

/// A credential that is there but cannot be parsed may be in the middle of being written: it is
/// looked at again for this long.
const CREDENTIAL_PATIENCE: Duration = Duration::from_secs(5);
const CREDENTIAL_AGAIN: Duration = Duration::from_millis(200);

/// Runs until it is told to stop; with `--once` or `--dry-run`, until it is done.
pub(super) fn main(file: &Path, options: &Run, environment: Environment) -> Exit {
    // Before `harden`: see there.
    let environ = Environ::open();
    let unhardened = harden();
    take_room();
    let daemon = match daemon_settings(&environment) {
        Ok(daemon) => Arc::new(daemon),
        Err(errors) => {
            errors.iter().for_each(|error| console::fail(error));
            return Exit::Unusable;
        }
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let format = if daemon.log_json {
        logging::Format::Json
    } else {
        logging::Format::Text
    };
    logging::init(daemon.log_level, format, Arc::clone(&clock));
    for warning in unhardened {
        warn!(target: "cli", "{warning}");
    }
    let traces = match Traces::planned(&daemon, &environment, &clock) {
        Ok(traces) => traces,
        Err(error) => {
            console::fail(&error);
            return Exit::Unusable;
        }
    };
    let prepared = prepare(file, &environment, &daemon, options);
    forget_credentials(environ, prepared.as_ref().ok(), &daemon);
    match prepared {
        Ok(prepared) if options.once || options.dry_run => {
            traces.begin(&clock);
            single(prepared, &daemon, &clock, options)
        }
        Ok(prepared) => {
            traces.begin(&clock);
            forever(file.to_owned(), environment, daemon, clock, prepared)
        }
        Err(exit) => exit,
    }
}

/// Wipes the credentials out of the environment that others may look at.
fn forget_credentials(
    environ: std::io::Result<Environ>,
    prepared: Option<&Prepared>,
    daemon: &Daemon,
) {
    let mut credentials =
        prepared.map_or_else(Vec::new, |prepared| prepared.plan.inline_credentials());
    credentials.extend(
        daemon
            .tracing
            .iter()
            .flat_map(|tracing| tracing.credentials()),
    );
    if let Err(error) = environ.and_then(|environ| environ.wipe(&credentials)) {
        warn!(target: "cli", "credentials stay in /proc/self/environ, for root and the daemon's own user \
            to see: {error}");
    }
}

/// What is at hand when threads may start.
struct Prepared {
    plan: Plan,
    /// Of the file that the plan was read from.
    stamp: Option<Stamp>,
    sandbox: Option<Sandbox>,
    /// How far the sandbox goes, in words.
    walls: String,
    signals: Receiver<Signal>,
    stop: Stop,
}

/// What is done before there is a second thread: signals wait from here on, the plan says what the
/// sandbox allows, and it closes around all threads to come.
fn prepare(
    file: &Path,
    environment: &Environment,
    daemon: &Daemon,
    options: &Run,
) -> Result<Prepared, Exit> {
    let no_signals = |error| {
        console::fail(&format_args!("cannot take signals over: {error}"));
        Exit::Failure
    };
    let caught = catch().map_err(no_signals)?;
    let stamp = stamp(file);
    let plan = read(file, environment).map_err(|NoPlan| Exit::Unusable)?;
    let writes = match options {
        Run { dry_run: true, .. } => Writes::Nothing,
        Run { once: true, .. } => Writes::Targets,
        _ => Writes::All,
    };
    metrics::process::open();
    let (sandbox, walls) = enclose(&plan, daemon, writes);
    let (signals, stop) = listen(caught).map_err(no_signals)?;
    Ok(Prepared {
        plan,
        stamp,
        sandbox,
        walls,
        signals,
        stop,
    })
}

/// Closes the sandbox; how far it is, in words, where it is not wanted or not to be had.
fn enclose(plan: &Plan, daemon: &Daemon, writes: Writes) -> (Option<Sandbox>, String) {
    if !daemon.sandbox {
        return (None, "off".to_owned());
    }
    let closed = close(&Roots::of(plan, daemon, writes));
    for warning in closed.warnings {
        warn!(target: "sandbox", "{warning}");
    }
    if closed.sandbox.is_none() {
        warn!(target: "sandbox", "{}", closed.status);
    } else if !closed.is_whole {
        info!(target: "sandbox", "{}", closed.status);
    }
    (closed.sandbox, closed.status)
}

fn single(prepared: Prepared, daemon: &Arc<Daemon>, clock: &Arc<dyn Clock>, options: &Run) -> Exit {
    let Prepared {
        plan,
        signals,
        stop,
        ..
    } = prepared;
    let plan = match await_credentials(plan, &**clock, &stop) {
        Ok(plan) => plan,
        Err(NoStart::Unusable) => return Exit::Unusable,
        Err(NoStart::Stopped) => return Exit::Failure,
    };
    if !options.dry_run {
        left_overs::remove(&plan, &**clock, &stop);
    }
    let policy = OncePolicy {
        timeout: options.timeout(),
        dry_run: options.dry_run,
    };
    let outcome = once(&plan, daemon, clock, &signals, policy);
    let mut preview = String::new();
    for (name, lines) in &outcome.preview {
        for line in lines {
            preview.push_str(&format!("{name}: {line}\n"));
        }
    }
    let printed = console::print(&preview);
    for (name, failure) in &outcome.failed {
        let message = format!("`{name}`: {failure}");
        match &failure.remedy {
            Some(remedy) => console::fail_with_help(&message, remedy),
            None => console::fail(&message),
        }
    }
    if outcome.failed.is_empty() {
        printed
    } else {
        Exit::Failure
    }
}

fn forever(
    file: PathBuf,
    environment: Environment,
    daemon: Arc<Daemon>,
    clock: Arc<dyn Clock>,
    prepared: Prepared,
) -> Exit {
    let Prepared {
        plan,
        stamp,
        sandbox,
        walls,
        signals,
        stop,
    } = prepared;
    let (changes, changed) = unbounded();
    let watch = match Watch::start(Arc::clone(&clock), changes) {
        Ok(watch) => watch,
        Err(error) => {
            console::fail(&format_args!("cannot start a thread: {error}"));
            return Exit::Failure;
        }
    };
    // What changes from now on is seen; what changed since it was read has to be read again.
    watch.follow(vec![file.clone()]);
    let mut lock = StatusLock::new(&daemon.status_file);
    let prepared = again(plan, stamp, &file, &environment)
        .map(|(old, new)| settle(old, new, sandbox.as_ref(), &daemon))
        .and_then(|plan| await_credentials(plan, &*clock, &stop))
        .and_then(|plan| Ok((plan, take_lock(&mut lock, &*clock, &stop)?)));
    let (plan, policy) = match prepared {
        Ok(prepared) => prepared,
        Err(NoStart::Unusable) => return Exit::Unusable,
        Err(NoStart::Stopped) => return Exit::Success,
    };
    left_overs::remove(&plan, &*clock, &Stop::never());
    info!(target: "sync", version = env!("CARGO_PKG_VERSION"), config = file.display().to_string(),
        secrets = plan.secrets.len(), stores = plan.stores.len(), sandbox = walls; "secrets-sync starts");
    if let Some(kind) = kind_of_stream(&file) {
        warn!(target: "config", path = file.display().to_string();
            "the configuration came from {kind}, which can be read only once: it is not watched, and a reload is refused");
    }
    let address = daemon
        .metrics_port
        .map(|port| SocketAddr::new(daemon.metrics_addr, port));
    let outlook = Outlook::new(
        Arc::clone(&clock),
        address,
        StatusFile::new(daemon.status_file.clone()),
        lock,
        policy,
        &environment,
    );
    Supervisor::new(Start {
        file,
        environment,
        daemon,
        plan,
        sandbox,
        clock,
        signals,
        watch,
        changed,
        outlook,
    })
    .run();
    Exit::Success
}

/// Why it does not come to the work.
enum NoStart {
    /// Told already; a restart cannot help.
    Unusable,
    /// Asked to stop while it waited.
    Stopped,
}

/// It cannot be had, and that was told.
struct NoPlan;

fn read(file: &Path, environment: &Environment) -> Result<Plan, NoPlan> {
    plan::load(file, environment, Purpose::Run).map_err(|problems| {
        problems
            .entries()
            .for_each(|problem| console::fail(&problem));
        NoPlan
    })
}

/// Which file it is, and when it was last touched.
#[derive(PartialEq)]
struct Stamp([i128; 4]);

fn stamp(file: &Path) -> Option<Stamp> {
    // What can be read only once is not read again, whoever touched it.
    let met = std::fs::metadata(file).ok().filter(Metadata::is_file)?;
    let changed = i128::from(met.ctime()) * 1_000_000_000 + i128::from(met.ctime_nsec());
    Some(Stamp([
        met.dev().into(),
        met.ino().into(),
        met.size().into(),
        changed,
    ]))
}

/// The plan, and that of the file as it is now where it was touched since.
fn again(
    plan: Plan,
    before: Option<Stamp>,
    file: &Path,
    environment: &Environment,
) -> Result<(Plan, Option<Plan>), NoStart> {
    if stamp(file) == before {
        return Ok((plan, None));
    }
    match read(file, environment) {
        Ok(new) => Ok((plan, Some(new))),
        Err(NoPlan) => Err(NoStart::Unusable),
    }
}

/// The newer plan, unless the sandbox, which closed for the older one, has no room for it.
fn settle(old: Plan, new: Option<Plan>, sandbox: Option<&Sandbox>, daemon: &Daemon) -> Plan {
    let Some(new) = new else { return old };
    match sandbox.and_then(|sandbox| sandbox.refuses(&new, daemon)) {
        Some(why) => {
            error!(target: "config", path = old.file.display().to_string(), error = why;
                "the configuration that came during the start was refused; the one before goes on");
            old
        }
        None => new,
    }
}

/// The plan, once its credentials are such that waiting for them makes sense.
fn await_credentials(plan: Plan, clock: &dyn Clock, stop: &Stop) -> Result<Plan, NoStart> {
    let until = clock.now() + CREDENTIAL_PATIENCE;
    loop {
        let (broken, awaited): (Vec<_>, Vec<_>) = inspect(&plan).into_iter().partition(is_broken);
        if broken.is_empty() {
            for problem in awaited {
                warn!(target: "config", path = problem.path.display().to_string(); "{}", problem.message);
            }
            return Ok(plan);
        }
        if clock.now() >= until {
            for problem in broken {
                match &problem.help {
                    Some(help) => console::fail_with_help(&problem.message, help),
                    None => console::fail(&problem.message),
                }
            }
            return Err(NoStart::Unusable);
        }
        wait(clock, stop, clock.now() + CREDENTIAL_AGAIN)?;
    }
}

fn is_broken(problem: &CredentialProblem) -> bool {
    problem.kind == FileFault::Malformed
}

fn wait(clock: &dyn Clock, stop: &Stop, until: Tick) -> Result<(), NoStart> {
    if pause(clock, stop, until) {
        Ok(())
    } else {
        Err(NoStart::Stopped)
    }
}

/// Takes the lock beside the status file as long as its policy says; an error: another daemon lives.
fn take_lock(lock: &mut StatusLock, clock: &dyn Clock, stop: &Stop) -> Result<LockPolicy, NoStart> {
    let mut policy = LockPolicy::new(clock.now());
    loop {
        let now: Tick = clock.now();
        match policy.step(now, lock.try_acquire()) {
            LockStep::Held(_) | LockStep::RunOn(..) => return Ok(policy),
            LockStep::Wait(next) => wait(clock, stop, next)?,
            LockStep::GiveUp => {
                console::fail_with_help(
                    &format_args!(
                        "`{}`: another secrets-sync holds the lock of this status file",
                        lock.path().display()
                    ),
                    &"stop it, or give this one its own `STATUS_FILE`",
                );
                return Err(NoStart::Unusable);
            }
        }
    }
}
