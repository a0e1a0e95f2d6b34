//! Stores: address, trust, proxy, bounds, and the logins that a store offers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{At, Environment, Section, Store, may_hold_credential, shown};

use super::address;
use super::auth::{self, Outcome};
use super::model::{Address, KvVersion, StorePlan, TlsFiles, TrustedRoots};
use super::proxy;
use super::scope::{Scope, namespace, segments};

/// The store's own name, where it has none.
pub(super) const DEFAULT: &str = "default";

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CONCURRENT: usize = 8;

/// Where distributions keep the certificates that they trust, in Go's order.
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A login that secrets may choose.
pub(super) struct Login {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) auth: Outcome,
    pub(super) client: Option<TlsFiles>,
    /// `authNamespace`, where written.
    pub(super) namespace: Option<String>,
}

/// A store with what its secrets inherit.
pub(super) struct Resolved {
    pub(super) name: String,
    /// `None` where something in it is wrong.
    pub(super) plan: Option<Arc<StorePlan>>,
    pub(super) namespace: String,
    pub(super) kv: KvVersion,
    pub(super) mount: String,
    /// The store's own, first; then the named sets.
    pub(super) logins: Vec<Login>,
}

/// Resolves one store.
pub(super) fn resolve(
    scope: &mut Scope<'_>,
    name: &str,
    store: &Store,
    max_response_bytes: usize,
) -> Resolved {
    let section = &store.section;
    let address = address(scope, section);
    let tls = match &address {
        Some(Address::Http { tls, .. }) => *tls,
        Some(Address::Unix(_)) => false,
        // Its own error is told already.
        None => true,
    };
    let trust = trust(scope, section, tls);
    let proxy = address.as_ref().map_or(Ok(None), |address| {
        proxy::choose(address, scope.environment)
    });
    let proxy = match proxy {
        Ok(proxy) => Some(proxy),
        Err((variable, message)) => {
            let at = At {
                key: variable.to_owned(),
                ..At::default()
            };
            scope.report.error(&at, message);
            None
        }
    };
    let timeout = scope.duration(section, "timeout").unwrap_or(TIMEOUT);
    let max_concurrent = scope
        .number(section, "maxConcurrent", 1, 1024)
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(MAX_CONCURRENT);
    let namespace = scope
        .parsed(section, "namespace", namespace)
        .unwrap_or_default();
    let kv = kv_version(scope, section).unwrap_or_default();
    let mount = scope
        .parsed(section, "mountPath", segments)
        .unwrap_or_else(|| "secret".to_owned());
    let logins = logins(scope, store, tls);
    let plan = match (address, proxy) {
        (Some(address), Some(proxy)) => Some(Arc::new(StorePlan {
            name: name.to_owned(),
            address,
            tls: trust,
            proxy,
            timeout,
            max_concurrent,
            max_response_bytes,
        })),
        _ => None,
    };
    Resolved {
        name: name.to_owned(),
        plan,
        namespace,
        kv,
        mount,
        logins,
    }
}

fn address(scope: &mut Scope<'_>, section: &Section) -> Option<Address> {
    if section.text("address").is_none() {
        if section.is_spoilt(&["address"]) {
            return None;
        }
        scope.report.error_help(
            &section.at,
            "missing key `address`",
            "write `address: https://HOST:PORT`, or `unix:///PATH` for a socket",
        );
        return None;
    }
    let value = scope.value(section, "address")?;
    if value.unset {
        // Only `validate` comes here: the address is shown as it is written.
        return Some(Address::Http {
            tls: true,
            host: if may_hold_credential(&value.text) {
                "[redacted]".to_owned()
            } else {
                value.text.to_string()
            },
            port: 443,
            prefix: String::new(),
        });
    }
    match address::parse(&value.text) {
        Ok(address) => {
            if let Address::Http { tls: false, .. } = &address
                && !address.is_local()
            {
                scope.report.warn(
                    &At { variable: None, ..value.at },
                    "secrets and tokens cross the network in clear text: the address is plain `http`",
                );
            }
            Some(address)
        }
        Err((message, help)) => {
            let message = if may_hold_credential(&value.text) {
                format!("the address {message}")
            } else {
                format!("`{}` {message}", shown(&value.text))
            };
            match help {
                Some(help) => scope.report.error_help(&value.at, message, help),
                None => scope.report.error(&value.at, message),
            }
            None
        }
    }
}

