//! The KV engines: changes arrive, pins stay, metadata are fields, and what is not there says what
//! it is and touches no file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};
use support::{CountingProxy, Daemon, OpenBao, SOON, unique};

fn store(address: &str) -> String {
    format!("secretStore: {{ address: '{address}', authMethod: token, token: root }}\n")
}

#[test]
fn a_change_in_kv_v1_arrives_although_its_answers_speak_of_a_lease_of_32_days() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(1);
    bao.kv1_put(&mount, "app/db", &json!({ "password": "old" }));
    let answer = bao.call("GET", &format!("{mount}/app/db"), &Value::Null);
    assert_eq!(answer["lease_duration"], 2_764_800, "the trap is there");

    let daemon = Daemon::new(&format!(
        "{}secrets:
- {{ name: db, key: app/db, mountPath: {mount}, kvVersion: v1, refreshInterval: 1s, \
           files: [{{ path: '@DIR@/password', field: password }}] }}\n",
        store(&bao.address())
    ))
    .start();
    daemon.wait_file("password", "old", SOON);
    bao.kv1_put(&mount, "app/db", &json!({ "password": "new" }));
    daemon.wait_file("password", "new", SOON);
    let entry = daemon.wait_secret("db", SOON, |entry| entry["state"] == "in_sync");
    assert_eq!(entry["version"], Value::Null, "KV v1 has none: {entry}");
}

#[test]
fn a_change_in_kv_v2_arrives_and_a_pinned_version_stays() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "one" }));
    bao.kv2_put(&mount, "app", &json!({ "x": "two" }));
    let proxy = CountingProxy::start(bao.endpoint());
    let daemon = Daemon::new(&format!(
        "{}secrets:
- {{ name: latest, key: app, mountPath: {mount}, refreshInterval: 1s, \
           files: [{{ path: '@DIR@/latest', field: x }}] }}
- {{ name: pinned, key: /app//, mountPath: {mount}, version: 1, refreshInterval: 1s, \
           files: [{{ path: '@DIR@/pinned', field: x }}] }}\n",
        store(&proxy.address())
    ))
    .start();
    daemon.wait_file("latest", "two", SOON);
    daemon.wait_file("pinned", "one", SOON);
    bao.kv2_put(&mount, "app", &json!({ "x": "three" }));
    daemon.wait_file("latest", "three", SOON);
    daemon.wait_secret("latest", SOON, |entry| entry["version"] == 3);

    let pinned = format!("/v1/{mount}/data/app?version=1");
    let seen = proxy.count(|request| request.target == pinned);
    proxy.wait_for(seen + 2, SOON, |request| request.target == pinned);
    let entry = daemon.wait_secret("pinned", SOON, |entry| entry["state"] == "in_sync");
    assert_eq!(entry["version"], 1);
    assert_eq!(fs::read(daemon.path("pinned")).unwrap(), b"one");
}

#[test]
fn metadata_are_fields_and_those_of_the_user_win() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "password": "value-of-app" }));
    bao.kv2_put(&mount, "app", &json!({ "password": "value-of-app" }));
    let custom = json!({ "owner": "team a", "created_time": "long ago" });
    bao.kv2_metadata(
        &mount,
        "app",
        &json!({ "custom_metadata": custom, "delete_version_after": "1h" }),
    );
    bao.kv2_put(&mount, "plain", &json!({ "x": "1" }));
    let done = Daemon::new(&format!(
        "{}secrets:
- name: about
  key: app
  mountPath: {mount}
  metadata: true
  template: {{ data: {{ line: '{{{{ .owner }}}} has version {{{{ .current_version }}}}' }} }}
  files:
  - {{ path: '@DIR@/line', template: line }}
  - {{ path: '@DIR@/owner', field: owner }}
  - {{ path: '@DIR@/all', format: json }}
- name: none-of-the-users
  key: plain
  mountPath: {mount}
  metadata: true
  files: [{{ path: '@DIR@/time', field: created_time }}]\n",
        store(&bao.address())
    ))
    .any_stderr()
    .once();
    assert_eq!(done.read("line"), "team a has version 2");
    assert_eq!(done.read("owner"), "team a");
    assert_eq!(
        done.read("all"),
        r#"{"created_time":"long ago","current_version":2,"delete_version_after":"1h0m0s","owner":"team a"}"#
    );
    assert!(done.read("time").starts_with("20"), "the server's own time");
}

