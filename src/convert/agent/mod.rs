//! Configurations of `vault agent`, `bao agent` and consul-template: the static part of them. What
//! depends on leases, on Consul, or runs commands, has no translation and is named.

mod hcl;
mod text;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use hcl::{Item, Value};

use super::input::Input;
use super::name;
use super::operator::Options;
use super::output::{Config, Content, File, Key, Secret, Source, Store, version_name};
use super::phrase::phrase;
use super::remark::{Remark, Teller, Weight, shown};
use super::tree::{self, Node};
use crate::files::{Mode, parse_group, parse_user};
use crate::plan::address;

/// The mode that the agents give a file where nothing is said.
const MODE: &str = "0644";
/// How often the agents read static secrets.
const INTERVAL: &str = "5m";
/// The longest template that is read from a file.
const MAX_TEMPLATE: u64 = 256 << 10;

/// A block, its items taken out one by one.
struct Body<'i> {
    at: String,
    items: Vec<&'i Item>,
}

impl<'i> Body<'i> {
    fn of(at: &str, items: &'i [Item]) -> Self {
        Self {
            at: at.to_owned(),
            items: items.iter().collect(),
        }
    }

    fn at_of(&self, name: &str) -> String {
        if self.at.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.at)
        }
    }

    fn take(&mut self, name: &str) -> Option<&'i Item> {
        let index = self.items.iter().position(|item| item.name == name)?;
        Some(self.items.remove(index))
    }

    fn text(&mut self, name: &str, teller: &mut Teller<'_>) -> Option<String> {
        match &self.take(name)?.value {
            Value::Scalar(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            _ => {
                teller.warn(&self.at_of(name), "expected a single value: ignored");
                None
            }
        }
    }

    /// All blocks of a name, each with its label or its `type`.
    fn blocks(&mut self, name: &str) -> Vec<(Option<&'i str>, Body<'i>)> {
        let mut blocks = Vec::new();
        while let Some(item) = self.take(name) {
            let label = item.labels.first().map(String::as_str);
            collect(&self.at_of(name), label, &item.value, &mut blocks);
        }
        blocks
    }

    fn block(&mut self, name: &str) -> Option<Body<'i>> {
        self.blocks(name).into_iter().next().map(|(_, body)| body)
    }

    fn finish(self, teller: &mut Teller<'_>) {
        for item in &self.items {
            teller.warn(
                &self.at_of(&item.name),
                format!(
                    "line {}: has no counterpart in the daemon: left out",
                    item.line
                ),
            );
        }
    }
}

/// A block, a list of blocks, or (in JSON) a block below its label.
fn collect<'i>(
    at: &str,
    label: Option<&'i str>,
    value: &'i Value,
    into: &mut Vec<(Option<&'i str>, Body<'i>)>,
) {
    match value {
        Value::Body(items) => into.push((label, Body::of(at, items))),
        Value::List(values) => values
            .iter()
            .for_each(|value| collect(at, label, value, into)),
        Value::Scalar(_) => {}
    }
}

/// Converts configurations; each adds its secrets, all to one store.
pub(super) fn convert(inputs: &[Input], options: &Options, remarks: &mut Vec<Remark>) -> Config {
    let mut config = Config::default();
    let mut names = Names::default();
    for input in inputs {
        let place = format!("{}:1", input.name);
        match items(input) {
            Ok(items) => {
                let mut teller = Teller::new(remarks, &place, "");
                let store = one(input, &items, options, &mut config, &mut names, &mut teller);
                match config.stores.first() {
                    None => config.stores.push(store),
                    Some(first) if first.keys.iter().map(|key| &key.value).eq(store.keys.iter().map(|key| &key.value)) => {}
                    Some(_) => teller.warn("vault", "another server or login than in the first file: its secrets go to the first"),
                }
            }
            Err((line, message)) => remarks.push(Remark {
                place: format!("{}:{line}", input.name),
                object: String::new(),
                field: String::new(),
                message,
                weight: Weight::Unread,
            }),
        }
    }
    config
}

#[derive(Default)]
struct Names {
    secrets: HashMap<String, usize>,
    paths: BTreeSet<String>,
}

