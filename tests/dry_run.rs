//! `run --dry-run`: says what would change, by sizes and digests, and does nothing at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use support::{Daemon, OpenBao, Setup};

const CANARY: &str = "canary-3f8a1c";

/// Everything below a directory: content, inode, times.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let mut content = Vec::new();
        if meta.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if meta.is_file() {
            content = fs::read(&path).unwrap();
        }
        let seen = (
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.mode(),
            content,
        );
        all.insert(path, seen);
    }
    all
}

/// The lines with `#` in place of their digests, and the digests.
fn preview(stdout: &str) -> (Vec<String>, Vec<String>) {
    let lines = stdout.lines().map(|line| {
        let (text, digest) = line.rsplit_once("digest ").unwrap();
        assert!(
            digest.len() == 8 && digest.bytes().all(|b| b.is_ascii_hexdigit()),
            "{line}"
        );
        (format!("{text}digest #"), digest.to_owned())
    });
    lines.unzip()
}

#[test]
fn it_says_what_would_change_and_changes_nothing() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": CANARY, "y": "short" }));
    let setup = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets:
- name: second-by-alphabet
  key: app
  files:
  - {{ path: '@DIR@/new/deep/file', field: x }}
  - {{ path: '@DIR@/longer', field: y }}
  - {{ path: '@DIR@/same', field: y }}
  - {{ path: '@DIR@/mode', field: y, mode: 0640 }}
- name: a-directory
  key: app
  files: [{{ dir: '@DIR@/all' }}]\n",
        bao.address()
    ))
    .file("longer", "was longer")
    .file("same", "short")
    .file("mode", "short")
    .file(".secrets-sync-0123456789ab.tmp", "left over")
    .any_stdout()
    .any_stderr();
    for name in ["same", "mode"] {
        fs::set_permissions(setup.path(name), Permissions::from_mode(0o600)).unwrap();
    }
    let before = tree(setup.dir());
    let done = setup.run(&["run", "--dry-run"]);
    assert_eq!(
        tree(done.dir.path()),
        before,
        "not even a directory, nothing is cleaned up"
    );
    let (lines, digests) = preview(&done.stdout);
    let at = done.dir.path().display();
    assert_eq!(
        lines,
        [
            format!("second-by-alphabet: would create {at}/new/deep/file: 13 bytes, digest #"),
            format!("second-by-alphabet: would replace {at}/longer: 10 -> 5 bytes, digest #"),
            format!("second-by-alphabet: unchanged {at}/same: 5 bytes, digest #"),
            format!("second-by-alphabet: would set mode and owner of {at}/mode: 5 bytes, digest #"),
            format!("a-directory: would create {at}/all/x: 13 bytes, digest #"),
            format!("a-directory: would create {at}/all/y: 5 bytes, digest #"),
        ]
    );
    assert_eq!(
        digests[0], digests[4],
        "equal contents of one run look equal"
    );
    assert_ne!(digests[0], digests[1]);
    assert!(!(done.stdout + &done.stderr).contains(CANARY));
}

#[test]
fn digests_mean_nothing_beyond_their_run_and_after_a_run_nothing_would_change() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": CANARY }));
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets: [{{ name: app, key: app, files: [{{ path: '@DIR@/app', field: x }}] }}]\n",
        bao.address()
    ))
    .start();
    daemon.wait_file("app", CANARY, support::SOON);
    daemon.wait_ready(support::SOON);
    // Beside a running daemon: it needs neither its port nor its lock.
    let mut digests = Vec::new();
    for _ in 0..2 {
        let (code, stdout, _) = daemon.also(&["run", "--dry-run"]);
        assert_eq!(code, 0);
        let (lines, mut digest) = preview(&stdout);
        let path = daemon.path("app");
        assert_eq!(
            lines,
            [format!(
                "app: unchanged {}: 13 bytes, digest #",
                path.display()
            )]
        );
        digests.append(&mut digest);
    }
    assert_ne!(digests[0], digests[1], "a key of its own for every run");
}

#[test]
fn a_secret_that_fails_is_exit_1_and_the_others_are_shown() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "value", "none": "" }));
    let secret = |name: &str, key: &str, field: &str| {
        format!(
            "- {{ name: {name}, key: {key}, files: [{{ path: '@DIR@/{name}', field: {field} }}] }}\n"
        )
    };
    let setup: Setup = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}\nsecrets:\n{}{}{}{}",
        bao.address(),
        secret("absent", "nowhere", "x"),
        secret("field", "app", "missing"),
        secret("empty", "app", "none"),
        secret("good", "app", "x"),
    ));
    let done = setup
        .status(1)
        .any_stdout()
        .any_stderr()
        .run(&["run", "--dry-run"]);
    let (lines, _) = preview(&done.stdout);
    let path = done.path("good");
    assert_eq!(
        lines,
        [format!(
            "good: would create {}: 5 bytes, digest #",
            path.display()
        )]
    );
    for words in [
        "secrets-sync: `absent`: ",
        "secrets-sync: `field`: ",
        "secrets-sync: `empty`: ",
    ] {
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
    assert!(!path.exists());
}

#[test]
fn a_wrapped_secret_id_is_left_for_the_daemon_and_a_use_of_a_limited_one_is_warned_of() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
    let policy = bao.reader_policy(&mount);
    let role = support::unique("role");
    let (role_id, secret_id) = bao.approle(
        &role,
        &json!({ "token_policies": [policy], "secret_id_num_uses": 5 }),
    );
    let config = |more: &str| {
        format!(
            "secretStore:
  address: '{}'
  authMethod: approle
  roleId: {role_id}
  secretIdFile: '@DIR@/secret-id'
{more}
secrets: [{{ name: app, key: app, mountPath: {mount}, files: [{{ path: '@DIR@/app', field: x }}] }}]\n",
            bao.address()
        )
    };
    let wrapped = bao.wrapped_secret_id(&role, "5m");
    let at = format!("  secretIdWrappingPath: auth/approle/role/{role}/secret-id");
    let done = Daemon::new(&config(&at))
        .file("secret-id", &wrapped)
        .status(1)
        .any_stderr()
        .run(&["run", "--dry-run"]);
    assert!(
        done.stderr.contains("left for the daemon"),
        "{}",
        done.stderr
    );
    let lookup = json!({ "token": wrapped });
    let (status, answer) = bao.request("POST", "sys/wrapping/lookup", "", "", &lookup);
    assert_eq!(status, 200, "it is still there: {answer}");

    let done = Daemon::new(&config(""))
        .file("secret-id", &secret_id)
        .any_stdout()
        .any_stderr()
        .run(&["run", "--dry-run"]);
    let warned = done
        .stderr
        .lines()
        .any(|line| line.contains("\"warn\"") && line.contains("use"));
    assert!(warned, "{}", done.stderr);
    assert!(!done.stderr.contains(&secret_id));
}
