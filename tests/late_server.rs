//! A start before the server or its credentials are there: the daemon stays, says what it waits
//! for, and goes on by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;

use serde_json::json;
use support::{Daemon, OpenBao, SOON};

#[test]
fn a_daemon_that_starts_before_its_server_waits_and_goes_on_when_it_is_there() {
    let bao = OpenBao::dev().start();
    bao.kill9();
    let mut daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root }}
secrets:
- {{ name: a, key: a, refreshInterval: 1s, files: [{{ path: '@DIR@/a', field: x }}] }}
- {{ name: b, key: b, refreshInterval: 1s, files: [{{ path: '@DIR@/b', field: x }}] }}\n",
        bao.address()
    ))
    .env("INITIAL_BACKOFF", "100ms")
    .file("a", "of yesterday")
    .start();
    for name in ["a", "b"] {
        let entry = daemon.wait_secret(name, SOON, |entry| entry["state"] == "failed");
        assert_eq!(entry["error_type"], "unavailable", "{entry}");
        let error = entry["error"].as_str().unwrap();
        assert!(
            error.contains(&bao.address()) && error.contains("refused"),
            "{error}"
        );
    }
    let line = daemon.wait_for_log(SOON, |line| line.has("error_type", "unavailable"));
    assert!(line.raw.contains("refused"), "{}", line.raw);
    let (code, _, _) = daemon.also(&["isready"]);
    assert_eq!(code, 1);
    assert_eq!(fs::read(daemon.path("a")).unwrap(), b"of yesterday");
    assert!(daemon.is_running());

    bao.restart();
    bao.kv2_put("secret", "a", &json!({ "x": "of today" }));
    bao.kv2_put("secret", "b", &json!({ "x": "too" }));
    daemon.wait_file("a", "of today", SOON);
    daemon.wait_file("b", "too", SOON);
    daemon.wait_ready(SOON);

    // And again, in the middle of its life.
    bao.kill9();
    daemon.wait_status(SOON, |status| status["degraded"] == true);
    assert_eq!(fs::read(daemon.path("a")).unwrap(), b"of today");
    bao.restart();
    bao.kv2_put("secret", "a", &json!({ "x": "of tomorrow" }));
    bao.kv2_put("secret", "b", &json!({ "x": "too" }));
    daemon.wait_file("a", "of tomorrow", SOON);
    daemon.wait_status(SOON, |status| status["degraded"] == false);
}

#[test]
fn credentials_that_come_later_are_waited_for_named_and_used_at_once() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let policy = bao.reader_policy(&mount);
    let role = support::unique("role");
    let (role_id, secret_id) = bao.approle(&role, &json!({ "token_policies": [policy] }));
    let setup = Daemon::new(&format!(
        "secretStore:
  address: '{}'
  authMethod: approle
  roleIdFile: '@DIR@/credentials/role-id'
  secretIdFile: '@DIR@/credentials/secret-id'
  mountPath: {mount}
secrets: [{{ name: a, key: a, files: [{{ path: '@DIR@/a', field: x }}] }}]\n",
        bao.address()
    ))
    // There, but empty: as a file that is being made.
    .file("credentials/role-id", "");
    let mut daemon = setup.start();
    let missing = |name: &str| daemon.path("credentials").join(name).display().to_string();
    let (role_file, secret_file) = (missing("role-id"), missing("secret-id"));
    for file in [&role_file, &secret_file] {
        daemon.wait_for_log(SOON, |line| {
            line.raw.contains(file) && line.has("level", "warn")
        });
    }
    let entry = daemon.wait_secret("a", SOON, |entry| entry["state"] == "failed");
    assert_eq!(entry["error_type"], "auth", "{entry}");
    assert!(
        entry["error"].as_str().unwrap().contains("/credentials/"),
        "{entry}"
    );
    fs::write(&role_file, format!("\n {role_id}\t\n")).unwrap();
    fs::write(&secret_file, format!("{secret_id}\n")).unwrap();
    daemon.wait_file("a", "value", SOON);
    daemon.wait_ready(SOON);
    assert!(daemon.is_running());
    let log = daemon.log();
    for value in [&*role_id, &*secret_id, "canary"] {
        assert!(!log.iter().any(|line| line.raw.contains(value)), "{value}");
    }
}
