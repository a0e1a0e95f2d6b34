//! Secrets: what each reads, how often, and with which login.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, At, DurationError, Section, check_name, nearest, parse_duration, shown};
use crate::render::Content;

use super::auth::Outcome;
use super::claims::Claims;
use super::model::{Interval, KvVersion, Layout, Output, Secret, SessionKey, SessionPlan, Source};
use super::outputs;
use super::scope::{Refusal, Scope, namespace, segments};
use super::store::{self, DEFAULT, kv_version};

const INTERVAL: Duration = Duration::from_secs(300);
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// What sources inherit from their secret.
const INHERITED: [&str; 7] = [
    "mountPath",
    "kvVersion",
    "version",
    "namespace",
    "credentials",
    "store",
    "metadata",
];

/// The stores of a configuration, and the sessions that secrets have asked for so far.
pub(super) struct Stores {
    pub(super) all: Vec<store::Resolved>,
    pub(super) sessions: Vec<Arc<SessionPlan>>,
    /// Sessions whose login is wrong, so that it is told once.
    refused: Vec<SessionKey>,
    known: HashSet<SessionKey>,
    /// Whether `secretStore` is not there at all.
    default_is_missing: bool,
}

impl Stores {
    pub(super) fn new(all: Vec<store::Resolved>, default_is_missing: bool) -> Self {
        Self {
            all,
            sessions: Vec::new(),
            refused: Vec::new(),
            known: HashSet::new(),
            default_is_missing,
        }
    }
}

/// What holds for every secret.
pub(super) struct Common {
    pub(super) max_file_bytes: usize,
    /// Where each name was first used.
    pub(super) names: HashMap<String, usize>,
    /// Every path that is written.
    pub(super) claims: Claims,
    /// Secrets whose files take their templates by position, in an order that the Go tool would
    /// have sorted.
    pub(super) resorted: Vec<String>,
}

/// Resolves one secret; `None` where something in it is wrong.
pub(super) fn resolve(
    scope: &mut Scope<'_>,
    secret: &config::Secret,
    index: usize,
    stores: &mut Stores,
    common: &mut Common,
) -> Option<Secret> {
    let section = &secret.section;
    let name = name(scope, section, index, common);
    let sources = sources(scope, secret, stores);
    let interval = interval(scope, section);
    let optional = scope.flag(section, "optional").unwrap_or(false);
    let layout = match section.text("layout") {
        Some(_) => scope.parsed(section, "layout", |text| match text {
            "files" => Ok(Layout::Files),
            "directory" => Ok(Layout::Directory),
            _ => Err((
                "is not a layout".to_owned(),
                Some("write `files` or `directory`".to_owned()),
            )),
        }),
        None => Some(Layout::Files),
    };
    let shown_name = name.clone().unwrap_or_else(|| format!("secrets[{index}]"));
    let outputs = outputs::resolve(
        scope,
        secret,
        &shown_name,
        layout.unwrap_or_default(),
        &mut common.claims,
        &mut common.resorted,
    );
    if let (Some(sources), Some(outputs)) = (&sources, &outputs) {
        check_fields(scope, secret, sources, outputs);
    }
    Some(Secret {
        name: name?,
        sources: sources?,
        interval: interval?,
        optional,
        layout: layout?,
        outputs: outputs?,
        max_file_bytes: common.max_file_bytes,
    })
}

fn name(
    scope: &mut Scope<'_>,
    section: &Section,
    index: usize,
    common: &mut Common,
) -> Option<String> {
    let Some(_) = section.text("name") else {
        scope.missing(section, "name");
        return None;
    };
    let (at, name) = scope.string(section, "name")?;
    if let Err(message) = check_name(&name) {
        scope
            .report
            .error(&at, format!("the name of a secret {message}"));
        return None;
    }
    if let Some(first) = common.names.get(&name) {
        scope.report.error(
            &at,
            format!("the name `{name}` is that of secrets[{first}], too"),
        );
        return None;
    }
    common.names.insert(name.clone(), index);
    Some(name)
}

fn interval(scope: &mut Scope<'_>, section: &Section) -> Option<Interval> {
    const HELP: &str =
        "write `1s` or more, or `once` for a secret that is fetched until it succeeds";
    if section.text("refreshInterval").is_none() {
        return Some(Interval::Every(INTERVAL));
    }
    scope.parsed(section, "refreshInterval", |text| {
        let refused = |message: &str| -> Refusal { (message.to_owned(), Some(HELP.to_owned())) };
        if text == "once" {
            return Ok(Interval::Once);
        }
        match parse_duration(text) {
            Ok(Duration::ZERO) => Err(refused("is zero, which is no interval")),
            Ok(interval) if interval < LEAST_INTERVAL => Err(refused("is less than a second")),
            Ok(interval) => Ok(Interval::Every(interval)),
            Err(DurationError::Negative) => Err(refused("is less than zero, which is no interval")),
            Err(error) => Err((
                error.message().to_owned(),
                Some(DurationError::HELP.to_owned()),
            )),
        }
    })
}