/// The items of a file in HCL or JSON.
fn items(input: &Input) -> Result<Vec<Item>, (usize, String)> {
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(&input.text);
    if text.trim_start().starts_with('{') {
        let tree =
            tree::parse(text).map_err(|broken| (broken.line.unwrap_or(1), broken.message))?;
        return Ok(items_of(&tree.root));
    }
    hcl::parse(text)
}

fn items_of(node: &Node) -> Vec<Item> {
    let Node::Map(entries) = node else {
        return Vec::new();
    };
    entries
        .iter()
        .filter(|(_, node)| *node != Node::Null)
        .map(|(name, node)| Item {
            name: name.clone(),
            labels: Vec::new(),
            value: value_of(node),
            line: 1,
        })
        .collect()
}

fn value_of(node: &Node) -> Value {
    match node {
        Node::Map(_) => Value::Body(items_of(node)),
        Node::List(items) => Value::List(items.iter().map(value_of).collect()),
        other => Value::Scalar(other.text().unwrap_or_default()),
    }
}

fn one(
    input: &Input,
    items: &[Item],
    options: &Options,
    config: &mut Config,
    names: &mut Names,
    teller: &mut Teller<'_>,
) -> Store {
    let mut root = Body::of("", items);
    let mut store = Store {
        name: "vault".to_owned(),
        kv: options.kv_version.unwrap_or_default(),
        mount: options.mount_path.clone(),
        ..Store::default()
    };
    server(&mut root, options, &mut store, teller);
    let interval = settings(&mut root, teller);
    let templates = root.blocks("template");
    // What concerns the program and not the secrets: told, but nothing is lost.
    for key in [
        "pid_file",
        "log_level",
        "log_file",
        "log_format",
        "kill_signal",
        "reload_signal",
        "disable_mlock",
        "exit_after_auth",
    ] {
        if root.take(key).is_some() {
            teller.note_only(
                key,
                "only for the agent: the daemon is told by its environment",
            );
        }
    }
    root.finish(teller);
    store.comments = std::mem::take(&mut teller.comments);
    for (index, (_, body)) in templates.into_iter().enumerate() {
        let at = format!("template[{index}]");
        let made = template(input, Body { at, ..body }, &interval, names, teller);
        config.secrets.push(made);
    }
    if config.secrets.is_empty() {
        teller.warn("template", "there is none: nothing to write");
    }
    store
}

/// Address, trust and login.
fn server(root: &mut Body<'_>, options: &Options, store: &mut Store, teller: &mut Teller<'_>) {
    let mut vault = root
        .block("vault")
        .unwrap_or_else(|| Body::of("vault", &[]));
    let written = vault
        .text("address", teller)
        .or_else(|| options.address.clone());
    let at = vault.at_of("address");
    store.keys.push(match written {
        Some(address) if address::parse(&address).is_ok() => {
            key("address", &phrase(&address).written)
        }
        Some(_) => Key {
            comments: vec![teller.warn_there(&at, "cannot be used: set the variable `VAULT_ADDR`")],
            ..key("address", "${VAULT_ADDR}")
        },
        None => key("address", "${VAULT_ADDR}"),
    });
    if let Some(namespace) = vault.text("namespace", teller) {
        store
            .keys
            .push(key("namespace", &phrase(&namespace).written));
    }
    let token = vault.take("token").is_some();
    let token_file = vault.text("vault_agent_token_file", teller);
    for name in [
        "renew_token",
        "unwrap_token",
        "retry",
        "default_lease_duration",
        "lease_renewal_threshold",
        "enabled",
        "grace",
    ] {
        if vault.take(name).is_some() {
            teller.note_only(
                &vault.at_of(name),
                "the daemon has its own way: see its documentation of tokens and retries",
            );
        }
    }
    let mut ssl = vault
        .block("ssl")
        .unwrap_or_else(|| Body::of("vault.ssl", &[]));
    ssl.take("enabled");
    let verify = ssl.text("verify", teller);
    let mut tls = Vec::new();
    for (own, names) in [
        ("tlsCACert", ["ca_cert", "ca_cert"]),
        ("tlsCAPath", ["ca_path", "ca_path"]),
        ("tlsClientCert", ["client_cert", "cert"]),
        ("tlsClientKey", ["client_key", "key"]),
        ("tlsServerName", ["tls_server_name", "server_name"]),
    ] {
        let [flat, inner] = names;
        if let Some(value) = vault.text(flat, teller).or_else(|| ssl.text(inner, teller)) {
            tls.push(key(own, &phrase(&value).written));
        }
    }
    let skip = vault.text("tls_skip_verify", teller);
    if skip.as_deref() == Some("true") || verify.as_deref() == Some("false") {
        tls.push(key("tlsSkipVerify", "true"));
    }
    ssl.finish(teller);
    vault.finish(teller);
    match root.block("auto_auth") {
        Some(auto_auth) => login(auto_auth, store, teller),
        None if token_file.is_some() || token => {
            store.keys.push(key("authMethod", "token"));
            match token_file {
                Some(file) => store.keys.push(key("tokenFile", &phrase(&file).written)),
                None => store.keys.push(Key {
                    comments: vec![
                        "the token stands in the file: put it into this variable".to_owned(),
                    ],
                    ..key("token", "${VAULT_TOKEN}")
                }),
            }
        }
        None => {
            store.keys.push(key("authMethod", "token"));
            store.keys.push(key("token", "${VAULT_TOKEN}"));
        }
    }
    // A client certificate of the login comes first.
    for key in tls {
        if !store.keys.iter().any(|known| known.name == key.name) {
            store.keys.push(key);
        }
    }
}

