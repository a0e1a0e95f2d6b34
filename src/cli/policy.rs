//! `policy`: the least that the server must allow, as policy files that can be loaded. Offline.

use std::fmt::Write as _;
use std::path::Path;

use super::arguments::Policy as Options;
use super::console;
use super::exit::Exit;
use crate::config::Environment;
use crate::plan::{self, Auth, Plan, Purpose};
use crate::printable::printable;
use crate::store::vault::policy::{Policy, Rule, policies};

pub(super) fn main(file: &Path, options: &Options, environment: &Environment) -> Exit {
    let plan = match plan::load(file, environment, Purpose::Validate) {
        Ok(plan) => plan,
        Err(problems) => {
            problems
                .entries()
                .for_each(|problem| console::fail(&problem));
            return Exit::Unusable;
        }
    };
    let mut all = policies(&plan);
    let is = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|it| it == has);
    all.retain(|policy| {
        let key = &policy.session.key;
        is(&options.store, &key.store) && is(&options.credentials, &key.credentials)
    });
    if all.is_empty() && (options.store.is_some() || options.credentials.is_some()) {
        console::fail_with_help(
            &"no secret uses that store with those credentials",
            &"`secrets-sync policy` without options names them all",
        );
        return Exit::Unusable;
    }
    let mut text = String::new();
    for policy in &all {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&write(policy, &plan, all.len() > 1));
    }
    if all.is_empty() {
        text.push_str("# there are no secrets: nothing is asked of a server\n");
    }
    for policy in &all {
        for (source, names) in &policy.beyond {
            console::fail_with_help(
                &format_args!(
                    "warning: {}: no policy of namespace `{}` reaches namespace `{}`",
                    names.join(", "),
                    policy.session.key.namespace,
                    source.namespace
                ),
                &"log in there, or in a namespace above both: set `authNamespace`",
            );
        }
    }
    console::print(&text)
}

/// One policy as a file of its own.
fn write(policy: &Policy<'_>, plan: &Plan, several: bool) -> String {
    let mut out = String::new();
    let key = &policy.session.key;
    let mut say = |text: &str| {
        // Writing to a string cannot fail; a line of foreign text stays one line.
        let _ = writeln!(out, "{}", format!("# {}", printable(text)).trim_end());
    };
    let address = plan.stores.iter().find(|store| store.name == key.store);
    let address = address.map_or_else(String::new, |store| format!(" ({})", store.address));
    say(&format!(
        "secrets-sync, store `{}`{address}, credentials `{}`: {}",
        key.store,
        key.credentials,
        whose(&policy.session.auth)
    ));
    let namespace = if key.namespace.is_empty() {
        say("load in the root namespace:");
        String::new()
    } else {
        say(&format!("load in namespace `{}`:", key.namespace));
        format!("-namespace={} ", key.namespace)
    };
    let (name, choice) = if several {
        (
            format!("secrets-sync-{}-{}", key.store, key.credentials),
            format!(" --store {} --credentials {}", key.store, key.credentials),
        )
    } else {
        ("secrets-sync".to_owned(), String::new())
    };
    say(&format!(
        "  secrets-sync policy{choice} | bao policy write {namespace}{name} -"
    ));
    for (rule, names) in &policy.reads {
        block(&mut out, &names.join(", "), rule);
    }
    for (source, names) in &policy.beyond {
        let _ = writeln!(
            out,
            "\n# {}: nothing here can allow a read in namespace `{}`, which is not below `{}`",
            names.join(", "),
            printable(&source.namespace),
            printable(&key.namespace)
        );
    }
    for rule in &policy.upkeep {
        block(&mut out, why(rule), rule);
    }
    if !policy.upkeep.is_empty() {
        out.push_str(DOCTOR);
    }
    out
}

/// What `doctor` asks beyond the daemon.
const DOCTOR: &str = "
# Not for the daemon. With it, `secrets-sync doctor` names what a policy lacks (in `default`, too).
# path \"sys/capabilities-self\" {
#   capabilities = [\"update\"]
# }
";

fn whose(auth: &Auth) -> &'static str {
    match auth {
        Auth::Token(_) => "the token",
        Auth::AppRole { .. } => "the AppRole role",
        Auth::Cert { .. } => "the certificate's role",
        Auth::None => "the token that an agent adds",
    }
}

/// Why the daemon asks this of its own token.
fn why(rule: &Rule) -> &'static str {
    match rule.path.rsplit('/').next() {
        Some("lookup-self") => "to know when the token ends (in `default`, too)",
        Some("renew-self") => "to renew the token, where it is renewable (in `default`, too)",
        _ => "to leave no token behind at the end (in `default`, too)",
    }
}

fn block(out: &mut String, what: &str, rule: &Rule) {
    let _ = writeln!(out, "\n# {what}");
    if rule.wider {
        out.push_str(
            "# (wider than the path: `*`, `+` and `{{` have a meaning of their own in a policy)\n",
        );
    }
    let _ = write!(out, "{rule}");
}