fn sources(
    scope: &mut Scope<'_>,
    secret: &config::Secret,
    stores: &mut Stores,
) -> Option<Vec<Source>> {
    let section = &secret.section;
    let Some((at, sources)) = &secret.sources else {
        return source(scope, None, section, None, stores).map(|source| vec![source]);
    };
    for key in ["key", "path"] {
        if section.text(key).is_some() {
            scope.report.error_help(
                &section.at_of(key),
                format!("`{key}` and `sources` exclude each other"),
                "make it an entry of `sources`, or leave `sources` away",
            );
            scope.value(section, key);
        }
    }
    if sources.is_empty() {
        scope.report.error(at, "`sources` is empty");
        return None;
    }
    // Every source may have its own, and then nobody reads these.
    for key in INHERITED {
        scope.value(section, key);
    }
    let mut all = Vec::with_capacity(sources.len());
    for (alias, own) in sources {
        if let Err(message) = check_alias(alias) {
            scope
                .report
                .error(&own.at, format!("the name of a source {message}"));
        }
        all.push(source(scope, Some(alias), own, Some(section), stores));
    }
    all.into_iter().collect()
}

/// Templates name sources as they name fields: `.db.x`.
fn check_alias(alias: &str) -> Result<(), String> {
    check_name(alias)?;
    if alias.contains('.') {
        return Err("may not hold a dot, for templates write `.NAME.FIELD`".to_owned());
    }
    Ok(())
}

/// With several sources the first name of a `field` is that of one of them.
fn check_fields(
    scope: &mut Scope<'_>,
    secret: &config::Secret,
    sources: &[Source],
    outputs: &[Output],
) {
    let aliases: Vec<&str> = sources.iter().filter_map(|s| s.alias.as_deref()).collect();
    // With a `key` beside them, one of the two has to go, and with it perhaps this.
    let both = secret.section.text("key").is_some() || secret.section.text("path").is_some();
    let Some((_, files)) = secret
        .files
        .as_ref()
        .filter(|_| !aliases.is_empty() && !both)
    else {
        return;
    };
    for (file, output) in files.iter().zip(outputs) {
        let Content::Field(field, _) = &output.content else {
            continue;
        };
        if !aliases.iter().any(|alias| field.is_below(alias)) {
            scope.report.error_help(
                &file.at_of("field"),
                format!("`{}` names none of the sources", shown(field.as_str())),
                format!(
                    "write `SOURCE.FIELD`; the sources are `{}`",
                    shown(&aliases.join("`, `"))
                ),
            );
        }
    }
}

/// One read. `own` is where it is written, `outer` the secret that it inherits from.
fn source(
    scope: &mut Scope<'_>,
    alias: Option<&String>,
    own: &Section,
    outer: Option<&Section>,
    stores: &mut Stores,
) -> Option<Source> {
    let key = key(scope, own);
    let holder = |name: &str| match outer {
        Some(outer) if own.text(name).is_none() => outer,
        _ => own,
    };
    let store = chosen_store(scope, holder("store"), stores);
    let inherits = |name: &str| holder(name).text(name).is_none();
    let mount = scope.parsed(holder("mountPath"), "mountPath", segments);
    let kv = kv_version(scope, holder("kvVersion"));
    let metadata = scope.flag(holder("metadata"), "metadata").unwrap_or(false);
    let version = scope.number(holder("version"), "version", 1, u64::MAX);
    let wanted_namespace = scope.parsed(holder("namespace"), "namespace", namespace);
    let index = store?;
    let found = &stores.all[index];
    let mount = match mount {
        None if inherits("mountPath") => found.mount.clone(),
        other => other?,
    };
    let kv = match kv {
        None if inherits("kvVersion") => found.kv,
        other => other?,
    };
    let namespace = match wanted_namespace {
        None if inherits("namespace") => found.namespace.clone(),
        other => other?,
    };
    let version = check_engine(scope, own, outer, kv, version, metadata)?;
    let session = session(scope, holder("credentials"), index, &namespace, stores);
    Some(Source {
        alias: alias.cloned(),
        session: session?,
        namespace,
        mount,
        key: key?,
        kv,
        version,
        metadata,
    })
}