fn key(name: &'static str, value: &str) -> Key {
    Key {
        name,
        value: value.to_owned(),
        comments: Vec::new(),
    }
}

fn login(mut auto_auth: Body<'_>, store: &mut Store, teller: &mut Teller<'_>) {
    if !auto_auth.blocks("sink").is_empty() {
        teller.warn(
            "auto_auth.sink",
            "the daemon hands its token to nobody: what reads the sink needs another login",
        );
    }
    let mut methods = auto_auth.blocks("method").into_iter();
    auto_auth.finish(teller);
    let Some((label, mut method)) = methods.next() else {
        teller.warn("auto_auth.method", "is missing");
        store.keys.push(key("authMethod", "token"));
        store.keys.push(key("token", "${VAULT_TOKEN}"));
        return;
    };
    // In JSON the method may be the name of a map.
    let inner;
    let mut label = label
        .map(str::to_owned)
        .or_else(|| method.text("type", teller));
    if label.is_none()
        && let [item] = method.items.as_slice()
        && let Value::Body(items) = &item.value
    {
        label = Some(item.name.clone());
        inner = items;
        method = Body::of("auto_auth.method", inner);
    }
    method.take("type");
    let kind = label.unwrap_or_default();
    let mut settings = method
        .block("config")
        .unwrap_or_else(|| Body::of("auto_auth.method.config", &[]));
    settings.at = "auto_auth.method.config".to_owned();
    let mount = method.text("mount_path", teller);
    let namespace = method.text("namespace", teller);
    let wrapping = ["wrap_ttl", "min_backoff", "max_backoff", "exit_on_err"];
    for name in wrapping {
        if method.take(name).is_some() {
            teller.note_only(&method.at_of(name), "the daemon has its own way");
        }
    }
    method.finish(teller);
    match kind.as_str() {
        "approle" => {
            store.keys.push(key("authMethod", "approle"));
            file_or(
                &mut settings,
                "role_id_file_path",
                "roleIdFile",
                ("roleId", "${VAULT_ROLE_ID}"),
                store,
                teller,
            );
            file_or(
                &mut settings,
                "secret_id_file_path",
                "secretIdFile",
                ("secretId", "${VAULT_SECRET_ID}"),
                store,
                teller,
            );
            if let Some(path) = settings.text("secret_id_response_wrapping_path", teller) {
                store
                    .keys
                    .push(key("secretIdWrappingPath", &phrase(&path).written));
            }
            if settings
                .text("remove_secret_id_file_after_reading", teller)
                .as_deref()
                != Some("false")
            {
                teller.note(
                    "auto_auth.method.config.remove_secret_id_file_after_reading",
                    "the daemon leaves the secret ID where it is, and reads it at each login",
                );
            }
        }
        "token_file" => {
            store.keys.push(key("authMethod", "token"));
            file_or(
                &mut settings,
                "token_file_path",
                "tokenFile",
                ("token", "${VAULT_TOKEN}"),
                store,
                teller,
            );
        }
        "cert" => {
            store.keys.push(key("authMethod", "cert"));
            for (name, own) in [
                ("name", "certRole"),
                ("client_cert", "tlsClientCert"),
                ("client_key", "tlsClientKey"),
                ("ca_cert", "tlsCACert"),
            ] {
                if let Some(value) = settings.text(name, teller) {
                    store.keys.push(key(own, &phrase(&value).written));
                }
            }
            settings.take("reload");
        }
        other => {
            let message = format!(
                "the daemon has no login by `{}`: let an agent log in and write its token into this file, or use `approle` or `cert`",
                shown(other)
            );
            store.keys.push(Key {
                comments: vec![teller.warn_there("auto_auth.method", message)],
                ..key("authMethod", "token")
            });
            store.keys.push(key("tokenFile", "/etc/secrets-sync/token"));
            settings.items.clear();
        }
    }
    settings.finish(teller);
    if let Some(mount) = mount {
        let mount = mount.trim_matches('/');
        let mount = mount.strip_prefix("auth/").unwrap_or(mount);
        if mount != kind && matches!(kind.as_str(), "approle" | "cert") {
            store.keys.push(key("authMount", &phrase(mount).written));
        }
    }
    if let Some(namespace) = namespace {
        store
            .keys
            .push(key("authNamespace", &phrase(&namespace).written));
    }
}

