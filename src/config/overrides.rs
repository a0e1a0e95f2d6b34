//! Variables of the environment that win over the default store's keys.

use zeroize::Zeroizing;

use super::Environment;
use super::report::{At, Report};
use super::section::{Section, Text};

/// A variable, whether `OpenBao` has a `BAO_` twin of it, the key that it replaces, and the other
/// form of that key, which it puts out of force.
const OVERRIDES: [(&str, Option<&str>, &str, Option<&str>); 13] = [
    ("VAULT_ADDR", Some("BAO_ADDR"), "address", None),
    ("VAULT_TOKEN", Some("BAO_TOKEN"), "token", Some("tokenFile")),
    ("VAULT_TOKEN_FILE", None, "tokenFile", Some("token")),
    ("VAULT_ROLE_ID", None, "roleId", Some("roleIdFile")),
    ("VAULT_SECRET_ID", None, "secretId", Some("secretIdFile")),
    (
        "VAULT_SECRET_ID_FILE",
        None,
        "secretIdFile",
        Some("secretId"),
    ),
    ("VAULT_NAMESPACE", Some("BAO_NAMESPACE"), "namespace", None),
    ("VAULT_CACERT", Some("BAO_CACERT"), "tlsCACert", None),
    ("VAULT_CAPATH", Some("BAO_CAPATH"), "tlsCAPath", None),
    (
        "VAULT_SKIP_VERIFY",
        Some("BAO_SKIP_VERIFY"),
        "tlsSkipVerify",
        None,
    ),
    (
        "VAULT_CLIENT_CERT",
        Some("BAO_CLIENT_CERT"),
        "tlsClientCert",
        None,
    ),
    (
        "VAULT_CLIENT_KEY",
        Some("BAO_CLIENT_KEY"),
        "tlsClientKey",
        None,
    ),
    (
        "VAULT_TLS_SERVER_NAME",
        Some("BAO_TLS_SERVER_NAME"),
        "tlsServerName",
        None,
    ),
];

/// Whether the environment names a server, so that there is a default store without
/// `secretStore`.
pub(crate) fn names_a_server(environment: &Environment) -> bool {
    ["BAO_ADDR", "VAULT_ADDR"]
        .iter()
        .any(|name| environment.get_non_empty(name).is_some())
}

/// Replaces what the environment overrides in the default store, and tells so.
pub(crate) fn apply(store: &mut Section, environment: &Environment, report: &mut Report) {
    let mut in_force: Vec<(&'static str, &'static str)> = Vec::new();
    for (vault, bao, key, other_form) in OVERRIDES {
        let Some((variable, value)) = bao
            .into_iter()
            .chain([vault])
            .find_map(|name| Some((name, environment.get_non_empty(name)?)))
        else {
            continue;
        };
        let at = At {
            place: None,
            key: format!("secretStore.{key}"),
            variable: Some(variable),
            unsaid: false,
        };
        if let Some(other) = other_form
            && let Some((earlier, _)) = in_force.iter().find(|(_, key)| *key == other)
        {
            report.error_help(
                &At {
                    variable: None,
                    ..at
                },
                format!("`{earlier}` and `{variable}` are both set"),
                "unset one of them: one holds the value, the other names its file",
            );
            continue;
        }
        let replaces = store.text(key).is_some()
            || other_form.is_some_and(|other| store.text(other).is_some());
        report.tell(
            &At {
                variable: None,
                ..at.clone()
            },
            format!(
                "{} comes from the variable `{variable}`{}",
                key,
                if replaces { ", not from the file" } else { "" }
            ),
        );
        other_form.into_iter().for_each(|other| store.remove(other));
        store.set(
            key,
            Text {
                at,
                value: Zeroizing::new(value.to_owned()),
            },
        );
        in_force.push((variable, key));
    }
}
