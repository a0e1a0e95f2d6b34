//! `SecretStore` and `ClusterSecretStore`: address, trust and login of a Vault or OpenBao.
//!
//! What a manifest takes from a Kubernetes Secret has no counterpart outside of a cluster: a
//! variable or a file of the daemon's own stands for it. No credential is ever written, not even
//! one that stands in the manifest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::input::{self, Object};
use super::object::Object as Fields;
use super::output::{Key, Store};
use super::path::Engine;
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
            teller.note_only(
                "spec.provider",
                format!("skipped: `{}` is no Vault", shown(&name)),
            );
            return Some(found(Provider::Other(name)));
        }
    };
    provider.finish(teller);
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
            name: name.to_owned(),
            comments: vec![format!(
                "the store `{}` is not among the manifests: its address and login are yours to fill in",
                shown(name)
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
    login(&mut fields, &home, &mut keys, teller);
    trust(&mut fields, &home, &mut keys, teller);
    if fields.take("headers").is_some() {
        teller.warn(
            &fields.at_of("headers"),
            "the daemon sends no headers of its own",
        );
    }
    for switch in ["readYourWrites", "forwardInconsistent"] {
        fields.default_only(switch, &["false", "true"], "not a boolean", teller);
    }
    // Only for PushSecret.
    fields.take("checkAndSet");
    let path_at = fields.at_of("path");
    fields.finish(teller);
    let mount = path
        .as_deref()
        .map(|path| path.trim_matches('/').to_owned())
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

/// The login: the first that is present wins, as in the operator.
fn login(fields: &mut Fields<'_>, home: &str, keys: &mut Vec<Key>, teller: &mut Teller<'_>) {
    let at = fields.at_of("auth");
    let Some(mut auth) = fields.object("auth", teller) else {
        keys.push(Key {
            comments: vec![
                "no `auth` in the manifest: an agent or proxy adds the token".to_owned(),
            ],
            ..key("authMethod", "none")
        });
        return;
    };
    let namespace = auth.filled("namespace", teller);
    let order = [
        "tokenSecretRef",
        "appRole",
        "kubernetes",
        "ldap",
        "userPass",
        "jwt",
        "cert",
        "iam",
        "gcp",
    ];
    let mut present: Vec<&str> = Vec::new();
    let mut chosen = None;
    for method in order {
        if let Some(section) = auth.object(method, teller) {
            if chosen.is_none() {
                chosen = Some((method, section));
            }
            present.push(method);
        }
    }
    if let [first, others @ ..] = present.as_slice()
        && !others.is_empty()
    {
        teller.warn(
            &at,
            format!(
                "the operator takes `{first}`, the first of several: `{}` not used",
                others.join("`, `")
            ),
        );
    }
    auth.finish(teller);
    match chosen {
        Some(("tokenSecretRef", mut section)) => {
            let wanted = reference(&mut section, teller);
            section.finish(teller);
            keys.push(key("authMethod", "token"));
            keys.push(Key {
                comments: vec![format!("{wanted} held it")],
                ..key("token", "${VAULT_TOKEN}")
            });
        }
        Some(("appRole", section)) => app_role(section, keys, teller),
        Some(("cert", section)) => cert(section, home, keys, teller),
        Some((method, section)) => placeholder(method, section, home, keys, teller),
        None => {
            let message = "no login that the operator knows: a token stands in its place";
            keys.push(Key {
                comments: vec![teller.warn_there(&at, message)],
                ..key("authMethod", "token")
            });
            keys.push(key("token", "${VAULT_TOKEN}"));
        }
    }
    if let Some(namespace) = namespace {
        keys.push(key(
            "authNamespace",
            &plain_name(&namespace, &format!("{at}.namespace"), teller),
        ));
    }
}

fn app_role(mut section: Fields<'_>, keys: &mut Vec<Key>, teller: &mut Teller<'_>) {
    keys.push(key("authMethod", "approle"));
    mount(&mut section, "path", "approle", keys, teller);
    let inline = section.filled("roleId", teller).is_some();
    let role = if inline {
        section.take("roleRef");
        "the role ID stands in the manifest: put it into this variable".to_owned()
    } else {
        held(&mut section, "roleRef", teller)
    };
    keys.push(Key {
        comments: vec![role],
        ..key("roleId", "${VAULT_ROLE_ID}")
    });
    keys.push(Key {
        comments: vec![held(&mut section, "secretRef", teller)],
        ..key("secretId", "${VAULT_SECRET_ID}")
    });
    section.finish(teller);
}

fn cert(mut section: Fields<'_>, home: &str, keys: &mut Vec<Key>, teller: &mut Teller<'_>) {
    keys.push(key("authMethod", "cert"));
    mount(&mut section, "path", "cert", keys, teller);
    if let Some(role) = section.filled("vaultRole", teller) {
        keys.push(key("certRole", &phrase(&role).written));
    }
    let at = section.at.clone();
    let client = held(&mut section, "clientCert", teller);
    let private = held(&mut section, "secretRef", teller);
    section.finish(teller);
    client_files(&at, home, (&client, &private), keys, teller);
}

fn client_files(
    at: &str,
    home: &str,
    (client, private): (&str, &str),
    keys: &mut Vec<Key>,
    teller: &mut Teller<'_>,
) {
    let comment = teller.warn_there(at, "put the certificate and its key into these files");
    keys.push(Key {
        comments: vec![comment, client.to_owned()],
        ..key("tlsClientCert", &format!("{home}/client.crt"))
    });
    keys.push(Key {
        comments: vec![private.to_owned()],
        ..key("tlsClientKey", &format!("{home}/client.key"))
    });
}

/// A method that the daemon does not have.
fn placeholder(
    method: &str,
    mut section: Fields<'_>,
    home: &str,
    keys: &mut Vec<Key>,
    teller: &mut Teller<'_>,
) {
    let at = section.at.clone();
    let parts: Vec<String> = section
        .take_all()
        .iter()
        .filter_map(|(key, node)| Some(format!("{key} `{}`", shown(&node.text()?))))
        .collect();
    let details = if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    };
    let message = format!(
        "the daemon has no login by `{method}`{details}: let an agent (`bao agent`, `vault agent`) log in and write its token \
         into this file, or use `approle` or `cert`"
    );
    keys.push(Key {
        comments: vec![teller.warn_there(&at, message)],
        ..key("authMethod", "token")
    });
    keys.push(key("tokenFile", &format!("{home}/token")));
}

fn mount(
    section: &mut Fields<'_>,
    name: &str,
    default: &str,
    keys: &mut Vec<Key>,
    teller: &mut Teller<'_>,
) {
    if let Some(path) = section.filled(name, teller) {
        let path = path.trim_matches('/');
        if !path.is_empty() && path != default {
            let at = section.at_of(name);
            keys.push(key("authMount", &plain_name(path, &at, teller)));
        }
    }
}

/// `Secret `name`, key `k`` of a selector below a field.
fn held(section: &mut Fields<'_>, field: &str, teller: &mut Teller<'_>) -> String {
    match section.object(field, teller) {
        None => format!("`{field}` is missing in the manifest"),
        Some(mut selector) => {
            let wanted = reference(&mut selector, teller);
            selector.finish(teller);
            format!("{wanted} held it")
        }
    }
}

fn reference(selector: &mut Fields<'_>, teller: &mut Teller<'_>) -> String {
    let kind = selector
        .text("type", teller)
        .unwrap_or_else(|| "Secret".to_owned());
    let name = selector.text("name", teller).unwrap_or_default();
    let key = selector.text("key", teller);
    let namespace = selector.text("namespace", teller);
    let of = namespace
        .map(|namespace| format!("{namespace}/"))
        .unwrap_or_default();
    let key = key
        .map(|key| format!(", key `{}`", shown(&key)))
        .unwrap_or_default();
    format!("the {} `{}{}`{key}", shown(&kind), shown(&of), shown(&name))
}

/// Certificates: whom to trust, and who we are.
fn trust(fields: &mut Fields<'_>, home: &str, keys: &mut Vec<Key>, teller: &mut Teller<'_>) {
    let at = fields.at_of("caBundle");
    let bundle = fields.filled("caBundle", teller);
    let provider = fields.object("caProvider", teller);
    let file = format!("{home}/ca.crt");
    if let Some(bundle) = bundle {
        let mut comments = vec![teller.warn_there(&at, "put the certificates into this file")];
        match pem(&bundle) {
            Some(pem) => comments.push(pem),
            None => comments.push(teller.warn_there(&at, "not the base64 of PEM")),
        }
        keys.push(Key {
            comments,
            ..key("tlsCACert", &file)
        });
    } else if let Some(mut provider) = provider {
        let at = provider.at.clone();
        let wanted = reference(&mut provider, teller);
        provider.finish(teller);
        let message = format!("put the certificates into this file: {wanted} held them");
        keys.push(Key {
            comments: vec![teller.warn_there(&at, message)],
            ..key("tlsCACert", &file)
        });
    }
    if let Some(mut tls) = fields.object("tls", teller) {
        let at = tls.at.clone();
        let client = held(&mut tls, "certSecretRef", teller);
        let private = held(&mut tls, "keySecretRef", teller);
        tls.finish(teller);
        if !keys.iter().any(|key| key.name == "tlsClientCert") {
            client_files(&at, home, (&client, &private), keys, teller);
        }
    }
}

/// The certificates of a bundle: base64 of PEM, once or twice.
fn pem(bundle: &str) -> Option<String> {
    let mut text: String = bundle.to_owned();
    for _ in 0..2 {
        if text.contains("-----BEGIN") {
            break;
        }
        let joined: String = text.split_whitespace().collect();
        text = String::from_utf8(STANDARD.decode(joined).ok()?).ok()?;
    }
    // A private key has no business there, and none in our output.
    (text.contains("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY"))
        .then(|| text.trim().to_owned())
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
