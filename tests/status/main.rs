//! `status` and `explain` beside a running daemon: why the next refresh is when it is, everything
//! about one secret, and the table that is shown again at each change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod explain;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::path::Path;

use serde_json::{Value, json};
use support::{Action, Daemon, OpenBao, SOON, ScriptedServer, Setup, poll, ports};

fn explained(daemon: &Daemon, name: &str) -> (i32, Value) {
    let (code, stdout, stderr) = daemon.also(&["explain", name, "--json"]);
    assert_eq!(stderr, "", "{name}");
    (code, serde_json::from_str(&stdout).unwrap())
}

/// Waits until what `explain` tells pleases `wanted`.
#[track_caller]
fn wait_explained(daemon: &Daemon, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = poll(SOON, || {
        let told = explained(daemon, name).1;
        wanted(&told).then_some(told)
    });
    found.unwrap_or_else(|| panic!("{:#}", explained(daemon, name).1))
}

/// A daemon whose status file lies in a directory of its own, which outlives it.
fn in_place(bao: &OpenBao, mount: &str, place: &Path) -> Setup {
    let at = place.display();
    Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets: [{{ name: app, key: app, refreshInterval: 1h, files: [{{ path: '{at}/app', field: x }}] }}]\n",
        bao.address()
    ))
    .env("STATUS_FILE", &format!("{at}/status.json"))
}

#[test]
fn the_next_refresh_of_every_secret_says_why_it_is_then() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
    let nobody = ports::reserve();
    let busy = ScriptedServer::start(|request| {
        if request.target.ends_with("lookup-self") {
            return support::Response::error(403, "permission denied").act();
        }
        Action::Hang
    });
    let secret = |name: &str, keys: &str| {
        format!("- {{ name: {name}, files: [{{ path: '@DIR@/{name}', field: x }}], {keys} }}\n")
    };
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secretStores:
  away: {{ address: 'http://127.0.0.1:{}', authMethod: none, mountPath: kv }}
  later: {{ address: '{}', tokenFile: '@DIR@/token', mountPath: {mount} }}
  busy: {{ address: '{}', authMethod: none, maxConcurrent: 1, mountPath: kv }}
secrets:
{}{}{}{}{}{}{}",
        bao.address(),
        nobody.number(),
        bao.address(),
        busy.address(),
        secret("often", "key: app, refreshInterval: 1h"),
        secret("at-once", "key: app, refreshInterval: once"),
        secret("missing", "key: none, refreshInterval: 1h"),
        secret("away", "key: app, store: away"),
        secret("later", "key: app, store: later"),
        secret("busy-1", "key: a, store: busy"),
        secret("busy-2", "key: b, store: busy"),
    ))
    .env("INITIAL_BACKOFF", "100ms")
    .start();
    for (name, reason, words) in [
        ("often", "interval", "every 1h, less up to a tenth"),
        ("at-once", "once", "`once`: at SIGUSR1"),
        (
            "missing",
            "settled",
            "no quick retry: it fails until somebody acts",
        ),
        (
            "away",
            "store",
            "when it is back  waits for store `away`, asked after again",
        ),
        (
            "later",
            "session",
            "after a login    waits for a login to `later`",
        ),
    ] {
        let entry = daemon.wait_secret(name, SOON * 2, |secret| secret["next_reason"] == reason);
        let line = poll(SOON, || {
            let (code, table, _) = daemon.also(&["status"]);
            assert_eq!(code, 1);
            let line = table
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))?;
            line.contains(words).then(|| line.to_owned())
        });
        assert!(line.is_some(), "{entry}\n{}", daemon.also(&["status"]).1);
    }
    daemon.wait_status(SOON, |status| {
        let stores = status["stores"].as_array().unwrap();
        stores
            .iter()
            .any(|store| store["name"] == "busy" && store["waiting"] == 1)
    });
    let (_, table, _) = daemon.also(&["status"]);
    let waits = "under way; 1 request waits for a place";
    assert!(table.contains(waits), "{table}");
    assert!(!table.contains('\u{1b}'), "no colours in a pipe: {table}");
}
