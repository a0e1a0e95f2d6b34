//! Files on disk: modes, owners, parents, repair, and what is left alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use serde_json::json;
use support::{CountingProxy, Daemon, OpenBao, SOON, Setup, poll};

/// A server with a secret, and a configuration whose only secret has these files.
fn with_files(fields: &serde_json::Value, rest: &str) -> (Shop, Setup) {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", fields);
    let proxy = CountingProxy::start(bao.endpoint());
    let setup = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root }}
secrets:
- name: app
  key: app
  mountPath: {mount}
  refreshInterval: 1s
{rest}\n",
        proxy.address()
    ));
    (Shop { mount, proxy }, setup)
}

struct Shop {
    mount: String,
    proxy: CountingProxy,
}

impl Shop {
    /// Waits until a whole cycle has gone by: the one that begins from now on is over when the next
    /// one begins.
    fn wait_cycle(&self) {
        let path = format!("/v1/{}/data/app", self.mount);
        let before = self.proxy.count(|request| request.target == path);
        self.proxy
            .wait_for(before + 2, SOON, |request| request.target == path);
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Mode, owner, group.
fn attributes(path: &Path) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.mode() & 0o7777, meta.uid(), meta.gid())
}

/// What a rewrite or a change of attributes alters.
fn identity(path: &Path) -> (u64, i64, i64, i64, i64) {
    let meta = fs::metadata(path).unwrap();
    (
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    )
}

