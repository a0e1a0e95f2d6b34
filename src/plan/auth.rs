//! How a session gets its token: the method, written or inferred, and its credentials.

use std::path::Path;

use crate::config::{At, Section};
use crate::secret::SecretString;

use super::model::{Auth, Credential, TlsFiles};
use super::scope::{Scope, segments};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Token,
    AppRole,
    Cert,
    None,
}

impl Method {
    const ALL: [Self; 4] = [Self::Token, Self::AppRole, Self::Cert, Self::None];

    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::AppRole => "approle",
            Self::Cert => "cert",
            Self::None => "none",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }

    /// The keys that are this method's credentials.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Token => &["token", "tokenFile"],
            Self::AppRole => &[
                "roleId",
                "roleIdFile",
                "secretId",
                "secretIdFile",
                "secretIdWrappingPath",
            ],
            Self::Cert => &["certRole"],
            Self::None => &[],
        }
    }

    fn is_present(self, section: &Section) -> bool {
        // The wrapping path alone makes no AppRole.
        self.keys()
            .iter()
            .any(|key| *key != "secretIdWrappingPath" && section.text(key).is_some())
    }
}

/// The keys that tell how to log in.
const KEYS: [&str; 8] = [
    "authMethod",
    "token",
    "tokenFile",
    "roleId",
    "roleIdFile",
    "secretId",
    "secretIdFile",
    "certRole",
];

/// What a section says about logging in.
pub(super) enum Outcome {
    /// All of it.
    Auth(Auth),
    /// Nothing: an error only where somebody uses it.
    Nothing,
    /// Something wrong, already reported.
    Wrong,
}

/// Resolves the login of a store or of one of its credential sets.
pub(super) fn resolve(
    scope: &mut Scope<'_>,
    section: &Section,
    client: Option<&TlsFiles>,
    tls: bool,
) -> Outcome {
    let method = match method(scope, section) {
        Ok(Some(method)) => method,
        Ok(None) if section.is_spoilt(&KEYS) => return Outcome::Wrong,
        Ok(None) => return Outcome::Nothing,
        Err(()) => return Outcome::Wrong,
    };
    unused(scope, section, method);
    if matches!(method, Method::Token | Method::None) {
        scope.value(section, "authMount");
    }
    let auth = match method {
        Method::Token => require(scope, section, method, "token", "tokenFile").map(Auth::Token),
        Method::AppRole => approle(scope, section),
        Method::Cert => cert(scope, section, client, tls),
        Method::None => Some(Auth::None),
    };
    auth.map_or(Outcome::Wrong, Outcome::Auth)
}

/// The method written, else the one that the credentials tell.
fn method(scope: &mut Scope<'_>, section: &Section) -> Result<Option<Method>, ()> {
    if section.text("authMethod").is_some() {
        let method = scope.parsed(section, "authMethod", |text| {
            Method::parse(text).ok_or_else(|| {
                (
                    "is not an auth method".to_owned(),
                    Some("write `token`, `approle`, `cert` or `none`".to_owned()),
                )
            })
        });
        return method.map(Some).ok_or(());
    }
    match (
        Method::Token.is_present(section),
        Method::AppRole.is_present(section),
    ) {
        (true, false) => Ok(Some(Method::Token)),
        (false, true) => Ok(Some(Method::AppRole)),
        (true, true) => {
            scope.report.error_help(
                &section.at,
                format!(
                    "credentials of two kinds and no `authMethod`: {}",
                    origins(section, [Method::Token, Method::AppRole])
                ),
                "write `authMethod: token` or `authMethod: approle`",
            );
            Err(())
        }
        (false, false) => Ok(Method::Cert.is_present(section).then_some(Method::Cert)),
    }
}

/// The keys that are there, and the variables that brought them.
fn origins(section: &Section, methods: [Method; 2]) -> String {
    let named: Vec<String> = methods
        .iter()
        .flat_map(|method| method.keys())
        .filter_map(|key| section.text(key).map(|text| (key, text)))
        .map(|(key, text)| match text.at.variable {
            Some(variable) => format!("`{key}` (from the variable `{variable}`)"),
            None => format!("`{key}`"),
        })
        .collect();
    named.join(", ")
}

/// Warns of credentials that the method does not use; they are expanded all the same.
fn unused(scope: &mut Scope<'_>, section: &Section, method: Method) {
    for other in Method::ALL {
        if other == method {
            continue;
        }
        for key in other.keys() {
            let Some(text) = section.text(key) else {
                continue;
            };
            let what = match text.at.variable {
                Some(variable) => format!("the variable `{variable}`"),
                None => format!("`{key}`"),
            };
            let at = At {
                variable: None,
                ..text.at.clone()
            };
            scope.report.warn(
                &at,
                format!(
                    "{what} is not used: the auth method is `{}`",
                    method.as_str()
                ),
            );
            scope.value(section, key);
        }
    }
}