fn file_or(
    settings: &mut Body<'_>,
    theirs: &str,
    ours: &'static str,
    (inline, variable): (&'static str, &str),
    store: &mut Store,
    teller: &mut Teller<'_>,
) {
    match settings.text(theirs, teller) {
        Some(path) => store.keys.push(key(ours, &phrase(&path).written)),
        None => store.keys.push(key(inline, variable)),
    }
}

/// How often secrets are read; what else is said for all templates.
fn settings(root: &mut Body<'_>, teller: &mut Teller<'_>) -> String {
    let Some(mut body) = root.block("template_config") else {
        return INTERVAL.to_owned();
    };
    let interval = body.text("static_secret_render_interval", teller);
    for name in [
        "exit_on_retry_failure",
        "max_connections_per_host",
        "lease_renewal_threshold",
    ] {
        if body.take(name).is_some() {
            teller.note_only(
                &body.at_of(name),
                "the daemon has its own way: it goes on for as long as it takes",
            );
        }
    }
    body.finish(teller);
    match interval {
        None => INTERVAL.to_owned(),
        Some(text) => {
            // A number alone is seconds.
            let text = if text.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("{text}s")
            } else {
                text
            };
            super::interval::interval(Some(&text), None, "template_config", teller)
        }
    }
}

fn template(
    input: &Input,
    mut body: Body<'_>,
    interval: &str,
    names: &mut Names,
    teller: &mut Teller<'_>,
) -> Secret {
    let at = body.at.clone();
    let destination = body.text("destination", teller).unwrap_or_default();
    let contents = contents(input, &mut body, teller);
    for name in ["left_delimiter", "right_delimiter"] {
        let own = if name.starts_with("left") { "{{" } else { "}}" };
        if let Some(text) = body.text(name, teller).filter(|text| text != own) {
            teller.warn(
                &body.at_of(name),
                format!("`{}`: only `{{{{` and `}}}}` are read", shown(&text)),
            );
        }
    }
    for name in ["command", "exec", "command_timeout"] {
        if body.take(name).is_some() {
            teller.warn(
                &body.at_of(name),
                "the daemon runs no commands: let the service watch its file",
            );
        }
    }
    for name in [
        "error_on_missing_key",
        "create_dest_dirs",
        "wait",
        "error_fatal",
        "map_to_environment_variable",
    ] {
        body.take(name);
    }
    if body.text("backup", teller).as_deref() == Some("true") {
        teller.warn(
            &body.at_of("backup"),
            "no backup of the file before is kept",
        );
    }
    let mut file = File::new(destination.clone(), Content::Template(String::new()));
    mode(&mut body, &mut file, teller);
    file.owner = who(
        &mut body,
        "user",
        |name| parse_user(name).is_ok(),
        &mut file.comments,
        teller,
    );
    file.group = who(
        &mut body,
        "group",
        |name| parse_group(name).is_ok(),
        &mut file.comments,
        teller,
    );
    body.finish(teller);
    let base = destination.rsplit('/').next().unwrap_or("");
    let component = name::component(base);
    let mut secret = Secret {
        name: name::unique(&component, &mut names.secrets),
        interval: interval.to_owned(),
        ..Secret::default()
    };
    let result = match (&contents, destination.is_empty()) {
        (_, true) => Err("without `destination`".to_owned()),
        (Err(message), _) => Err(message.clone()),
        (Ok(_), _) if !names.paths.insert(destination.clone()) => {
            Err("another template writes the same file".to_owned())
        }
        (Ok(text), _) => text::translate(text),
    };
    match result {
        Ok(done) => {
            secret.many = done.reads.len() > 1;
            for read in done.reads {
                if read.guessed {
                    teller.warn(
                        &at,
                        format!(
                            "`{}/{}`: taken as key `{}` of the mount `{}`, KV {}",
                            read.mount,
                            read.key,
                            read.key,
                            read.mount,
                            version_name(read.kv)
                        ),
                    );
                }
                secret.sources.push(Source {
                    alias: read.alias,
                    store: 0,
                    mount: read.mount,
                    key: read.key,
                    kv: read.kv,
                    version: read.version,
                    metadata: false,
                });
            }
            file.content = Content::Template(component.clone());
            secret.templates.push((component, done.text));
            secret.files.push(file);
        }
        Err(message) => {
            teller.warn(&at, message);
            secret.off = Some("not converted".to_owned());
            secret.interval = String::new();
            if let Ok(text) = contents {
                let lines = text.lines().take(40);
                secret
                    .comments
                    .extend(lines.map(|line| format!("  | {line}")));
            }
        }
    }
    secret
        .comments
        .splice(0..0, std::mem::take(&mut teller.comments));
    secret
}

