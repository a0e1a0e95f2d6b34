//! Several reads that make one secret: all or nothing, seen by name, merged in written order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;

use serde_json::json;
use support::{CountingProxy, Daemon, OpenBao, Response, SOON};

#[test]
fn sources_are_seen_by_name_and_merged_in_written_order() {
    let bao = OpenBao::shared();
    let (v2, v1) = (bao.fresh_kv(2), bao.fresh_kv(1));
    bao.kv2_put(
        &v2,
        "app/db",
        &json!({ "user": "db-user", "password": "db-pass", "a.b": "dot" }),
    );
    bao.kv2_put(
        &v2,
        "app/db",
        &json!({ "user": "second", "password": "db-pass", "a.b": "dot" }),
    );
    bao.kv1_put(
        &v1,
        "app/api",
        &json!({ "key": "api-key", "user": "api-user" }),
    );
    bao.kv2_metadata(
        &v2,
        "app/db",
        &json!({ "custom_metadata": { "team": "a" } }),
    );
    let proxy = CountingProxy::start(bao.endpoint());
    let done = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {v2} }}
secretStores:
  again: {{ address: '{}', authMethod: token, token: root, mountPath: {v1}, kvVersion: v1 }}
secrets:
- name: app
  sources:
    db: {{ key: app/db, version: 1 }}
    api: {{ key: app/api, store: again }}
    newest: {{ path: app/db, version: 2 }}
    about: {{ key: app/db, metadata: true }}
  template:
    data:
      both: '{{{{ .db.user }}}}/{{{{ .api.user }}}}/{{{{ .newest.user }}}} of {{{{ .about.team }}}}'
  files:
  - {{ path: '@DIR@/both', template: both }}
  - {{ path: '@DIR@/key', field: api.key }}
  - {{ path: '@DIR@/dot', field: 'db.a\\.b' }}
  - {{ dir: '@DIR@/all' }}
- name: merged
  sources:
    api: {{ key: app/api, store: again }}
    db: {{ key: app/db }}
  files: [{{ path: '@DIR@/api-db', format: json }}]
- name: merged-otherwise
  sources:
    db: {{ key: app/db }}
    api: {{ key: app/api, store: again }}
  files: [{{ path: '@DIR@/db-api', format: json }}]\n",
        proxy.address(),
        proxy.address()
    ))
    .any_stderr()
    .once();
    assert_eq!(done.read("both"), "db-user/api-user/second of a");
    assert_eq!(done.read("key"), "api-key");
    assert_eq!(done.read("dot"), "dot");
    assert_eq!(done.read("all/user"), "second", "the later one wins");
    assert_eq!(done.read("all/team"), "a");
    assert_eq!(
        done.read("api-db"),
        r#"{"a.b":"dot","key":"api-key","password":"db-pass","user":"second"}"#
    );
    assert_eq!(
        done.read("db-api"),
        r#"{"a.b":"dot","key":"api-key","password":"db-pass","user":"api-user"}"#
    );

    // One after the other, in written order.
    let app: Vec<_> = proxy
        .requests()
        .iter()
        .map(|request| request.target.clone())
        .filter(|target| target.contains("?version=") || target.contains("/metadata/"))
        .collect();
    assert_eq!(app.len(), 3, "{app:?}");
    let pinned = [1, 2].map(|version| format!("/v1/{v2}/data/app/db?version={version}"));
    assert_eq!(
        app,
        [
            &*pinned[0],
            &pinned[1],
            &format!("/v1/{v2}/metadata/app/db")
        ]
    );
}

#[test]
fn one_source_that_fails_leaves_every_file_as_it_was() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    for key in ["db", "api"] {
        bao.kv2_put(&mount, key, &json!({ "x": format!("{key} 1") }));
    }
    let proxy = CountingProxy::start(bao.endpoint());
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets:
- name: app
  refreshInterval: 1s
  sources: {{ db: {{ key: db }}, api: {{ key: api }} }}
  files: [{{ path: '@DIR@/db', field: db.x }}, {{ path: '@DIR@/api', field: api.x }}]\n",
        proxy.address()
    ))
    .env("MAX_BACKOFF", "1s")
    .start();
    daemon.wait_file("db", "db 1", SOON);
    daemon.wait_file("api", "api 1", SOON);

    // The second fails, while the first has news.
    bao.delete(&mount, "api");
    daemon.wait_secret("app", SOON, |entry| entry["error_type"] == "deleted");
    bao.kv2_put(&mount, "db", &json!({ "x": "db 2" }));
    let is_api = format!("/v1/{mount}/data/api");
    let since = |number: usize| {
        let before = proxy.count(|request| request.target == is_api);
        proxy.wait_for(before + number, SOON, |request| request.target == is_api);
    };
    since(2);
    assert_eq!(
        fs::read(daemon.path("db")).unwrap(),
        b"db 1",
        "all or nothing"
    );

    // The first fails: the second is not even asked.
    let db = format!("{mount}/data/db");
    proxy.inject(move |request| {
        request
            .is("GET", &db)
            .then(|| Response::error(500, "no").act())
    });
    let entry = daemon.wait_secret("app", SOON, |entry| entry["error_type"] == "unavailable");
    assert!(
        entry["error"]
            .as_str()
            .unwrap()
            .contains(&format!("`{mount}/db`")),
        "{entry}"
    );
    assert_eq!(fs::read(daemon.path("api")).unwrap(), b"api 1");

    proxy.restore();
    bao.kv2_put(&mount, "api", &json!({ "x": "api 2" }));
    daemon.wait_file("api", "api 2", SOON);
    daemon.wait_file("db", "db 2", SOON);
}