#[test]
fn what_is_not_there_says_what_it_is_and_its_file_stays() {
    let bao = OpenBao::shared();
    let (v1, v2) = (bao.fresh_kv(1), bao.fresh_kv(2));
    for key in ["deleted", "destroyed", "there"] {
        bao.kv2_put(&v2, key, &json!({ "x": "1" }));
    }
    bao.kv1_put(&v1, "there", &json!({ "x": "1" }));
    bao.delete(&v2, "deleted");
    bao.destroy(&v2, "destroyed", &[1]);
    let nowhere = unique("nowhere");
    let cases = [
        (
            "absent",
            format!("mountPath: {v2}, key: absent"),
            "not_found",
            "no such secret",
        ),
        (
            "deleted",
            format!("mountPath: {v2}, key: deleted"),
            "deleted",
            "was deleted at 20",
        ),
        (
            "destroyed",
            format!("mountPath: {v2}, key: destroyed"),
            "deleted",
            "was destroyed",
        ),
        (
            "pin",
            format!("mountPath: {v2}, key: there, version: 9"),
            "not_found",
            "no version 9",
        ),
        (
            "mount",
            format!("mountPath: {nowhere}, key: there"),
            "not_found",
            "nothing is mounted",
        ),
        (
            "namespace",
            format!("mountPath: {v2}, key: there, namespace: {nowhere}"),
            "not_found",
            "no such namespace",
        ),
        (
            "v1-of-v2",
            format!("mountPath: {v2}, key: there, kvVersion: v1"),
            "not_found",
            "version 2",
        ),
        (
            "v1-absent",
            format!("mountPath: {v1}, key: a, kvVersion: v1"),
            "not_found",
            "no such",
        ),
    ];
    let mut config = store(&bao.address()) + "secrets:\n";
    for (name, place, ..) in &cases {
        config += &format!(
            "- {{ name: {name}, {place}, files: [{{ path: '@DIR@/{name}', field: x }}] }}\n"
        );
    }
    config += &format!(
        "- {{ name: fine, key: there, mountPath: {v2}, files: [{{ path: '@DIR@/fine', field: x }}] }}\n"
    );
    let mut setup = Daemon::new(&config);
    for (name, ..) in &cases {
        setup = setup.file(name, "last good");
    }
    let before: Vec<_> = cases
        .iter()
        .map(|(name, ..)| identity(&setup.path(name)))
        .collect();
    let daemon = setup.start();
    daemon.wait_file("fine", "1", SOON);
    for ((name, _, error_type, words), before) in cases.iter().zip(before) {
        let entry = daemon.wait_secret(name, SOON, |entry| entry["state"] == "failed");
        assert_eq!(entry["error_type"], *error_type, "{entry}");
        let error = entry["error"].as_str().unwrap();
        assert!(error.contains(words), "{name}: {error}");
        assert_eq!(fs::read(daemon.path(name)).unwrap(), b"last good");
        assert_eq!(identity(&daemon.path(name)), before, "{name} is untouched");
    }
    let mut errors: Vec<_> = daemon.status().unwrap()["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| Some(entry["error"].as_str()?.rsplit(": ").next()?.to_owned()))
        .collect();
    errors.retain(|error| !error.starts_with("no such secret"));
    let said = errors.len();
    errors.sort();
    errors.dedup();
    assert_eq!(errors.len(), said, "each has its own words: {errors:?}");
    let status = daemon.status().unwrap();
    assert_eq!(
        (&status["ready"], &status["synced_count"]),
        (&json!(false), &json!(1))
    );
}

#[test]
fn what_vanishes_while_running_leaves_the_last_good_file_and_its_return_is_seen() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "good" }));
    let daemon = Daemon::new(&format!(
        "{}secrets:
- {{ name: app, key: app, mountPath: {mount}, refreshInterval: 1s, \
           files: [{{ path: '@DIR@/app', field: x }}] }}\n",
        store(&bao.address())
    ))
    .start();
    daemon.wait_ready(SOON);
    let before = identity(&daemon.path("app"));
    bao.delete(&mount, "app");
    daemon.wait_secret("app", SOON, |entry| entry["error_type"] == "deleted");
    let status = daemon.wait_status(SOON, |status| status["degraded"] == true);
    assert_eq!(status["ready"], true, "once ready it stays ready");
    assert_eq!(identity(&daemon.path("app")), before);
    assert_eq!(fs::read(daemon.path("app")).unwrap(), b"good");

    bao.undelete(&mount, "app", &[1]);
    daemon.wait_status(SOON, |status| status["degraded"] == false);
    bao.purge(&mount, "app");
    daemon.wait_secret("app", SOON, |entry| entry["error_type"] == "not_found");
    bao.kv2_put(&mount, "app", &json!({ "x": "new" }));
    daemon.wait_file("app", "new", SOON);
}

/// Inode and time of change: what a rewrite would alter.
fn identity(path: &std::path::Path) -> (u64, i64, i64) {
    let meta = fs::metadata(path).unwrap();
    (meta.ino(), meta.mtime(), meta.mtime_nsec())
}