#[test]
fn modes_owners_and_missing_parents_are_as_written_whatever_the_umask() {
    let (own, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let owned = if is_root() {
        "
  - { path: '@DIR@/owned/numbers', field: x, mode: 0640, owner: 12345, group: \"54321\" }
  - { path: '@DIR@/owned/names', field: x, owner: nobody, group: root }
  - { dir: '@DIR@/owned/all', mode: \"0440\", owner: \"12345\", group: 0 }"
    } else {
        support::skipped(module_path!(), "owners need root");
        ""
    };
    let (_shop, setup) = with_files(
        &json!({ "x": "value" }),
        &format!(
            "  files:
  - {{ path: '@DIR@/default', field: x }}
  - {{ path: '@DIR@/deep/er/public', field: x, mode: 0644 }}
  - {{ path: '@DIR@/private/deep/er/group', field: x, mode: 0o660 }}
  - {{ path: '@DIR@/readonly', field: x, mode: \"0400\" }}{owned}"
        ),
    );
    let private = setup.path("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    let binary = env!("CARGO_BIN_EXE_secrets-sync");
    for umask in ["000", "077"] {
        // It runs under the same directory twice; the second run finds everything right.
        let command = format!("umask {umask}; exec '{binary}' run --once");
        let status = std::process::Command::new("sh")
            .args(["-c", &command])
            .env_clear()
            .env("CONFIG_FILE", setup.path("config.yaml"))
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let is = |name: &str| attributes(&setup.path(name));
        assert_eq!(is("default"), (0o600, own, group));
        assert_eq!(is("deep/er/public"), (0o644, own, group));
        assert_eq!(is("private/deep/er/group"), (0o660, own, group));
        assert_eq!(is("readonly"), (0o400, own, group));
        for (directory, mode) in [
            ("deep", 0o755),
            ("deep/er", 0o755),
            ("private/deep", 0o700),
            ("private/deep/er", 0o700),
        ] {
            assert_eq!(is(directory).0, mode, "{directory}, umask {umask}");
        }
        if is_root() {
            assert_eq!(is("owned/numbers"), (0o640, 12345, 54321));
            let nobody = is("owned/names");
            assert!(nobody.1 > 0 && nobody.2 == 0, "{nobody:?}");
            assert_eq!(is("owned/all/x"), (0o440, 12345, 0));
        }
        if umask == "000" {
            fs::remove_dir_all(setup.path("deep")).unwrap();
            fs::remove_dir_all(setup.path("private/deep")).unwrap();
            fs::remove_file(setup.path("default")).unwrap();
        }
    }
}

#[test]
fn what_was_changed_by_hand_is_repaired_and_what_is_right_is_left_alone() {
    const DAMAGED: [&str; 6] = [
        "edited",
        "emptied",
        "same-length",
        "mode",
        "owner",
        "removed",
    ];
    let mut files = "  files:\n  - { path: '@DIR@/s/right', field: x }\n".to_owned();
    for name in DAMAGED {
        files += &format!("  - {{ path: '@DIR@/s/{name}', field: x, mode: 0640 }}\n");
    }
    let (shop, setup) = with_files(&json!({ "x": "value" }), &files);
    let daemon = setup.start();
    daemon.wait_ready(SOON);
    let path = |name: &str| daemon.path("s").join(name);
    let is = |name: &str| {
        let content = fs::read(path(name)).ok()?;
        Some((content, attributes(&path(name))))
    };
    let right = is("edited");
    let untouched = identity(&path("right"));
    let before = DAMAGED.map(|name| identity(&path(name)));
    shop.wait_cycle();
    let after = DAMAGED.map(|name| identity(&path(name)));
    assert_eq!(before, after, "nothing is written where nothing changed");

    fs::write(path("edited"), "edited, and longer").unwrap();
    fs::write(path("emptied"), "").unwrap();
    fs::write(path("same-length"), "VALUE").unwrap();
    fs::set_permissions(path("mode"), Permissions::from_mode(0o666)).unwrap();
    if is_root() {
        chown(path("owner"), Some(4242), Some(4242)).unwrap();
    }
    fs::remove_file(path("removed")).unwrap();
    for name in DAMAGED {
        let repaired = poll(SOON, || (is(name) == right).then_some(()));
        assert!(repaired.is_some(), "{name}: {:?}", is(name));
    }
    assert_eq!(
        identity(&path("right")),
        untouched,
        "their neighbour is left alone"
    );

    fs::remove_dir_all(daemon.path("s")).unwrap();
    for name in DAMAGED {
        let repaired = poll(SOON, || (is(name) == right).then_some(()));
        assert!(
            repaired.is_some(),
            "with its directory, {name}: {:?}",
            is(name)
        );
    }
    shop.wait_cycle();
    assert_eq!(
        fs::read_dir(daemon.path("s")).unwrap().count(),
        7,
        "no temporary stays"
    );
}

#[test]
fn what_a_killed_daemon_left_is_removed_at_start_and_nothing_else() {
    let (_shop, setup) = with_files(
        &json!({ "x": "value" }),
        "  files: [{ path: '@DIR@/s/a', field: x }]",
    );
    let left = ".secrets-sync-0123456789ab.tmp";
    let keep = [
        "other",
        ".secrets-sync-short.tmp",
        ".secrets-sync-0123456789ab.tmp.mine",
    ];
    let setup = keep
        .iter()
        .fold(setup, |setup, name| {
            setup.file(&format!("s/{name}"), "mine")
        })
        .file(&format!("s/{left}"), "half a secr");
    symlink("other", setup.path("s/.secrets-sync-ba9876543210.tmp")).unwrap();
    let daemon = setup.start();
    daemon.wait_file("s/a", "value", SOON);
    assert!(!daemon.path(&format!("s/{left}")).exists());
    for name in keep {
        assert_eq!(
            fs::read(daemon.path(&format!("s/{name}"))).unwrap(),
            b"mine",
            "{name}"
        );
    }
    assert!(daemon.path("s/.secrets-sync-ba9876543210.tmp").is_symlink());
    daemon.wait_for_log(SOON, |line| line.text("path").ends_with(left));
}

#[test]
fn an_empty_value_empties_no_file_unless_that_is_allowed() {
    let (_shop, setup) = with_files(
        &json!({ "x": "", "y": "value" }),
        "  files:
  - { path: '@DIR@/allowed', field: x, allowEmpty: true }
  - { dir: '@DIR@/all', allowEmpty: true }
- name: strict
  key: app
  mountPath: MOUNT
  files: [{ path: '@DIR@/strict', field: x }, { path: '@DIR@/second', field: y }]",
    );
    let config = fs::read_to_string(setup.path("config.yaml")).unwrap();
    let mount = config
        .split("mountPath: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    let daemon = setup
        .file("config.yaml", &config.replace("MOUNT", mount))
        .file("strict", "last good")
        .file("allowed", "was full")
        .start();
    daemon.wait_file("allowed", "", SOON);
    daemon.wait_file("all/x", "", SOON);
    let entry = daemon.wait_secret("strict", SOON, |entry| entry["state"] == "failed");
    assert_eq!(entry["error_type"], "write");
    let error = entry["error"].as_str().unwrap();
    assert!(
        error.contains("/strict`") && error.contains("empty"),
        "{error}"
    );
    assert_eq!(fs::read(daemon.path("strict")).unwrap(), b"last good");
    assert!(
        !daemon.path("second").exists(),
        "all of a secret's files or none"
    );
}

#[test]
fn a_target_that_is_no_regular_file_is_refused_and_stays() {
    let (_shop, setup) = with_files(
        &json!({ "x": "value" }),
        "  files: [{ path: '@DIR@/link', field: x }]",
    );
    let setup = setup.file("victim", "not yours");
    symlink("victim", setup.path("link")).unwrap();
    let daemon = setup.start();
    let entry = daemon.wait_secret("app", SOON, |entry| entry["state"] == "failed");
    assert_eq!(entry["error_type"], "write");
    assert!(entry["error"].as_str().unwrap().contains("link"), "{entry}");
    assert_eq!(fs::read(daemon.path("victim")).unwrap(), b"not yours");
    assert!(daemon.path("link").is_symlink());
    // Tried each cycle: what an operator repairs is found.
    fs::remove_file(daemon.path("link")).unwrap();
    daemon.wait_file("link", "value", SOON);
}

#[test]
fn two_entries_for_one_path_are_refused_before_anything_is_done() {
    for (one, other) in [
        ("{ path: /s/a, field: x }", "{ path: /s//./a, field: y }"),
        ("{ path: /s/a, field: x }", "{ dir: /s }"),
        ("{ dir: /s }", "{ dir: /s/ }"),
    ] {
        let done = Daemon::new(&format!(
            "secretStore: {{ address: 'https://v', token: t }}
secrets:
- {{ name: one, key: a, files: [{one}] }}
- {{ name: other, key: b, files: [{other}] }}\n"
        ))
        .status(2)
        .any_stderr()
        .run(&["run"]);
        assert!(
            done.stderr.contains("secrets[1].files[0]"),
            "{}",
            done.stderr
        );
        assert!(
            done.stderr.contains("`one`") || done.stderr.contains("secrets[0]"),
            "{}",
            done.stderr
        );
    }
}