fn approle(scope: &mut Scope<'_>, section: &Section) -> Option<Auth> {
    let role_id = require(scope, section, Method::AppRole, "roleId", "roleIdFile");
    let secret_id = credential(scope, section, "secretId", "secretIdFile");
    let mount = mount(scope, section, Method::AppRole);
    let wrapping_path = scope.parsed(section, "secretIdWrappingPath", segments);
    if wrapping_path.is_some() && secret_id == Ok(None) {
        scope.report.error_help(
            &section.at_of("secretIdWrappingPath"),
            "a wrapping path without a secret ID",
            "name the wrapping token with `secretIdFile` or `secretId`",
        );
        return None;
    }
    Some(Auth::AppRole {
        mount: mount?,
        role_id: role_id?,
        secret_id: secret_id.ok()?,
        wrapping_path,
    })
}

fn cert(
    scope: &mut Scope<'_>,
    section: &Section,
    client: Option<&TlsFiles>,
    tls: bool,
) -> Option<Auth> {
    let mount = mount(scope, section, Method::Cert);
    let role = scope.non_empty(section, "certRole").map(|(_, role)| role);
    if client.is_none() && section.is_spoilt(&["tlsClientCert", "tlsClientKey"]) {
        return None;
    }
    if client.is_none() {
        scope.report.error(
            &section.at_of("authMethod"),
            "the auth method `cert` needs `tlsClientCert` and `tlsClientKey`",
        );
        return None;
    }
    if !tls {
        scope.report.error(
            &section.at_of("authMethod"),
            "the auth method `cert` needs an `https` address",
        );
        return None;
    }
    Some(Auth::Cert {
        mount: mount?,
        role,
    })
}

fn mount(scope: &mut Scope<'_>, section: &Section, method: Method) -> Option<String> {
    if section.text("authMount").is_none() {
        return Some(method.as_str().to_owned());
    }
    let mount = scope.parsed(section, "authMount", segments)?;
    if let Some(rest) = mount.strip_prefix("auth/") {
        scope.report.warn(
            &section.at_of("authMount"),
            format!(
                "the login goes to `auth/{mount}/login`; for `auth/{rest}/login` write `{rest}`"
            ),
        );
    }
    Some(mount)
}

fn require(
    scope: &mut Scope<'_>,
    section: &Section,
    method: Method,
    inline: &str,
    file: &str,
) -> Option<Credential> {
    match credential(scope, section, inline, file) {
        Ok(Some(credential)) => Some(credential),
        Ok(None) if section.is_spoilt(&[inline, file]) => None,
        Ok(None) => {
            scope.report.error(
                &section.at_of("authMethod"),
                format!(
                    "the auth method `{}` needs `{inline}` or `{file}`",
                    method.as_str()
                ),
            );
            None
        }
        Err(()) => None,
    }
}

/// A credential in either form; an error in it is reported.
fn credential(
    scope: &mut Scope<'_>,
    section: &Section,
    inline: &str,
    file: &str,
) -> Result<Option<Credential>, ()> {
    let has_both = section.text(inline).is_some() && section.text(file).is_some();
    if has_both {
        scope.value(section, inline);
        scope.value(section, file);
        scope.report.error_help(
            &section.at_of(file),
            format!("`{inline}` and `{file}` exclude each other"),
            "leave one of them away",
        );
        return Err(());
    }
    if section.text(inline).is_some() {
        let value = scope.value(section, inline).ok_or(())?;
        let text = value.text.trim();
        if text.is_empty() {
            let message = match value.variables.as_slice() {
                [] => format!("`{inline}` is empty"),
                [name] => format!("`{inline}` is empty: the variable `{name}` is"),
                names => format!(
                    "`{inline}` is empty: the variables `{}` are",
                    names.join("`, `")
                ),
            };
            scope.report.error(&value.at, message);
            return Err(());
        }
        if text.contains(|c: char| c.is_control()) {
            scope
                .report
                .error(&value.at, format!("`{inline}` holds a control character"));
            return Err(());
        }
        return Ok(Some(Credential::Inline(SecretString::new(text.to_owned()))));
    }
    Ok(scope.path(section, file)?.map(Credential::File))
}

/// The client certificate of a section: both files, or neither.
pub(super) fn client(scope: &mut Scope<'_>, section: &Section) -> Option<TlsFiles> {
    let cert = scope.path(section, "tlsClientCert").ok().flatten();
    let key = scope.path(section, "tlsClientKey").ok().flatten();
    let lonely = |scope: &mut Scope<'_>, present: &str, absent: &str| {
        if section.text(absent).is_none() {
            scope.report.error(
                &section.at_of(present),
                format!("`{present}` without `{absent}`"),
            );
        }
    };
    match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (Some(_), None) => {
            lonely(scope, "tlsClientCert", "tlsClientKey");
            None
        }
        (None, Some(_)) => {
            lonely(scope, "tlsClientKey", "tlsClientCert");
            None
        }
        (None, None) => None,
    }
}

/// Whether a path is one that `validate` could not expand.
pub(super) fn is_unexpanded(path: &Path) -> bool {
    path.to_string_lossy().contains("${")
}
