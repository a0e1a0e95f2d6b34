//! Files that are switched together by one link, and files that are bind mounts of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{CountingProxy, Daemon, OpenBao, SOON, Setup, Signal, poll};

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
    (Shop { bao, mount, proxy }, setup)
}

struct Shop {
    bao: support::Shared,
    mount: String,
    proxy: CountingProxy,
}

impl Shop {
    fn put(&self, fields: &serde_json::Value) {
        self.bao.kv2_put(&self.mount, "app", fields);
    }

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

#[test]
fn layout_directory_switches_all_files_at_once() {
    let pair =
        |number: u32| json!({ "crt": format!("crt {number}"), "key": format!("key {number}") });
    let (shop, setup) = with_files(
        &pair(0),
        "  layout: directory
  files:
  - { path: '@DIR@/tls/tls.crt', field: crt, mode: 0644 }
  - { path: '@DIR@/tls/tls.key', field: key }",
    );
    let daemon = setup.start();
    daemon.wait_file("tls/tls.crt", "crt 0", SOON);
    let tls = daemon.path("tls");
    assert_eq!(
        fs::read_link(tls.join("tls.key")).unwrap(),
        Path::new("..data/tls.key")
    );
    assert_eq!(
        attributes(&fs::canonicalize(tls.join("tls.crt")).unwrap()).0,
        0o644
    );
    assert_eq!(
        attributes(&fs::canonicalize(tls.join("tls.key")).unwrap()).0,
        0o600
    );
    let generation = || fs::read_link(tls.join("..data")).unwrap();
    let first = generation();
    shop.wait_cycle();
    assert_eq!(generation(), first, "nothing changed");

    // A reader that goes through `..data` once has a pair that belongs together.
    for number in 1..=3 {
        shop.put(&pair(number));
        let wanted = format!("key {number}");
        let seen = poll(SOON, || {
            let inside = tls.join(generation());
            let (crt, key) = (
                fs::read(inside.join("tls.crt")),
                fs::read(inside.join("tls.key")),
            );
            let (Ok(crt), Ok(key)) = (crt, key) else {
                return None;
            };
            let (crt, key) = (
                String::from_utf8(crt).unwrap(),
                String::from_utf8(key).unwrap(),
            );
            assert_eq!(
                crt.rsplit(' ').next(),
                key.rsplit(' ').next(),
                "{crt}, {key}"
            );
            (key == wanted).then_some(())
        });
        assert!(seen.is_some());
    }
    assert_ne!(generation(), first);
    let one_left = || {
        let names = fs::read_dir(&tls).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        (names.len() == 4).then_some(names)
    };
    assert!(
        poll(SOON, one_left).is_some(),
        "two links, `..data`, one generation"
    );

    // And a file edited by hand is repaired here, too.
    fs::write(tls.join("tls.key"), "edited").unwrap();
    daemon.wait_file("tls/tls.key", "key 3", SOON);
}

#[test]
fn what_a_switch_replaced_goes_after_its_second_however_often_the_secret_is_read() {
    let (shop, setup) = with_files(
        &json!({ "key": "old" }),
        "  layout: directory
  files: [{ path: '@DIR@/tls/key', field: key }]",
    );
    let daemon = setup.start();
    daemon.wait_ready(SOON);
    daemon.wait_file("tls/key", "old", SOON);
    let first = fs::canonicalize(daemon.path("tls/..data")).unwrap();
    shop.put(&json!({ "key": "new" }));
    daemon.wait_file("tls/key", "new", SOON);
    // Asked for again and again, it is never asleep for a second.
    let mut asked: Option<Instant> = None;
    let gone = poll(SOON, || {
        if asked.is_none_or(|at| at.elapsed() > Duration::from_millis(200)) {
            daemon.signal(Signal::USR1);
            asked = Some(Instant::now());
        }
        (!first.exists()).then_some(())
    });
    assert!(gone.is_some(), "{first:?} is still there");
}

/// The binary in a mount namespace of its own, in which `file` is a bind mount of `source`.
fn with_bind_mount(setup: Setup, arguments: &[&str]) -> Setup {
    let script = "touch file && mount --bind source file && exec \"$0\" \"$@\"";
    let setup = setup
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .program(Path::new("/usr/bin/unshare"))
        .arg("--mount")
        .arg("--propagation")
        .arg("private")
        .arg("sh")
        .arg("-c")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_secrets-sync"));
    arguments
        .iter()
        .fold(setup, |setup, argument| setup.arg(argument))
}

fn can_bind_mount() -> bool {
    std::process::Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "mount",
            "--bind",
            "/tmp",
            "/mnt",
        ])
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_file_that_is_a_bind_mount_is_named_and_can_be_written_in_place() {
    if !is_root() || !can_bind_mount() {
        skip!("needs root and bind mounts");
    }
    let files = |rest: &str| format!("  files: [{{ path: '@DIR@/file', field: x{rest} }}]");
    let (_shop, setup) = with_files(&json!({ "x": "value" }), &files(""));
    let daemon = with_bind_mount(setup.file("source", "last good"), &["run"]).start();
    let entry = daemon.wait_secret("app", SOON, |entry| entry["state"] == "failed");
    assert_eq!(entry["error_type"], "write");
    daemon.wait_for_log(SOON, |line| {
        line.raw.contains("/file`") && line.raw.contains("mount its directory")
    });
    assert_eq!(fs::read(daemon.path("source")).unwrap(), b"last good");
    drop(daemon);

    let (shop, setup) = with_files(
        &json!({ "x": "value" }),
        &files(", inPlace: true, mode: 0640"),
    );
    let daemon = with_bind_mount(setup.file("source", "last good, and long"), &["run"]).start();
    let inode = fs::metadata(daemon.path("source")).unwrap().ino();
    daemon.wait_file("source", "value", SOON);
    daemon.wait_for_log(SOON, |line| {
        line.has("level", "warn") && line.raw.contains("not atomic")
    });
    shop.put(&json!({ "x": "a new value that is longer" }));
    daemon.wait_file("source", "a new value that is longer", SOON);
    let meta = fs::metadata(daemon.path("source")).unwrap();
    assert_eq!(
        (meta.ino(), meta.mode() & 0o7777),
        (inode, 0o640),
        "the inode stays"
    );
}