/// The text of a template: in the configuration, or in a file.
fn contents(input: &Input, body: &mut Body<'_>, teller: &mut Teller<'_>) -> Result<String, String> {
    if let Some(text) = body.text("contents", teller) {
        body.take("source");
        return Ok(text);
    }
    let source = body
        .text("source", teller)
        .ok_or("neither `contents` nor `source`")?;
    let beside = Path::new(&input.name)
        .parent()
        .map(|parent| parent.join(&source));
    let paths = [Some(Path::new(&source).to_owned()), beside];
    for path in paths.into_iter().flatten() {
        // Never a pipe or a device.
        let Ok(about) = std::fs::metadata(&path) else {
            continue;
        };
        if about.is_file() && about.len() <= MAX_TEMPLATE {
            return std::fs::read_to_string(&path)
                .map_err(|error| format!("`{}` cannot be read: {error}", shown(&source)));
        }
    }
    Err(format!(
        "its text is in `{}`, which cannot be read here",
        shown(&source)
    ))
}

fn mode(body: &mut Body<'_>, file: &mut File, teller: &mut Teller<'_>) {
    let at = body.at_of("perms");
    match body.text("perms", teller) {
        None => {
            file.mode = Some(MODE.to_owned());
            file.comments
                .push("0644 is the agents' default: 0600 where only the owner reads it".to_owned());
        }
        Some(text) => match Mode::parse(&text) {
            Ok(mode) => file.mode = Some(format!("{:04o}", mode.bits())),
            Err(message) => file
                .comments
                .push(teller.warn_there(&at, format!("{message}: 0600"))),
        },
    }
}

/// A user or group that this machine knows.
fn who(
    body: &mut Body<'_>,
    key: &str,
    known: impl Fn(&str) -> bool,
    comments: &mut Vec<String>,
    teller: &mut Teller<'_>,
) -> Option<String> {
    let at = body.at_of(key);
    let name = body.text(key, teller).filter(|name| name != "-1")?;
    if known(&name) {
        return Some(name);
    }
    comments.push(teller.warn_there(
        &at,
        format!("`{}` is not known on this machine: left out", shown(&name)),
    ));
    None
}
