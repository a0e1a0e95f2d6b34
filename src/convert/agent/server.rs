//! The server and the login.

use super::body::Body;
use super::hcl::Value;
use crate::convert::operator::Options;
use crate::convert::output::Key;
use crate::convert::output::Store;
use crate::convert::phrase::phrase;
use crate::convert::remark::Teller;
use crate::convert::remark::shown;
use crate::plan::address;

/// Address, trust and login.
pub(super) fn server(
    root: &mut Body<'_>,
    options: &Options,
    store: &mut Store,
    teller: &mut Teller<'_>,
) {
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

pub(super) fn key(name: &'static str, value: &str) -> Key {
    Key {
        name,
        value: value.to_owned(),
        comments: Vec::new(),
    }
}

pub(super) fn login(mut auto_auth: Body<'_>, store: &mut Store, teller: &mut Teller<'_>) {
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

pub(super) fn file_or(
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
