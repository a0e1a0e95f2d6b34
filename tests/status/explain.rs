//! `explain`: everything about one secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::skip;
use crate::support::{
    Daemon, OpenBao, Response, SOON, ScriptedServer, Setup, Signal, process, unique,
};
use crate::{explained, in_place, wait_explained};

/// A daemon that logs in with a role whose policy has that name.
fn with_role(bao: &OpenBao, mount: &str, policy: &str) -> Setup {
    let role = unique("role");
    let (role_id, secret_id) = bao.approle(
        &role,
        &json!({ "token_policies": [policy], "token_ttl": "1h" }),
    );
    Daemon::new(&format!(
        "secretStore:
  address: {}
  authMethod: approle
  roleId: {role_id}
  secretId: {secret_id}
secrets:
- name: tls-cert
  key: common/tls example
  mountPath: {mount}
  version: 1
  template:
    data: {{ crt: '{{{{ .crt }}}}' }}
  files:
  - {{ path: '@DIR@/tls.crt', mode: '0640', template: crt }}
  - {{ path: '@DIR@/tls.key', field: key }}
- {{ name: tls-key, key: other, mountPath: {mount}, files: [{{ path: '@DIR@/other', field: x }}] }}\n",
        bao.address(),
    ))
}

#[test]
fn explain_names_the_policy_that_is_missing_and_granting_it_ends_the_failure() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(
        &mount,
        "common/tls%20example",
        &json!({ "crt": "certificate", "key": "private" }),
    );
    let policy = unique("policy");
    let daemon = with_role(&bao, &mount, &policy).start();
    daemon.wait_secret("tls-cert", SOON, |secret| secret["error_type"] == "denied");
    let (code, told) = explained(&daemon, "tls-cert");
    assert_eq!(code, 1);
    let source = &told["sources"][0];
    assert_eq!(
        source["request"],
        format!("/v1/{mount}/data/common/tls%20example?version=1")
    );
    let rule = &source["policy"];
    assert_eq!(rule["path"], format!("{mount}/data/common/tls example"));
    assert_eq!(rule["capabilities"], json!(["read"]));
    assert_eq!(told["files"][0]["problem"], "not there");

    bao.policy(&policy, rule["hcl"].as_str().unwrap());
    daemon.signal(Signal::USR1);
    daemon.wait_secret("tls-cert", SOON, |secret| secret["state"] == "in_sync");
    let told = wait_explained(&daemon, "tls-cert", |told| {
        told["attempts"].as_array().unwrap().len() > 1
    });
    let attempts = told["attempts"].as_array().unwrap();
    assert_eq!(attempts[0]["error_type"], "denied");
    let last = attempts.last().unwrap();
    assert_eq!(
        (&last["error_type"], &last["version"], &last["written"]),
        (&Value::Null, &json!(1), &json!(2))
    );
    assert_eq!(last["reason"], "interval");
}

#[test]
fn explain_tells_source_login_files_and_what_is_not_as_it_should_be() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(
        &mount,
        "common/tls%20example",
        &json!({ "crt": "the same bytes", "key": "the same bytes" }),
    );
    bao.kv2_put(&mount, "other", &json!({ "x": "y" }));
    let policy = bao.reader_policy(&mount);
    let daemon = with_role(&bao, &mount, &policy).start();
    daemon.wait_ready(SOON);
    let mode = fs::Permissions::from_mode(0o604);
    fs::set_permissions(daemon.path("tls.crt"), mode).unwrap();
    let told = wait_explained(&daemon, "tls-cert", |told| {
        told["attempts"] != json!([]) && told["sources"][0]["session"]["has_token"] == true
    });
    let session = &told["sources"][0]["session"];
    assert_eq!(session["method"], "approle");
    assert_eq!(session["renewable"], true);
    assert_eq!(session["policies"], json!(["default", policy]));
    assert_eq!(session["accessor"].as_str().unwrap().len(), 4);
    let files = told["files"].as_array().unwrap();
    let found = |at: usize| &files[at]["found"][0];
    assert_eq!(found(0)["differs"], json!(["mode 0604, wanted 0640"]));
    assert_eq!(found(1)["differs"], json!([]));
    assert_eq!(found(0)["size"], "the same bytes".len());
    let digest = found(0)["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 8);
    assert_eq!(found(1)["digest"], digest, "the same content");
    let again = explained(&daemon, "tls-cert").1;
    assert_ne!(
        again["files"][0]["found"][0]["digest"], digest,
        "another run has another key"
    );

    let (code, text, stderr) = daemon.also(&["explain", "tls-cert"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for part in [
        "tls-cert: in sync\n".to_owned(),
        format!("store        default at {}\n", bao.address()),
        format!("mount        {mount} (KV v2)\n"),
        "key          common/tls example, version 1 pinned\n".to_owned(),
        format!("asks         GET /v1/{mount}/data/common/tls%20example?version=1\n"),
        format!("policy       path \"{mount}/data/common/tls example\" {{\n"),
        "capabilities = [\"read\"]\n".to_owned(),
        "login        approle, namespace root\n".to_owned(),
        "renewable, accessor …".to_owned(),
        format!("its policies default, {policy}\n"),
        "tls.crt <- template crt\n".to_owned(),
        "wanted     mode 0640, owner the daemon's, group the daemon's\n".to_owned(),
        "differs    mode 0604, wanted 0640\n".to_owned(),
        "next refresh in ".to_owned(),
        "version 1, 2 files written; next after ".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}\n{text}");
    }

    let (code, _, stderr) = daemon.also(&["explain", "tls-kex"]);
    assert_eq!(code, 2);
    assert_eq!(
        stderr,
        "secrets-sync: no secret `tls-kex`\n  help: did you mean `tls-key`?\n"
    );
}

#[test]
fn a_lease_is_told_by_its_end_and_its_id_by_nobody() {
    let id = "database/creds/app/0Xf4kEleaseIdThatRevokes";
    let server = ScriptedServer::start(move |_| {
        let body = json!({ "lease_id": id, "renewable": true, "lease_duration": 600, "data": { "x": "y" } });
        Response::json(200, &body).act()
    });
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: none }}
secrets:
- {{ name: db, key: app, mountPath: database/creds, kvVersion: v1, refreshInterval: 1h, files: [{{ path: '@DIR@/a', field: x }}] }}\n",
        server.address()
    ))
    .start();
    let told = wait_explained(&daemon, "db", |told| {
        told["status"]["next_reason"] == "lease" && told["attempts"] != json!([])
    });
    assert!(told["status"]["lease_expires"].is_string(), "{told:#}");
    let (code, text, _) = daemon.also(&["explain", "db"]);
    assert_eq!(code, 0);
    assert!(text.contains(": before its lease ends in 9m"), "{text}");
    assert!(text.contains("\nlease\n  ends         in 9m\n"), "{text}");
    for file in ["status.json", "status.json.details"] {
        let shown = fs::read_to_string(daemon.path(file)).unwrap();
        assert!(!shown.contains(id) && !text.contains(id), "{file}");
    }
}

