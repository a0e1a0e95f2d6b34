//! Single fields, encodings, directories of fields, and the limit of a file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;

use serde_json::json;
use support::{Daemon, OpenBao, SOON, Setup};

/// A secret with these fields. In KV version 1, which keeps the spelling of numbers: version 2 makes
/// them 64-bit floating-point numbers when they are written, and nobody can bring digits back.
fn secret(fields: &str, files: &str) -> Setup {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(1);
    bao.kv1_put(&mount, "app", &serde_json::from_str(fields).unwrap());
    Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root }}
secrets:
- name: app
  key: app
  mountPath: {mount}
  kvVersion: v1
{files}\n",
        bao.address()
    ))
    .any_stderr()
}

#[test]
fn a_field_is_an_exact_key_else_a_path_and_is_written_as_it_is() {
    let cases = [
        ("plain", "no newline is added"),
        ("tls.crt", "exact"),
        ("tls.key", "by path"),
        ("hosts.1.name", "second"),
        (r"labels.app\.io/name", "dotted"),
        ("number", "12345678901234567890"),
        ("float", "1.0"),
        ("flag", "true"),
        ("hosts.0", r#"{"a":"\u003c","name":"first"}"#),
        ("lines", "a\r\n\tb\n"),
    ];
    let files: String = (0..cases.len())
        .map(|at| format!("  - {{ path: '@DIR@/{at}', field: '{}' }}\n", cases[at].0))
        .collect();
    let done = secret(
        r#"{"plain": "no newline is added", "tls.crt": "exact", "tls": {"crt": "no", "key": "by path"},
            "hosts": [{"name": "first", "a": "<"}, {"name": "second"}], "labels": {"app.io/name": "dotted"},
            "number": 12345678901234567890, "float": 1.0, "flag": true, "lines": "a\r\n\tb\n"}"#,
        &format!("  files:\n{files}"),
    )
    .once();
    for (at, (field, expected)) in cases.iter().enumerate() {
        assert_eq!(done.read(&at.to_string()), *expected, "{field}");
    }
}

#[test]
fn encodings_write_the_bytes() {
    let bytes: &[u8] = &[0xfb, 0xff, 0x00, 0xfe, b'\n'];
    let done = secret(
        r#"{"std": "+/8A/go=", "url": "-_8A_go=", "lines": "+/8A\n/go=\n", "text": "not base64!"}"#,
        "  files:
  - { path: '@DIR@/none', field: std, encoding: none }
  - { path: '@DIR@/std', field: std, encoding: base64 }
  - { path: '@DIR@/url', field: url, encoding: base64url }
  - { path: '@DIR@/lines', field: lines, encoding: base64 }
  - { dir: '@DIR@/auto', encoding: auto, mode: \"0640\" }",
    )
    .once();
    let read = |name: &str| fs::read(done.path(name)).unwrap();
    assert_eq!(done.read("none"), "+/8A/go=");
    for name in ["std", "url", "lines", "auto/std", "auto/url", "auto/lines"] {
        assert_eq!(read(name), bytes, "{name}");
    }
    assert_eq!(done.read("auto/text"), "not base64!");

    let done = secret(
        r#"{"text": "canary, not base64"}"#,
        "  files: [{ path: '@DIR@/out', field: text, encoding: base64 }]",
    )
    .status(1)
    .run(&["run", "--once"]);
    assert!(
        done.stderr.contains("base64") && !done.stderr.contains("canary"),
        "{}",
        done.stderr
    );
}

#[test]
fn every_field_becomes_a_file_and_one_that_vanishes_stays() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(
        &mount,
        "app",
        &json!({ "user": "me", "tls.crt": "crt", "with space": [1] }),
    );
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets: [{{ name: app, key: app, refreshInterval: 1s, files: [{{ dir: '@DIR@/app' }}] }}]\n",
        bao.address()
    ))
    .start();
    daemon.wait_file("app/user", "me", SOON);
    daemon.wait_file("app/tls.crt", "crt", SOON);
    daemon.wait_file("app/with space", "[1]", SOON);
    bao.kv2_put(&mount, "app", &json!({ "tls.crt": "new", "more": "x" }));
    daemon.wait_file("app/tls.crt", "new", SOON);
    daemon.wait_file("app/more", "x", SOON);
    assert_eq!(fs::read(daemon.path("app/user")).unwrap(), b"me");
    daemon.wait_for_log(SOON, |line| {
        line.has("level", "warn") && line.raw.contains("/app/user`")
    });

    for name in ["../escape", "..", "a/b", "nul\0"] {
        bao.kv2_put(&mount, "app", &json!({ "tls.crt": "newest", name: "x" }));
        let version = format!("{}", name.escape_debug());
        let entry = daemon.wait_secret("app", SOON, |entry| {
            entry["error"]
                .as_str()
                .is_some_and(|error| error.contains(&version))
        });
        assert_eq!(entry["error_type"], "render", "{entry}");
    }
    assert!(!daemon.path("escape").exists());
    assert_eq!(
        fs::read(daemon.path("app/tls.crt")).unwrap(),
        b"new",
        "all or nothing"
    );
}

#[test]
fn a_file_has_its_limit() {
    let limit = "limits: { maxFileBytes: 1000 }";
    for (size, status) in [(1000, 0), (1001, 1)] {
        let value = "x".repeat(size);
        let files = format!("  files: [{{ path: '@DIR@/out', field: x }}]\n{limit}");
        let done = secret(&json!({ "x": value }).to_string(), &files)
            .file("out", "last good")
            .status(status)
            .run(&["run", "--once"]);
        if status == 0 {
            assert_eq!(done.read("out"), value);
        } else {
            assert_eq!(done.read("out"), "last good");
            assert!(
                done.stderr.contains("limits.maxFileBytes"),
                "{}",
                done.stderr
            );
            assert!(done.stderr.contains("\"render\""), "{}", done.stderr);
        }
    }
}
