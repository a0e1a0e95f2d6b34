//! From the file to the plan.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{
    self, At, BYTES_HELP, Document, Environment, Hidden, Note, Problems, Report, Section, Source,
    Store, apply_overrides, names_a_server, parse_bytes,
};

use super::Purpose;
use super::claims::Claims;
use super::model::{Notice, Plan};
use super::scope::Scope;
use super::secret::{self, Common, Stores};
use super::store::{self, DEFAULT};

const MAX_SECRETS: u64 = 100;
const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_RESPONSE_BYTES: u64 = 10 << 20;
/// The largest size that a limit may be raised to.
const MOST_BYTES: u64 = 1 << 30;
/// The most secrets that a limit may be raised to: each has a thread.
const MOST_SECRETS: u64 = 10_000;

/// Reads the configuration file and resolves it.
///
/// # Errors
///
/// Every problem at once, each with its place.
pub fn load(file: &Path, environment: &Environment, purpose: Purpose) -> Result<Plan, Problems> {
    planned(&config::read(file)?, environment, purpose)
}

/// The same for a file that was read before, perhaps by another process.
///
/// # Errors
///
/// As [`load`]; a pipe or a device is one: what came from it does not come again.
pub fn load_again(
    file: &Path,
    environment: &Environment,
    purpose: Purpose,
) -> Result<Plan, Problems> {
    planned(&config::read_again(file)?, environment, purpose)
}

/// Resolves a configuration that is at hand as text; `file` is what messages call it.
///
/// # Errors
///
/// Every problem at once, each with its place.
pub fn load_text(
    file: &Path,
    text: String,
    environment: &Environment,
    purpose: Purpose,
) -> Result<Plan, Problems> {
    let source = Source::new(file.to_owned(), text.into());
    planned(&source, environment, purpose)
}

/// Places and keys cost two thirds of all that a good configuration takes, and only who has something to tell needs
/// them: it is read once more then.
fn planned(source: &Source, environment: &Environment, purpose: Purpose) -> Result<Plan, Problems> {
    let plan = |places| {
        let mut report = Report::default();
        let document = config::parse(source, places, &mut report)?;
        Ok(plan(source, document, report, environment, purpose))
    };
    match plan(false)? {
        Ok((plan, false)) => Ok(plan),
        _ => plan(true)?.map(|(plan, _)| plan),
    }
}

/// The plan, and whether it has notices whose places were not read.
fn plan(
    source: &Source,
    document: Document,
    report: Report,
    environment: &Environment,
    purpose: Purpose,
) -> Result<(Plan, bool), Problems> {
    let mut scope = Scope {
        environment,
        purpose,
        report,
        source,
        working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        templates: HashMap::new(),
    };
    let plan = resolve(&mut scope, document);
    match plan {
        Some(mut plan) if scope.report.is_clean() => {
            let unsaid = scope.report.leaves_unsaid();
            let (notes, hidden) = scope.report.into_notes();
            plan.notices = notices(notes, source);
            plan.hidden = hidden;
            Ok((plan, unsaid))
        }
        _ => Err(scope.report.into_problems(&source.file, &source.text)),
    }
}

fn notices(notes: Vec<Note>, source: &Source) -> Vec<Notice> {
    notes
        .into_iter()
        .map(|note| Notice {
            place: note
                .at
                .place
                .map(|(line, column)| format!("{}:{line}:{column}", source.file.display())),
            key: Some(note.at.key).filter(|key| !key.is_empty()),
            message: note.message,
            warning: note.warning,
        })
        .collect()
}

fn resolve(scope: &mut Scope<'_>, document: Document) -> Option<Plan> {
    let limits = &document.limits;
    let max_secrets = scope
        .number(limits, "maxSecrets", 1, MOST_SECRETS)
        .unwrap_or(MAX_SECRETS);
    let max_file_bytes = size(scope, limits, "maxFileBytes", MAX_FILE_BYTES);
    let max_response_bytes = size(scope, limits, "maxResponseBytes", MAX_RESPONSE_BYTES);

    let mut stores = Vec::new();
    let default = default_store(scope, document.store);
    let default_is_missing = default.is_none() && !document.store_spoilt;
    if let Some(default) = default {
        stores.push(store::resolve(scope, DEFAULT, &default, max_response_bytes));
    }
    for (name, store) in &document.stores {
        stores.push(store::resolve(scope, name, store, max_response_bytes));
    }
    let mut stores = Stores::new(stores, default_is_missing);

    let Some((at, secrets)) = document.secrets else {
        if !document.secrets_spoilt {
            scope.report.error(&At::default(), "missing key `secrets`");
        }
        return None;
    };
    check_number(scope, &at, secrets.len(), max_secrets);
    let mut common = Common {
        max_file_bytes,
        names: HashMap::new(),
        claims: Claims::default(),
        resorted: Vec::new(),
    };
    let resolved: Vec<_> = secrets
        .iter()
        .enumerate()
        .map(|(index, secret)| secret::resolve(scope, secret, index, &mut stores, &mut common))
        .collect();
    tell_resorted(scope, &at, &common.resorted);

    let secrets: Vec<Arc<_>> = resolved
        .into_iter()
        .map(|secret| secret.map(Arc::new))
        .collect::<Option<_>>()?;
    let used = |name: &str| {
        name == DEFAULT
            || stores
                .sessions
                .iter()
                .any(|session| session.key.store == name)
    };
    Some(Plan {
        file: scope.source.file.clone(),
        stores: stores
            .all
            .iter()
            .filter(|store| used(&store.name))
            .map(|store| store.plan.clone())
            .collect::<Option<_>>()?,
        sessions: stores.sessions,
        secrets,
        notices: Vec::new(),
        hidden: Hidden::default(),
    })
}

/// `secretStore` with the environment's overrides; a server that the environment names is a
/// default store, too.
fn default_store(scope: &mut Scope<'_>, written: Option<Store>) -> Option<Store> {
    let mut store = match written {
        Some(store) => store,
        None if names_a_server(scope.environment) => Store {
            section: Section::empty(At {
                key: "secretStore".to_owned(),
                ..At::default()
            }),
            sets: Vec::new(),
        },
        None => return None,
    };
    apply_overrides(&mut store.section, scope.environment, &mut scope.report);
    Some(store)
}

fn size(scope: &mut Scope<'_>, limits: &Section, key: &str, default: u64) -> usize {
    let size = scope.parsed(limits, key, |text| {
        let refused = |message: &str| (message.to_owned(), Some(BYTES_HELP.to_owned()));
        match parse_bytes(text) {
            Ok(0) => Err(refused("is zero")),
            Ok(size) if size > MOST_BYTES => Err(refused("is more than `1GiB`")),
            Ok(size) => Ok(size),
            Err(message) => Err(refused(message)),
        }
    });
    usize::try_from(size.unwrap_or(default)).unwrap_or(usize::MAX)
}

fn check_number(scope: &mut Scope<'_>, at: &At, number: usize, most: u64) {
    if number as u64 > most {
        scope.report.error_help(
            at,
            format!("{number} secrets are more than `limits.maxSecrets` allows ({most})"),
            "raise `limits.maxSecrets`",
        );
    }
    if number == 0 {
        scope
            .report
            .warn(at, "there are no secrets: nothing will be done");
    }
}

fn tell_resorted(scope: &mut Scope<'_>, at: &At, secrets: &[String]) {
    if secrets.is_empty() {
        return;
    }
    scope.report.warn(
        at,
        format!(
            "files take their templates in written order, where the Go tool sorted the names: \
             let every file name its `template` in {}",
            secrets
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    );
}
