//! `isready` and `status` beside a real daemon, in each of its states.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod site;
mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use site::{Site, here, hourly, secret, settled};
use support::{Daemon, SOON, Setup, Signal};

/// Exit codes of `isready` and `status`.
fn codes(daemon: &Daemon) -> (i32, i32) {
    (daemon.also(&["isready"]).0, daemon.also(&["status"]).0)
}

#[test]
fn every_state_of_a_daemon_has_its_answer() {
    let site = Site::with(&["a"]);
    let optional = secret("extra", "optional: true, refreshInterval: 1h");
    let config = site.config(&[hourly("a"), secret("b", "refreshInterval: 1s"), optional]);
    let mut daemon = Daemon::new(&config).start();

    daemon.wait_secret("b", SOON, |entry| entry["state"] == "failed");
    daemon.wait_secret("a", SOON, |entry| entry["state"] == "in_sync");
    let (code, stdout, stderr) = daemon.also(&["isready"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let said = "secrets-sync: not ready: 1 of 3 secrets in sync\n  `b`: failed: ";
    assert!(stderr.starts_with(said), "{stderr}");
    assert!(!stderr.contains("extra"), "{stderr}");
    assert_eq!(daemon.also(&["status"]).0, 1);

    // An optional secret that is not there counts for neither.
    site.put("b", "b");
    daemon.wait_status(SOON, |status| {
        status["ready"] == true && status["degraded"] == false
    });
    let ready = (
        0,
        "ready: 2 of 3 secrets in sync\n".to_owned(),
        String::new(),
    );
    assert_eq!(daemon.also(&["isready"]), ready);
    let (code, table, stderr) = daemon.also(&["status"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for name in ["a", "b", "extra"] {
        assert!(
            table
                .lines()
                .any(|line| line.trim_start().starts_with(name)),
            "{table}"
        );
    }
    let (code, json, stderr) = daemon.also(&["status", "--json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["schema"], &json["ready"]), (&1.into(), &true.into()));
    assert_eq!(json["secrets"].as_array().unwrap().len(), 3);

    // Degraded is ready still.
    site.bao.delete(&site.mount, "b");
    daemon.wait_status(SOON, |status| status["degraded"] == true);
    assert_eq!(codes(&daemon), (0, 1));
    assert!(daemon.also(&["isready"]).1.starts_with("ready, degraded: "));

    // Another path, given, is the only one read.
    let (code, _, stderr) = daemon.also(&["isready", "--status-file", "/nonexistent/status.json"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("`/nonexistent/status.json`"), "{stderr}");
    let given = here(&daemon, "--status-file=@DIR@/status.json");
    assert_eq!(daemon.also(&["isready", &given]).0, 0);

    // What a killed daemon leaves behind does not count, though it says ready.
    daemon.kill9();
    assert_eq!(daemon.status().unwrap()["ready"], true);
    assert_eq!(codes(&daemon), (1, 2));
    let stderr = daemon.also(&["isready"]).2;
    assert!(stderr.contains("its lock is free"), "{stderr}");
}

#[test]
fn a_daemon_that_hangs_is_not_ready_until_it_goes_on() {
    let site = Site::with(&["a"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "refreshInterval: 1s")])).start();
    settled(&daemon, &["a"]);
    assert_eq!(codes(&daemon), (0, 0));
    daemon.signal(Signal::STOP);
    let age = |seconds| {
        let then = SystemTime::now() - Duration::from_secs(seconds);
        File::open(daemon.path("status.json"))
            .unwrap()
            .set_modified(then)
            .unwrap();
    };
    // In a moment it may still have been writing: it stands when its state says so.
    let stat = || fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    support::poll(SOON, || stat().contains(") T ").then_some(())).expect("a daemon that stands");
    age(80);
    assert_eq!(codes(&daemon), (0, 0), "it may be between two touches");
    age(91);
    assert_eq!(codes(&daemon), (1, 1));
    let stderr = daemon.also(&["isready"]).2;
    assert!(
        stderr.contains("s old: the daemon hangs, or cannot write it"),
        "{stderr}"
    );
    daemon.signal(Signal::CONT);
    let ready = || (codes(&daemon) == (0, 0)).then_some(());
    support::poll(SOON, ready).expect("a daemon that goes on is ready again");
}

fn unshares() -> bool {
    let tried = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

#[test]
fn a_read_only_mount_of_its_volume_is_enough() {
    if !unshares() {
        skip!("needs the right to make mount namespaces");
    }
    let site = Site::with(&["a"]);
    let setup = Daemon::new(&site.config(&[hourly("a")]))
        .file("volume/.keep", "")
        .env("STATUS_FILE", "@DIR@/volume/status.json");
    let mut daemon = setup.start();
    daemon.wait_file("a", "a", SOON);
    // As in a container beside it: the volume at another place, not to be written.
    let beside = |daemon: &Daemon| {
        let script = r#"mount --bind "$1" /mnt && mount -o remount,ro,bind /mnt && exec "$2" isready --status-file /mnt/status.json"#;
        let output = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(daemon.path("volume"))
            .arg(env!("CARGO_BIN_EXE_secrets-sync"))
            .output()
            .unwrap();
        output.status.code()
    };
    support::poll(SOON, || (beside(&daemon) == Some(0)).then_some(())).expect("ready beside it");
    daemon.kill9();
    assert_eq!(beside(&daemon), Some(1));
}

#[test]
fn the_places_are_searched_for_one_whose_lock_is_held() {
    if !unshares() {
        skip!("needs the right to make mount namespaces");
    }
    let site = Site::with(&["a"]);
    // A `/run` of its own.
    let script = r#"mount -t tmpfs run /run && mkdir /run/secrets-sync && exec "$0" run"#;
    let daemon = Daemon::new(&site.config(&[hourly("a")]))
        .env("PATH", &std::env::var("PATH").unwrap())
        .env("STATUS_FILE", "/run/secrets-sync/status.json")
        .file("dead/status.json", r#"{"schema":1,"ready":false}"#)
        .file("dead/status.json.lock", "")
        .program(Path::new("/usr/bin/env"))
        .arg("unshare")
        .arg("--mount")
        .arg("--propagation")
        .arg("private")
        .arg("sh")
        .arg("-c")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_secrets-sync"))
        .start();
    daemon.wait_file("a", "a", SOON);
    let inside = |runtime: &str| {
        let output = Command::new("nsenter")
            .args(["--mount", "--target", &daemon.pid().to_string()])
            .arg(env!("CARGO_BIN_EXE_secrets-sync"))
            .arg("isready")
            .env_clear()
            .env("RUNTIME_DIRECTORY", here(&daemon, runtime))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let found = || (inside("@DIR@/dead").0 == Some(0)).then_some(());
    support::poll(SOON, found).expect("past the one whose lock is free");
    // A living one that comes first wins, whatever it says.
    let first = File::open(daemon.path("dead/status.json.lock")).unwrap();
    rustix::fs::flock(&first, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (code, stderr) = inside("@DIR@/dead:/elsewhere");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("dead/status.json`"), "{stderr}");
}

#[test]
fn in_a_directory_for_all_only_its_owner_and_root_are_believed() {
    if !rustix::process::geteuid().is_root() {
        skip!("needs root, to become somebody else");
    }
    let site = Site::with(&["a"]);
    let setup = Daemon::new(&site.config(&[hourly("a")]))
        .file("sticky/.keep", "")
        .env("STATUS_FILE", "@DIR@/sticky/status.json");
    let as_user = |setup: Setup| {
        for path in [setup.dir().to_owned(), setup.path("config.yaml")] {
            chown(path, Some(65_534), Some(65_534)).unwrap();
        }
        fs::set_permissions(setup.path("sticky"), Permissions::from_mode(0o1777)).unwrap();
        let words = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let setup = setup.program(Path::new("/usr/bin/setpriv"));
        let setup = words.iter().fold(setup, |setup, word| setup.arg(word));
        setup.arg(env!("CARGO_BIN_EXE_secrets-sync"))
    };
    let daemon = as_user(setup).arg("run").start();
    daemon.wait_file("a", "a", SOON);
    let ask = |user: u32| {
        let output = Command::new("setpriv")
            .args([
                &format!("--reuid={user}"),
                &format!("--regid={user}"),
                "--clear-groups",
            ])
            .arg(env!("CARGO_BIN_EXE_secrets-sync"))
            .args(["isready", "--status-file"])
            .arg(daemon.path("sticky/status.json"))
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    fs::set_permissions(daemon.dir(), Permissions::from_mode(0o755)).unwrap();
    support::poll(SOON, || (ask(65_534).0 == Some(0)).then_some(())).expect("its own user");
    for stranger in [0, 4321] {
        let (code, stderr) = ask(stranger);
        assert_eq!(code, Some(1), "user {stranger}");
        assert!(
            stderr.contains("passed over: its lock: it belongs to user 65534"),
            "{stderr}"
        );
    }
    // Where others cannot write, the owner is no matter.
    fs::set_permissions(daemon.path("sticky"), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(ask(4321), (Some(0), String::new()));
}
