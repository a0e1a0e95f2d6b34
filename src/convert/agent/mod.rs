//! Configurations of `vault agent`, `bao agent` and consul-template: the static part of them. What
//! depends on leases, on Consul, or runs commands, has no translation and is named.

mod body;
mod server;
mod template;

mod hcl;
mod text;

use crate::convert::input::Input;
use crate::convert::operator::Options;
use crate::convert::output::Config;
use crate::convert::output::Store;
use crate::convert::remark::Remark;
use crate::convert::remark::Teller;
use crate::convert::remark::Weight;
use crate::convert::remark::shown;
use body::Body;
use body::items;
use hcl::Item;
use std::collections::BTreeSet;
use std::collections::HashMap;

/// The mode that the agents give a file where nothing is said.
const MODE: &str = "0644";
/// How often the agents read static secrets.
const INTERVAL: &str = "5m";
/// The longest template that is read from a file.
const MAX_TEMPLATE: u64 = 256 << 10;

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
    server::server(&mut root, options, &mut store, teller);
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
        let made = template::template(input, Body { at, ..body }, &interval, names, teller);
        config.secrets.push(made);
    }
    if config.secrets.is_empty() {
        teller.warn("template", "there is none: nothing to write");
    }
    store
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
