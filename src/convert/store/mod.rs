//! `SecretStore` and `ClusterSecretStore`: address, trust and login of a Vault or OpenBao.
//!
//! What a manifest takes from a Kubernetes Secret has no counterpart outside of a cluster: a
//! variable or a file of the daemon's own stands for it. No credential is ever written, not even
//! one that stands in the manifest.

mod login;
mod trust;

use super::input::{self, Object};
use super::object::Object as Fields;
use super::output::{Key, Store};
use super::path::{self, Engine};
use super::phrase::phrase;
use super::remark::{Teller, shown};
use crate::plan::{KvVersion, address};

/// Where files are expected that a Kubernetes Secret or ConfigMap held.
const DIRECTORY: &str = "/etc/secrets-sync";

/// A store of the manifests.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// `SecretStore` or `ClusterSecretStore`.
    pub(super) cluster: bool,
    /// Its name.
    pub(super) name: String,
    /// Where it lies.
    pub(super) namespace: Option<String>,
    /// What it is.
    pub(super) provider: Provider,
}

/// What a store is.
#[derive(Clone, Debug)]
pub(super) enum Provider {
    /// A Vault or OpenBao.
    Vault(Box<Vault>),
    /// Another product.
    Other(String),
}

/// A Vault or OpenBao, translated.
#[derive(Clone, Debug)]
pub(super) struct Vault {
    /// Its part of the configuration.
    pub(super) store: Store,
    /// `server`, as written.
    pub(super) server: String,
    /// Of reads, as written.
    pub(super) namespace: String,
    /// `path`, as written.
    pub(super) path: Option<String>,
    /// Its version.
    pub(super) kv: KvVersion,
    /// Whether keys are taken as they are.
    pub(super) literal: bool,
}

impl Vault {
    /// How it reaches its secrets.
    pub(super) fn engine(&self) -> Engine<'_> {
        Engine {
            path: self.path.as_deref(),
            kv: self.kv,
            literal: self.literal,
        }
    }
}

/// What the command line says where a manifest says nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    /// `--mount-path`.
    pub(super) mount: Option<String>,
    /// `--kv-version`.
    pub(super) kv: Option<KvVersion>,
}

/// Reads a store; `None` where it holds nothing that could be one.
pub(super) fn read(object: &Object, defaults: &Defaults, teller: &mut Teller<'_>) -> Option<Found> {
    input::envelope(object, teller);
    let spec = object.node.get("spec")?;
    let mut spec = Fields::of(spec, "spec", teller);
    let mut provider = spec.object("provider", teller)?;
    let found = |provider| Found {
        cluster: object.kind == "ClusterSecretStore",
        name: object.name.clone(),
        namespace: object.namespace.clone(),
        provider,
    };
    let (node, literal) = match (provider.take("vault"), provider.take("openBao")) {
        (Some(node), _) => (node, false),
        (None, Some(node)) => (node, true),
        (None, None) => {
            let names = provider.take_all();
            let name = names.first().map_or("none", |(key, _)| *key).to_owned();
            teller.note_only("", format!("skipped: `{}` is no Vault", shown(&name)));
            return Some(found(Provider::Other(name)));
        }
    };
    for (other, _) in provider.take_all() {
        teller.warn(
            &format!("spec.provider.{}", shown(other)),
            "left out: a store has one provider, and here the Vault is taken",
        );
    }
    for key in [
        "controller",
        "conditions",
        "retrySettings",
        "refreshInterval",
    ] {
        if spec.take(key).is_some() {
            teller.note_only(&format!("spec.{key}"), "only for the operator");
        }
    }
    spec.finish(teller);
    let at = if literal {
        "spec.provider.openBao"
    } else {
        "spec.provider.vault"
    };
    let vault = vault(
        Fields::of(node, at, teller),
        literal,
        defaults,
        object,
        teller,
    );
    Some(found(Provider::Vault(Box::new(vault))))
}

/// A store that is not among the inputs.
pub(super) fn assumed(name: &str, defaults: &Defaults) -> Vault {
    let kv = defaults.kv.unwrap_or_default();
    let mount = defaults
        .mount
        .clone()
        .unwrap_or_else(|| "secret".to_owned());
    Vault {
        store: Store {
            name: if name.is_empty() { "unnamed" } else { name }.to_owned(),
            comments: vec![format!(
                "{}: address and login are yours to fill in",
                missing(name)
            )],
            keys: vec![
                key("address", "${VAULT_ADDR}"),
                key("authMethod", "token"),
                key("token", "${VAULT_TOKEN}"),
            ],
            mount: Some(mount.clone()),
            kv,
        },
        server: String::new(),
        namespace: String::new(),
        path: Some(mount),
        kv,
        literal: false,
    }
}

/// What is said of a store that no manifest describes.
pub(super) fn missing(name: &str) -> String {
    if name.is_empty() {
        "no store is named".to_owned()
    } else {
        format!("the store `{}` is not among the manifests", shown(name))
    }
}

fn key(name: &'static str, value: &str) -> Key {
    Key {
        name,
        value: value.to_owned(),
        comments: Vec::new(),
    }
}