#[test]
fn a_file_that_the_caller_may_not_read_is_told_by_what_may_be_seen() {
    if !rustix::process::geteuid().is_root() {
        skip!("needs root, to become another user");
    }
    let Some(setpriv) = process::in_path("setpriv") else {
        skip!("no `setpriv`");
    };
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "other", &json!({ "x": "y" }));
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets: [{{ name: a, key: other, files: [{{ path: '@DIR@/a', field: x }}] }}]\n",
        bao.address()
    ))
    .start();
    daemon.wait_ready(SOON);
    fs::set_permissions(daemon.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    // The test's own program may lie where another user does not come.
    let program = daemon.path("program");
    fs::copy(env!("CARGO_BIN_EXE_secrets-sync"), &program).unwrap();
    let output = Command::new(setpriv)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .args(["explain", "a", "--json"])
        .env("STATUS_FILE", daemon.path("status.json"))
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &told["files"][0]["found"][0];
    assert_eq!(found["mode"], "0600");
    assert_eq!(found["digest"], Value::Null);
    assert_eq!(found["no_digest"], "permission denied: you may not read it");
    assert_eq!(output.status.code(), Some(0), "{told:#}");
}

#[test]
fn attempts_outlive_the_daemon_and_a_stopped_one_is_explained_by_what_it_left() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    let place = tempfile::tempdir().unwrap();
    let mut first = in_place(&bao, &mount, place.path()).start();
    wait_explained(&first, "app", |told| {
        told["attempts"][0]["error_type"] == "not_found"
    });
    assert!(first.stop().success());
    let (code, told) = explained(&first, "app");
    assert_eq!((code, &told["running"]), (2, &json!(false)));
    assert_eq!(told["known_from"], "daemon");
    assert_eq!(told["attempts"][0]["error_type"], "not_found");
    let note = told["notes"][0].as_str().unwrap();
    assert!(note.starts_with("the daemon does not run"), "{note}");

    bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
    let mut second = in_place(&bao, &mount, place.path()).start();
    let told = wait_explained(&second, "app", |told| {
        told["attempts"].as_array().unwrap().len() == 2
    });
    assert_eq!(told["attempts"][0]["error_type"], "not_found");
    assert_eq!(told["attempts"][1]["version"], 1);
    second.kill9();
    let (code, text, _) = second.also(&["explain", "app"]);
    assert_eq!(code, 2);
    assert!(
        text.starts_with("app: in sync when the daemon ended\n"),
        "{text}"
    );
}

#[test]
fn without_a_daemon_the_configuration_is_explained() {
    let config = "secretStore: { address: 'https://vault.example.com:8200', authMethod: token, token: t, namespace: team-a }
secrets: [{ name: app, key: app/db, mountPath: kv, files: [{ path: '@DIR@/app', field: x, mode: '0640' }] }]\n";
    let finished = Daemon::new(config)
        .status(2)
        .any_stdout()
        .run(&["explain", "app"]);
    for part in [
        "app: nothing known of its state\n",
        "the daemon does not run",
        "asks         GET /v1/kv/data/app/db\n",
        "             X-Vault-Namespace: team-a\n",
        "wanted     mode 0640",
        "found      not there\n",
    ] {
        assert!(finished.stdout.contains(part), "{}", finished.stdout);
    }
    let finished = Daemon::new(config)
        .status(2)
        .any_stderr()
        .run(&["explain", "apq"]);
    assert_eq!(
        finished.stderr,
        "secrets-sync: no secret `apq`\n  help: did you mean `app`?\n"
    );
}

#[test]
fn a_configuration_that_was_not_taken_up_is_told() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
    let place = tempfile::tempdir().unwrap();
    let daemon = in_place(&bao, &mount, place.path()).start();
    wait_explained(&daemon, "app", |told| told["attempts"] != json!([]));
    assert_eq!(explained(&daemon, "app").1["notes"], json!([]));
    let file = daemon.path("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("1h", "2h").replace("key: app", "key: b"),
    )
    .unwrap();
    let note = explained(&daemon, "app").1["notes"][0].clone();
    let note = note.as_str().unwrap();
    assert!(
        note.ends_with(
            "says otherwise than what runs (what is read, the interval): a reload (SIGHUP) takes it up"
        ),
        "{note}"
    );
    daemon.signal(Signal::HUP);
    wait_explained(&daemon, "app", |told| {
        told["notes"] == json!([]) && told["interval"] == "2h" && told["sources"][0]["key"] == "b"
    });
}
