//! All that is known of one secret, from the daemon's files, from the configuration and from disk.

use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::files::{self, Digests, FileReport};
use crate::cli::arguments::Explain;
use crate::cli::config_path::{self, NotFound};
use crate::config::Environment;
use crate::observe::details::{self, Attempt, DaemonFacts, Known, SecretFacts, SourceFacts};
use crate::observe::status_file::{self, Candidates, Missing};
use crate::observe::{SecretEntry, SessionEntry, StatusDocument, StoreEntry};
use crate::plan::{self, Purpose};
use crate::sync::facts;

/// All of it. The keys of `--json`; later versions add some and never change these.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    /// The secret.
    pub(super) name: String,
    /// Whether a daemon lives that tells of it.
    pub(super) running: bool,
    /// Where sources and files are known from: `daemon`, `configuration`, or `none`.
    pub(super) known_from: &'static str,
    /// What to know about all this.
    pub(super) notes: Vec<String>,
    /// As in the status document; of a daemon that ended, the last one that it left.
    pub(super) status: Option<SecretEntry>,
    /// The refresh interval, or `once`.
    pub(super) interval: Option<String>,
    /// Counts neither for ready nor for degraded.
    pub(super) optional: Option<bool>,
    /// `files` or `directory`.
    pub(super) layout: Option<String>,
    /// What is read, each with its session.
    pub(super) sources: Vec<SourceReport>,
    /// What is written, and what lies there.
    pub(super) files: Vec<FileReport>,
    /// The last attempts, the oldest first.
    pub(super) attempts: Vec<AttemptReport>,
    /// The daemon that wrote this down.
    pub(super) daemon: Option<DaemonFacts>,
    #[serde(skip)]
    pub(super) passed_over: Vec<String>,
    /// For the words of the table.
    #[serde(skip)]
    pub(super) document: StatusDocument,
}

/// A source, and how it stands with its login.
#[derive(Debug, Serialize)]
pub(super) struct SourceReport {
    #[serde(flatten)]
    pub(super) facts: SourceFacts,
    /// `closed`, `half_open`, `open`: its store's.
    pub(super) breaker: Option<String>,
    /// As in the status document.
    pub(super) session: Option<SessionEntry>,
}

/// An attempt, with its time for people.
#[derive(Debug, Serialize)]
pub(super) struct AttemptReport {
    /// When it ended, RFC 3339.
    pub(super) at: String,
    #[serde(flatten)]
    pub(super) attempt: Attempt,
}

/// Why there is nothing to tell.
pub(super) enum Nothing {
    /// The configuration that was named is not there.
    ConfigMissing(NotFound),
    /// Others are known.
    UnknownName {
        known: Vec<String>,
        passed_over: Vec<String>,
    },
    /// Neither a daemon nor a configuration.
    NotRunning(Vec<String>),
}

/// What the daemon's files say.
#[derive(Default)]
struct Daemon {
    running: bool,
    document: Option<StatusDocument>,
    known: Known,
    notes: Vec<String>,
    passed_over: Vec<String>,
    /// Where nobody lives.
    places: Vec<String>,
}

pub(super) fn gather(
    options: &Explain,
    config: Option<PathBuf>,
    environment: &Environment,
    now: SystemTime,
) -> Result<Explained, Nothing> {
    let name = options.name.as_str();
    let mut daemon = ask(options, environment, now);
    let written = configured(config, &daemon, environment)?;
    let mut notes = std::mem::take(&mut daemon.notes);
    let from_file = written.as_ref().and_then(|written| match written {
        Ok((_, secrets)) => secrets.iter().find(|secret| secret.name == name),
        Err(_) => None,
    });
    let status = daemon
        .document
        .as_ref()
        .and_then(|document| document.secrets.iter().find(|secret| secret.name == name))
        .cloned();
    let running = daemon.known.secret.take();
    match &written {
        Some(Ok((file, _))) if running.is_some() => {
            notes.extend(changed(running.as_ref(), from_file, file));
        }
        Some(Err(why)) => notes.push(why.clone()),
        _ => {}
    }
    let (known_from, secret) = match (running, from_file) {
        (Some(secret), _) => ("daemon", Some(secret)),
        (None, Some(secret)) => ("configuration", Some(secret.clone())),
        (None, None) => ("none", None),
    };
    if secret.is_none() && status.is_none() {
        let mut known = daemon.known.names;
        if let Some(Ok((_, secrets))) = &written {
            known.extend(secrets.iter().map(|secret| secret.name.clone()));
        }
        if let Some(document) = &daemon.document {
            known.extend(document.secrets.iter().map(|secret| secret.name.clone()));
        }
        return Err(if known.is_empty() && !daemon.running {
            Nothing::NotRunning(daemon.places)
        } else {
            Nothing::UnknownName {
                known,
                passed_over: daemon.passed_over,
            }
        });
    }
    if known_from == "configuration" && daemon.running {
        notes.push(
            "no details of the daemon: sources and files are those of the configuration".into(),
        );
    }
    let document = daemon.document.unwrap_or_default();
    let told = !daemon.known.daemon.version.is_empty();
    let of_daemon = told.then_some(daemon.known.daemon);
    let secret = secret.unwrap_or_default();
    let digests = Digests::new();
    let files = secret.files.iter();
    Ok(Explained {
        name: name.to_owned(),
        running: daemon.running,
        known_from,
        notes,
        interval: (known_from != "none").then_some(secret.interval),
        optional: (known_from != "none").then_some(secret.optional),
        files: files
            .map(|file| files::report(file, &secret.layout, of_daemon.as_ref(), digests.as_ref()))
            .collect(),
        layout: (known_from != "none").then_some(secret.layout),
        sources: secret
            .sources
            .into_iter()
            .map(|source| with_session(source, &document.stores))
            .collect(),
        attempts: daemon.known.attempts.into_iter().map(timed).collect(),
        daemon: of_daemon,
        status,
        passed_over: daemon.passed_over,
        document,
    })
}

