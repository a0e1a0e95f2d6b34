//! `auth`: how the operator logs in, and how the daemon will.

use super::key;
use super::plain_name;
use super::trust::client_files;
use crate::convert::object::Object as Fields;
use crate::convert::output::Key;
use crate::convert::phrase::phrase;
use crate::convert::remark::Teller;
use crate::convert::remark::shown;

/// The login: the first that is present wins, as in the operator.
pub(super) fn login(
    fields: &mut Fields<'_>,
    home: &str,
    keys: &mut Vec<Key>,
    teller: &mut Teller<'_>,
) {
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

pub(super) fn app_role(mut section: Fields<'_>, keys: &mut Vec<Key>, teller: &mut Teller<'_>) {
    keys.push(key("authMethod", "approle"));
    mount(&mut section, "path", "approle", keys, teller);
    let inline = section.filled("roleId", teller).is_some();
    let role = if inline {
        if section.take("roleRef").is_some() {
            let at = section.at_of("roleRef");
            teller.note_only(&at, "not used: the operator takes `roleId`");
        }
        teller.note_there(
            &section.at_of("roleId"),
            "the role ID stands in the manifest: put it into this variable",
        )
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

pub(super) fn cert(
    mut section: Fields<'_>,
    home: &str,
    keys: &mut Vec<Key>,
    teller: &mut Teller<'_>,
) {
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

/// A method that the daemon does not have.
pub(super) fn placeholder(
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

pub(super) fn mount(
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
pub(super) fn held(section: &mut Fields<'_>, field: &str, teller: &mut Teller<'_>) -> String {
    match section.object(field, teller) {
        None => format!("`{field}` is missing in the manifest"),
        Some(mut selector) => {
            let wanted = reference(&mut selector, teller);
            selector.finish(teller);
            format!("{wanted} held it")
        }
    }
}

pub(super) fn reference(selector: &mut Fields<'_>, teller: &mut Teller<'_>) -> String {
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
