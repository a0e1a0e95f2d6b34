//! The plan in words: what `validate` prints. No secret, and no credential, is in it.

use std::fmt::Write as _;

use crate::config::show_duration;
use crate::printable::printable;
use crate::render::{Content, Encoding, Format};

use super::model::{
    Auth, Credential, Interval, KvVersion, Layout, Output, Plan, Proxy, Secret, SessionPlan,
    Source, StorePlan,
};
use super::store::DEFAULT;

/// What was understood: stores with their logins, each secret with its sources, interval and
/// files, and what the environment overrides.
#[must_use]
pub fn describe(plan: &Plan) -> String {
    let mut out = format!("configuration {}\n", plan.file.display());
    let told: Vec<_> = plan
        .notices
        .iter()
        .filter(|notice| !notice.warning)
        .collect();
    if !told.is_empty() {
        out.push_str("\nfrom the environment\n");
        for notice in told {
            line(&mut out, 2, &notice.message);
        }
    }
    out.push_str("\nstores\n");
    for store in &plan.stores {
        describe_store(&mut out, store);
        for session in &plan.sessions {
            if session.key.store == store.name {
                line(&mut out, 4, &login(session));
            }
        }
    }
    out.push_str("\nsecrets\n");
    for secret in &plan.secrets {
        describe_secret(&mut out, secret, plan.stores.len() > 1);
    }
    if plan.secrets.is_empty() {
        line(&mut out, 2, "none");
    }
    plan.hidden.mask(&out).into_owned()
}

fn line(out: &mut String, indent: usize, text: &str) {
    // Paths and names are foreign text, and this goes to a terminal.
    let text = printable(text);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:indent$}{text}", "");
}

fn describe_store(out: &mut String, store: &StorePlan) {
    let mut text = format!("{}: {}", store.name, store.address);
    if let Some(proxy) = &store.proxy {
        let _ = write!(text, ", through the proxy {}", proxy.shown());
    }
    if let super::model::Address::Http { tls: true, .. } = store.address {
        let trust = &store.tls;
        let roots: Vec<String> = [&trust.ca_cert, &trust.ca_path, &trust.system_bundle]
            .into_iter()
            .flatten()
            .map(|path| path.display().to_string())
            .collect();
        if trust.skip_verify {
            text.push_str(", certificates not checked");
        } else if !roots.is_empty() {
            let _ = write!(text, ", trusting {}", roots.join(" and "));
        }
        if let Some(name) = &trust.server_name {
            let _ = write!(text, ", as {name}");
        }
    }
    line(out, 2, &text);
}

impl Proxy {
    /// Its URL without user and password.
    #[must_use]
    pub fn shown(&self) -> String {
        let url = self.url.expose();
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{host}")
    }
}

fn login(session: &SessionPlan) -> String {
    let mut text = if session.key.credentials == DEFAULT {
        "login: ".to_owned()
    } else {
        format!("login {}: ", session.key.credentials)
    };
    match &session.auth {
        Auth::Token(token) => {
            let _ = write!(text, "token {}", origin(token));
        }
        Auth::AppRole {
            mount,
            role_id,
            secret_id,
            wrapping_path,
        } => {
            let _ = write!(text, "approle at auth/{mount}, role ID {}", origin(role_id));
            match (secret_id, wrapping_path) {
                (Some(secret_id), Some(path)) => {
                    let _ = write!(
                        text,
                        ", wrapped secret ID {}, made at {path}",
                        origin(secret_id)
                    );
                }
                (Some(secret_id), None) => {
                    let _ = write!(text, ", secret ID {}", origin(secret_id));
                }
                (None, _) => text.push_str(", no secret ID"),
            }
        }
        Auth::Cert { mount, role } => {
            let _ = write!(text, "cert at auth/{mount}");
            if let Some(role) = role {
                let _ = write!(text, ", role {role}");
            }
        }
        Auth::None => text.push_str("none, an agent or proxy adds the token"),
    }
    if let Some(client) = &session.client {
        let _ = write!(text, ", client certificate {}", client.cert.display());
    }
    let _ = write!(text, ", {}", in_namespace(&session.key.namespace));
    text
}

fn origin(credential: &Credential) -> String {
    match credential {
        Credential::Inline(_) => "inline".to_owned(),
        Credential::File(path) => format!("from {}", path.display()),
    }
}

fn in_namespace(namespace: &str) -> String {
    if namespace.is_empty() {
        "root namespace".to_owned()
    } else {
        format!("namespace {namespace}")
    }
}

fn describe_secret(out: &mut String, secret: &Secret, several_stores: bool) {
    let every = match secret.interval {
        Interval::Every(interval) => format!("every {}", show_duration(interval)),
        Interval::Once => "once".to_owned(),
    };
    let optional = if secret.optional { ", optional" } else { "" };
    let layout = match secret.layout {
        Layout::Files => "",
        Layout::Directory => ", switched as one directory",
    };
    line(
        out,
        2,
        &format!("{}: {every}{optional}{layout}", secret.name),
    );
    for source in &secret.sources {
        line(out, 4, &describe_source(source, several_stores));
    }
    for output in &secret.outputs {
        line(out, 4, &describe_output(output));
    }
}

fn describe_source(source: &Source, several_stores: bool) -> String {
    let mut text = "from ".to_owned();
    if let Some(alias) = &source.alias {
        text = format!("{alias} from ");
    }
    let _ = write!(text, "{}/{}", source.mount, source.key);
    text.push_str(match source.kv {
        KvVersion::V1 => " (KV v1",
        KvVersion::V2 => " (KV v2",
    });
    if source.metadata {
        text.push_str(", metadata");
    }
    if let Some(version) = source.version {
        let _ = write!(text, ", version {version}");
    }
    if !source.namespace.is_empty() {
        let _ = write!(text, ", namespace {}", source.namespace);
    }
    if several_stores {
        let _ = write!(text, ", store {}", source.session.store);
    }
    if source.session.credentials != DEFAULT {
        let _ = write!(text, ", credentials {}", source.session.credentials);
    }
    text.push(')');
    text
}

fn describe_output(output: &Output) -> String {
    let target = &output.target;
    let mut path = target.path.as_path().display().to_string();
    if target.is_dir {
        path.push_str("/*");
    }
    let mut text = format!(
        "{path} <- {}, mode {:04o}",
        content(output),
        target.mode.bits()
    );
    for (what, id) in [("owner", target.owner), ("group", target.group)] {
        if let Some(id) = id {
            let _ = write!(text, ", {what} {id}");
        }
    }
    if target.in_place {
        text.push_str(", in place");
    }
    if target.allow_empty {
        text.push_str(", may be empty");
    }
    text
}

/// What is written there, in words: `template tls.crt`.
#[must_use]
pub fn content(output: &Output) -> String {
    match &output.content {
        Content::Template(_) => match &output.template {
            Some(name) => format!("template {name}"),
            None => "template".to_owned(),
        },
        Content::Field(path, encoding) => {
            format!("field {}{}", path.as_str(), decoded(*encoding))
        }
        Content::Format(format) => match format {
            Format::Env => "all fields as env",
            Format::EnvFile => "all fields as envfile",
            Format::Json => "all fields as json",
            Format::Yaml => "all fields as yaml",
        }
        .to_owned(),
        Content::EveryField(encoding) => format!("a file a field{}", decoded(*encoding)),
    }
}

fn decoded(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::None => "",
        Encoding::Base64 => " decoded from base64",
        Encoding::Base64Url => " decoded from base64url",
        Encoding::Auto => " decoded where it is base64",
    }
}