/// Looks for the daemon, and for what it left if none lives.
fn ask(options: &Explain, environment: &Environment, now: SystemTime) -> Daemon {
    let name = options.name.as_str();
    let candidates = Candidates::new(options.status_file.as_deref(), environment);
    let mut daemon = Daemon::default();
    let path = match status_file::read(&candidates, now) {
        Ok(found) => {
            daemon.running = true;
            daemon.document = Some(found.document);
            daemon.passed_over = found.passed_over;
            Some(found.path)
        }
        Err(Missing::Unusable {
            path,
            why,
            passed_over,
        }) => {
            daemon.running = true;
            daemon.passed_over = passed_over;
            daemon.notes.push(format!("`{}`: {why}", path.display()));
            Some(path)
        }
        Err(Missing::NotRunning(places)) => {
            daemon.places = places;
            candidates
                .paths()
                .iter()
                .find(|path| matches!(details::read(path, name), Ok(Some(_))))
                .cloned()
        }
    };
    let Some(path) = path else {
        daemon.notes.push(format!(
            "the daemon does not run, and has left nothing to tell ({})",
            daemon.places.join("; ")
        ));
        return daemon;
    };
    match details::read(&path, name) {
        Ok(known) => daemon.known = known.unwrap_or_default(),
        Err(why) => daemon.notes.push(why),
    }
    if !daemon.running {
        daemon.notes.push(format!(
            "the daemon does not run: this is what it left ({})",
            daemon.places.join("; ")
        ));
        daemon.document = status_file::left_behind(&path);
    }
    daemon
}

/// A configuration file and its secrets, or why it cannot be used.
type Written = Result<(PathBuf, Vec<SecretFacts>), String>;

/// The configuration that is named; else the one that the daemon says it reads; else, where no
/// daemon says anything, the one that `run` would take.
fn configured(
    given: Option<PathBuf>,
    daemon: &Daemon,
    environment: &Environment,
) -> Result<Option<Written>, Nothing> {
    let told = Some(&daemon.known.daemon.config).filter(|path| !path.is_empty());
    // What the daemon had out of a pipe is gone.
    let load = if given.is_none() && told.is_some() {
        plan::load_again
    } else {
        plan::load
    };
    let file = match (given, told) {
        (None, Some(path)) => PathBuf::from(path),
        (given, _) => {
            let is_named = given.is_some();
            match config_path::find(given, environment) {
                Ok(file) => file,
                Err(missing) if is_named => return Err(Nothing::ConfigMissing(missing)),
                Err(_) => return Ok(None),
            }
        }
    };
    Ok(Some(match load(&file, environment, Purpose::Validate) {
        Ok(plan) => Ok((file, facts(&plan))),
        Err(problems) => Err(format!(
            "the configuration file `{}` cannot be used as it is now (`secrets-sync validate`): {}",
            file.display(),
            problems.entries().next().unwrap_or_default()
        )),
    }))
}

/// What the file says otherwise than the configuration that runs. What the environment of another
/// process may change (addresses, namespaces, the way of the login) is left out.
fn changed(
    running: Option<&SecretFacts>,
    written: Option<&SecretFacts>,
    file: &Path,
) -> Option<String> {
    let file = absolute(file).unwrap_or_else(|_| file.to_owned());
    let file = file.display();
    let running = running?;
    let Some(written) = written else {
        return Some(format!(
            "`{file}` no longer has this secret: a reload (SIGHUP) ends it"
        ));
    };
    let of = |source: &SourceFacts| {
        let SourceFacts {
            alias,
            store,
            credentials,
            mount,
            key,
            kv_version,
            version,
            metadata,
            ..
        } = source.clone();
        (
            (alias, store, credentials),
            (mount, key, kv_version, version, metadata),
        )
    };
    let sources = |secret: &SecretFacts| secret.sources.iter().map(of).collect::<Vec<_>>();
    let differs = [
        ("what is read", sources(running) != sources(written)),
        ("the files", running.files != written.files),
        ("the layout", running.layout != written.layout),
        ("the interval", running.interval != written.interval),
        ("`optional`", running.optional != written.optional),
    ];
    let parts: Vec<_> = differs
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect();
    (!parts.is_empty()).then(|| {
        format!(
            "`{file}` says otherwise than what runs ({}): a reload (SIGHUP) takes it up",
            parts.join(", ")
        )
    })
}

fn with_session(facts: SourceFacts, stores: &[StoreEntry]) -> SourceReport {
    let store = stores.iter().find(|store| store.name == facts.store);
    let session = store.and_then(|store| {
        store.sessions.iter().find(|session| {
            session.credentials == facts.credentials && session.namespace == facts.auth_namespace
        })
    });
    SourceReport {
        breaker: store.map(|store| store.breaker.clone()),
        session: session.cloned(),
        facts,
    }
}

fn timed(attempt: Attempt) -> AttemptReport {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(attempt.at_ms));
    let at = at.filter(|at| *at < crate::observe::view::end_of_calendar());
    AttemptReport {
        at: at.map_or_else(String::new, |at| {
            humantime::format_rfc3339_millis(at).to_string()
        }),
        attempt,
    }
}