fn vault(
    mut fields: Fields<'_>,
    literal: bool,
    defaults: &Defaults,
    object: &Object,
    teller: &mut Teller<'_>,
) -> Vault {
    let mut keys = Vec::new();
    let server = fields.filled("server", teller).unwrap_or_default();
    keys.push(server_key(&server, &fields, teller));
    let namespace = fields.filled("namespace", teller).unwrap_or_default();
    if !namespace.is_empty() {
        keys.push(key(
            "namespace",
            &plain_name(&namespace, &fields.at_of("namespace"), teller),
        ));
    }
    let path = match (fields.text("path", teller), literal) {
        (Some(path), _) => Some(path),
        (None, true) => Some("kv".to_owned()),
        (None, false) => defaults.mount.clone(),
    };
    let kv = version(&mut fields, defaults, teller);
    let home = format!("{DIRECTORY}/{}", super::name::component(&object.name));
    login::login(&mut fields, &home, &mut keys, teller);
    trust::trust(&mut fields, &home, &mut keys, teller);
    if fields.take("headers").is_some() {
        teller.warn(
            &fields.at_of("headers"),
            "the daemon sends no headers of its own",
        );
    }
    for (switch, meaning) in [
        (
            "readYourWrites",
            "the daemon writes nothing to a server that it would have to read",
        ),
        (
            "forwardInconsistent",
            "not asked for: what a standby cannot answer yet is asked again",
        ),
    ] {
        let at = fields.at_of(switch);
        match fields.text(switch, teller).as_deref() {
            None | Some("" | "false") => {}
            Some("true") => teller.note_only(&at, meaning),
            Some(other) => teller.warn(&at, format!("`{}`: not a boolean", shown(other))),
        }
    }
    if fields.take("checkAndSet").is_some() {
        teller.note_only(&fields.at_of("checkAndSet"), "only for PushSecret");
    }
    let path_at = fields.at_of("path");
    fields.finish(teller);
    // As the requests have it; one that leads nowhere is told where it is used.
    let mount = path
        .as_deref()
        .and_then(path::clean)
        .filter(|path| !path.is_empty());
    if let Some(mount) = &mount
        && mount.ends_with("/data")
    {
        teller.warn(
            &path_at,
            format!(
                "the operator reads `{mount}/data/…`: is `/data` meant to be part of the mount?"
            ),
        );
    }
    let store = Store {
        name: object.name.clone(),
        comments: std::mem::take(&mut teller.comments),
        keys,
        mount,
        kv,
    };
    Vault {
        store,
        server,
        namespace,
        path,
        kv,
        literal,
    }
}

/// The address, where it is one.
fn server_key(server: &str, fields: &Fields<'_>, teller: &mut Teller<'_>) -> Key {
    let at = fields.at_of("server");
    let written = phrase(server);
    let mut found = key("address", &written.written);
    if !written.variables.is_empty() && !written.written.contains("{{") {
        // As it is: an address whose variable is not set is only a warning of `validate`.
        let names: Vec<String> = written
            .variables
            .iter()
            .map(|name| format!("${{{name}}}"))
            .collect();
        if let [name] = names.as_slice()
            && server.trim() == *name
        {
            found.value.clone_from(name);
            return found;
        }
    }
    let wrong = if server.is_empty() {
        Some("is missing".to_owned())
    } else if written.variables.is_empty() {
        address::parse(server)
            .err()
            .map(|(message, _)| format!("`{}` {message}", shown(server)))
    } else {
        // Whatever the variables hold.
        let sample = server.split("${").next().unwrap_or("").to_owned() + "x";
        address::parse(&sample)
            .err()
            .map(|(message, _)| format!("`{}` {message}", shown(server)))
    };
    if let Some(wrong) = wrong {
        // An address with a password in it is not to be shown.
        let wrong = if server.contains('@') {
            "cannot be used".to_owned()
        } else {
            wrong
        };
        found
            .comments
            .push(teller.warn_there(&at, format!("{wrong}: set the variable `VAULT_ADDR`")));
        found.value = "${VAULT_ADDR}".to_owned();
    } else if is_in_cluster(server) {
        let message =
            "a name inside the cluster: write one that this machine can reach, or set `VAULT_ADDR`";
        teller.note_only(&at, message);
        found.comments.push(message.to_owned());
    }
    found
}

fn is_in_cluster(server: &str) -> bool {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    host.ends_with(".svc") || host.ends_with(".cluster.local") || host.contains(".svc.")
}

fn version(fields: &mut Fields<'_>, defaults: &Defaults, teller: &mut Teller<'_>) -> KvVersion {
    let default = defaults.kv.unwrap_or_default();
    match fields.filled("version", teller).as_deref() {
        None => default,
        Some("v1") => KvVersion::V1,
        Some("v2") => KvVersion::V2,
        Some(other) => {
            teller.warn(
                &fields.at_of("version"),
                format!("`{}` is not `v1` or `v2`: taken as `v2`", shown(other)),
            );
            KvVersion::V2
        }
    }
}

/// A path that the configuration can take, variables written.
fn plain_name(text: &str, at: &str, teller: &mut Teller<'_>) -> String {
    let written = phrase(text).written;
    let bad = |c: char| !c.is_ascii_graphic();
    if written.contains(bad)
        || written
            .split('/')
            .any(|segment| matches!(segment, "." | ".."))
    {
        teller.warn(at, format!("`{}` cannot be used as it stands", shown(text)));
        return super::name::component(text);
    }
    written
}