fn key(scope: &mut Scope<'_>, section: &Section) -> Option<String> {
    let name = match (section.text("key"), section.text("path")) {
        (Some(_), Some(_)) => {
            scope.report.error_help(
                &section.at_of("path"),
                "`key` and `path` are one and the same",
                "leave `path` away",
            );
            scope.value(section, "path");
            "key"
        }
        (None, Some(_)) => "path",
        (Some(_), None) => "key",
        (None, None) => {
            if !section.is_spoilt(&["path", "sources"]) {
                scope.missing(section, "key");
            }
            return None;
        }
    };
    scope.parsed(section, name, segments)
}

/// The pin and the metadata are KV v2's; the pin that counts is the answer.
fn check_engine(
    scope: &mut Scope<'_>,
    own: &Section,
    outer: Option<&Section>,
    kv: KvVersion,
    version: Option<u64>,
    metadata: bool,
) -> Option<Option<u64>> {
    let at_of = |name: &str| match outer {
        Some(outer) if own.text(name).is_none() => outer.at_of(name),
        _ => own.at_of(name),
    };
    let mut fits = true;
    if kv == KvVersion::V1 {
        if metadata {
            scope
                .report
                .error(&at_of("metadata"), "KV v1 has no metadata");
            fits = false;
        }
        if version.is_some() {
            scope.report.error(
                &at_of("version"),
                "KV v1 has no versions: `version` needs `kvVersion: v2`",
            );
            fits = false;
        }
    }
    if !fits {
        return None;
    }
    if metadata && version.is_some() {
        scope.report.warn(
            &at_of("version"),
            "the metadata of a secret have no versions: the pin does nothing here",
        );
        return Some(None);
    }
    Some(version)
}

/// The place in `stores` of the one that a section names, else of the default one.
fn chosen_store(scope: &mut Scope<'_>, section: &Section, stores: &Stores) -> Option<usize> {
    let (at, name) = match section.text("store") {
        Some(_) => scope.string(section, "store")?,
        None => (section.at.clone(), DEFAULT.to_owned()),
    };
    let found = stores.all.iter().position(|store| store.name == name);
    if found.is_none() && (name != DEFAULT || stores.default_is_missing) {
        if name == DEFAULT {
            // Told once, for the whole file.
            scope.report.error_help(
                &At::default(),
                "missing key `secretStore`: there are secrets that name no `store`",
                "write `secretStore` with its `address`, or set the variable `VAULT_ADDR`",
            );
        } else {
            let names = stores.all.iter().map(|store| store.name.as_str());
            scope.report.error_help(
                &at,
                format!("there is no store `{}`", shown(&name)),
                choices(&name, names, "stores"),
            );
        }
    }
    found
}

/// The session of a login and namespace: made when first asked for.
fn session(
    scope: &mut Scope<'_>,
    section: &Section,
    index: usize,
    namespace: &str,
    stores: &mut Stores,
) -> Option<SessionKey> {
    let store = &stores.all[index];
    let (at, name) = match section.text("credentials") {
        Some(_) => scope.string(section, "credentials")?,
        None => (section.at.clone(), DEFAULT.to_owned()),
    };
    let Some(login) = store.logins.iter().find(|login| login.name == name) else {
        let names = store.logins.iter().map(|login| login.name.as_str());
        scope.report.error_help(
            &at,
            format!(
                "the store `{}` has no credentials `{}`",
                store.name,
                shown(&name)
            ),
            choices(&name, names, "credentials"),
        );
        return None;
    };
    let default = if login.name == DEFAULT {
        &store.namespace
    } else {
        namespace
    };
    let key = SessionKey {
        store: store.name.clone(),
        credentials: login.name.clone(),
        namespace: login
            .namespace
            .clone()
            .unwrap_or_else(|| default.to_owned()),
    };
    if stores.known.contains(&key) {
        return Some(key);
    }
    match &login.auth {
        Outcome::Auth(auth) => {
            stores.sessions.push(Arc::new(SessionPlan {
                key: key.clone(),
                auth: auth.clone(),
                client: login.client.clone(),
            }));
            stores.known.insert(key.clone());
            Some(key)
        }
        Outcome::Nothing => {
            if !stores.refused.contains(&key) {
                scope.report.error(&login.at, store::NO_CREDENTIALS);
                stores.refused.push(key);
            }
            None
        }
        Outcome::Wrong => None,
    }
}

/// The help for a name that is none.
pub(super) fn choices<'n>(
    name: &str,
    names: impl Iterator<Item = &'n str> + Clone,
    what: &str,
) -> String {
    match nearest(name, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let names: Vec<&str> = names.take(20).collect();
            if names.is_empty() {
                format!("there are no {what}")
            } else {
                format!("{what}: {}", names.join(", "))
            }
        }
    }
}