fn trust(scope: &mut Scope<'_>, section: &Section, tls: bool) -> TrustedRoots {
    let ca_cert = scope.path(section, "tlsCACert").ok().flatten();
    let ca_path = scope.path(section, "tlsCAPath").ok().flatten();
    let server_name = scope
        .non_empty(section, "tlsServerName")
        .and_then(|(at, name)| {
            let bad = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
            if name.contains(bad) {
                scope.refuse(&at, &name, ("is not a host name".to_owned(), None));
                return None;
            }
            Some(name)
        });
    let skip_verify = scope.flag(section, "tlsSkipVerify").unwrap_or(false);
    let own = ca_cert.is_some() || ca_path.is_some();
    let system_bundle = (tls && !own && !skip_verify)
        .then(|| system_bundle(scope.environment))
        .flatten();
    if tls && !own && !skip_verify && system_bundle.is_none() {
        scope.report.warn(
            &section.at_of("address"),
            "no bundle of trusted certificates was found on this system: set `tlsCACert`, or the variable `SSL_CERT_FILE`",
        );
    }
    if tls && skip_verify {
        scope.report.warn(
            &At {
                variable: None,
                ..section.at_of("tlsSkipVerify")
            },
            "the server's certificate is not checked: anybody in between can read every secret",
        );
    }
    TrustedRoots {
        ca_cert,
        ca_path,
        system_bundle,
        server_name,
        skip_verify,
    }
}

pub(super) fn system_bundle(environment: &Environment) -> Option<PathBuf> {
    match environment.get_non_empty("SSL_CERT_FILE") {
        Some(file) => Some(PathBuf::from(file)),
        None => SYSTEM_BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists()),
    }
}

fn logins(scope: &mut Scope<'_>, store: &Store, tls: bool) -> Vec<Login> {
    let own_client = auth::client(scope, &store.section);
    let mut logins = vec![Login {
        name: DEFAULT.to_owned(),
        at: store.section.at.clone(),
        auth: auth::resolve(scope, &store.section, own_client.as_ref(), tls),
        namespace: auth_namespace(scope, &store.section),
        client: own_client.clone(),
    }];
    for (name, section) in &store.sets {
        let client = auth::client(scope, section).or_else(|| own_client.clone());
        let auth = auth::resolve(scope, section, client.as_ref(), tls);
        let auth = match auth {
            Outcome::Nothing => {
                scope.report.error(&section.at, NO_CREDENTIALS);
                Outcome::Wrong
            }
            other => other,
        };
        logins.push(Login {
            name: name.clone(),
            at: section.at.clone(),
            auth,
            client,
            namespace: auth_namespace(scope, section),
        });
    }
    logins
}

/// The error of a login that says nothing.
pub(super) const NO_CREDENTIALS: &str =
    "no credentials: `authMethod`, `token`, `roleId` and their file forms are all absent";

fn auth_namespace(scope: &mut Scope<'_>, section: &Section) -> Option<String> {
    scope.parsed(section, "authNamespace", namespace)
}

/// `kvVersion`, where written.
pub(super) fn kv_version(scope: &mut Scope<'_>, section: &Section) -> Option<KvVersion> {
    scope.parsed(section, "kvVersion", |text| match text {
        "v1" => Ok(KvVersion::V1),
        "v2" => Ok(KvVersion::V2),
        _ => Err((
            "is not a version of the KV engine".to_owned(),
            Some("write `v1` or `v2`".to_owned()),
        )),
    })
}
