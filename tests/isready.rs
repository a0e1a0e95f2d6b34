//! `isready` and `status`: what a health check, a script and a person learn from the status file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod site;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use site::{Site, hourly, secret, settled};
use support::{Action, Daemon, SOON, Signal, poll};

const BINARY: &str = env!("CARGO_BIN_EXE_secrets-sync");

type Ended = (i32, String, String);

/// `secrets-sync ARGS` in this environment and no other.
fn asked(env: &[(&str, &Path)], args: &[&str]) -> Ended {
    ended(Command::new(BINARY).args(args).env_clear(), env)
}

/// The same after `script`, in a mount namespace of its own.
fn asked_after(script: &str, env: &[(&str, &Path)], args: &[&str]) -> Ended {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-ec"])
        .arg(format!("{script}; exec \"$0\" \"$@\""))
        .arg(BINARY)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    ended(&mut command, env)
}

fn ended(command: &mut Command, env: &[(&str, &Path)]) -> Ended {
    let output = command.envs(env.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or(-1);
    (code, text(output.stdout), text(output.stderr))
}

/// Why mounts of its own cannot be had, if they cannot.
fn mounts() -> Result<(), String> {
    let tried = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    match tried {
        Ok(tried) if tried.status.success() => Ok(()),
        Ok(tried) => Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Another owner for the status file `path` and its lock.
fn give_away(path: &Path) {
    for path in [path.to_owned(), path.with_extension("json.lock")] {
        std::os::unix::fs::chown(path, Some(12345), Some(12345)).unwrap();
    }
}

fn make_public(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o1777)).unwrap();
}

/// Nothing on standard output, and all of these in one message on standard error.
#[track_caller]
fn assert_not_ready(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!((ended.0, &*ended.1), (code, ""), "{}", ended.2);
    assert!(ended.2.starts_with("secrets-sync: "), "{}", ended.2);
    assert!(ended.2.contains("\n  help: "), "{}", ended.2);
    for word in words {
        assert!(ended.2.contains(word), "`{word}` is not in: {}", ended.2);
    }
}

fn ready(text: &str) -> Ended {
    (0, format!("{text}\n"), String::new())
}

#[test]
fn not_ready_until_every_secret_is_written_and_then_ready_through_later_failures() {
    let site = Site::with(&["a", "b"]);
    site.proxy.inject(|_| Some(Action::Close));
    let secrets = [
        secret("a", "refreshInterval: 1s"),
        secret("b", "refreshInterval: 1s"),
    ];
    let daemon = Daemon::new(&site.config(&secrets))
        .env("INITIAL_BACKOFF", "100ms")
        .env("MAX_BACKOFF", "500ms")
        .start();
    for name in ["a", "b"] {
        daemon.wait_secret(name, SOON, |entry| entry["state"] == "failed");
    }
    let words = ["not ready: 0 of 2 secrets in sync", "`a`: failed: ", "`b`"];
    assert_not_ready(&daemon.also(&["isready"]), 1, &words);
    let (code, table, errors) = daemon.also(&["status"]);
    assert_eq!((code, &*errors), (1, ""));
    assert!(table.starts_with("not ready: 0 of 2 secrets"), "{table}");
    assert!(table.contains("\n  unavailable: "), "{table}");

    // One is there, and one is not: still not.
    let of_b = format!("/v1/{}/data/b", site.mount);
    site.proxy
        .inject(move |request| request.target.starts_with(&of_b).then_some(Action::Close));
    daemon.wait_status(SOON, |status| status["synced_count"] == 1);
    let words = ["not ready: 1 of 2 secrets in sync", "`b`: failed: "];
    let one = daemon.also(&["isready"]);
    assert_not_ready(&one, 1, &words);
    assert!(!one.2.contains("`a`"), "{}", one.2);

    site.proxy.restore();
    daemon.wait_status(SOON, |status| status["synced_count"] == 2);
    let line = "ready: 2 of 2 secrets in sync";
    assert_eq!(daemon.also(&["isready"]), ready(line));
    let (code, table, errors) = daemon.also(&["status"]);
    assert_eq!((code, &*errors), (0, ""), "{table}");
    assert!(table.starts_with(line), "{table}");

    // A later failure: ready, degraded, and `status` is what tells it by its exit code.
    site.bao.delete(&site.mount, "b");
    let failed = daemon.wait_secret("b", SOON, |entry| entry["state"] == "failed");
    assert_eq!(failed["error_type"], "deleted");
    let line = "ready, degraded: 1 of 2 secrets in sync";
    assert_eq!(daemon.also(&["isready"]), ready(line));
    let (code, table, _) = daemon.also(&["status"]);
    assert_eq!(code, 1, "{table}");
    assert!(table.starts_with(line), "{table}");
    assert!(table.contains("\n  deleted: "), "{table}");
}

#[test]
fn status_as_json_is_the_status_document_and_holds_what_was_promised() {
    let site = Site::with(&["a"]);
    site.put("a", "a");
    let daemon = Daemon::new(&site.config(&[hourly("a")])).start();
    settled(&daemon, &["a"]);
    let same = poll(SOON, || {
        let (code, text, errors) = daemon.also(&["status", "--json"]);
        assert_eq!((code, &*errors), (0, ""));
        let printed: Value = serde_json::from_str(&text).unwrap();
        (daemon.status() == Some(printed.clone())).then_some(printed)
    });
    let document = same.expect("the document of the file");
    assert_eq!(document["schema"], 1);
    assert_eq!(document["ready"], true);
    assert_eq!(document["degraded"], false);
    assert_eq!(document["secret_count"], 1);
    assert_eq!(document["synced_count"], 1);
    assert!(document["config"]["error"].is_null());
    assert_eq!(document["stores"].as_array().unwrap().len(), 1);
    let store = &document["stores"][0];
    assert_eq!(
        (&store["name"], &store["breaker"]),
        (&json!("default"), &json!("closed"))
    );
    for time in [&document["started"], &document["config"]["loaded"]] {
        humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
    }
    let entry = &document["secrets"][0];
    assert_eq!(
        (&entry["name"], &entry["store"], &entry["state"]),
        (&json!("a"), &json!("default"), &json!("in_sync"))
    );
    assert_eq!(entry["version"], 2);
    assert_eq!(
        (&entry["error_type"], &entry["error"]),
        (&json!(null), &json!(null))
    );
    let time = |key: &str| humantime::parse_rfc3339(entry[key].as_str().unwrap()).unwrap();
    let wait = time("next_refresh")
        .duration_since(time("last_success"))
        .unwrap();
    let (least, most) = (Duration::from_secs(3235), Duration::from_secs(3605));
    assert!((least..most).contains(&wait), "{wait:?}");
    use std::os::unix::fs::MetadataExt;
    for name in ["status.json", "status.json.lock"] {
        let mode = fs::metadata(daemon.path(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o644, "{name}");
    }
}

#[test]
fn a_killed_daemon_is_not_ready_although_its_file_is_there() {
    let site = Site::with(&["a"]);
    let mut daemon = Daemon::new(&site.config(&[hourly("a")])).start();
    settled(&daemon, &["a"]);
    assert_eq!(daemon.also(&["isready"]).0, 0);
    daemon.kill9();
    assert_eq!(daemon.status().unwrap()["ready"], true);
    let why = ["left behind by a daemon that has ended", "status.json"];
    assert_not_ready(&daemon.also(&["isready"]), 1, &why);
    assert_not_ready(&daemon.also(&["status"]), 2, &why);
    assert_not_ready(&daemon.also(&["status", "--json"]), 2, &why);
    fs::remove_file(daemon.path("status.json")).unwrap();
    assert_not_ready(&daemon.also(&["isready"]), 1, &["the daemon has ended"]);
    fs::remove_file(daemon.path("status.json.lock")).unwrap();
    let why = ["no daemon has a lock there"];
    assert_not_ready(&daemon.also(&["isready"]), 1, &why);
    assert_not_ready(&daemon.also(&["status"]), 2, &why);
}

#[test]
fn a_hung_daemon_is_not_ready_once_its_status_is_older_than_90_s() {
    let site = Site::with(&["a"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "refreshInterval: 1s")])).start();
    settled(&daemon, &["a"]);
    daemon.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", daemon.pid());
    let stands = || {
        let stat = fs::read_to_string(&stat).unwrap();
        stat.rsplit_once(") ")?.1.starts_with('T').then_some(())
    };
    assert!(poll(SOON, stands).is_some(), "it does not stop");
    let age = |seconds| {
        let file = fs::File::options()
            .write(true)
            .open(daemon.path("status.json"))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    };
    // A minute is nothing yet, with two touches lost.
    age(60);
    assert_eq!(daemon.also(&["isready"]).0, 0);
    age(91);
    let old = daemon.also(&["isready"]);
    assert_not_ready(&old, 1, &["not ready: ", " s old: the daemon hangs"]);
    // It runs, so that this is not 2.
    assert_not_ready(&daemon.also(&["status"]), 1, &[" s old: the daemon hangs"]);
    daemon.signal(Signal::CONT);
    let again = poll(SOON, || (daemon.also(&["isready"]).0 == 0).then_some(()));
    assert!(again.is_some(), "not ready again");
}

#[test]
fn a_named_status_file_is_the_only_one_that_is_read() {
    let site = Site::with(&["a"]);
    let setup = Daemon::new(&site.config(&[hourly("a")]))
        .env_remove("STATUS_FILE")
        .env("RUNTIME_DIRECTORY", "@DIR@/run:@DIR@/other");
    fs::create_dir(setup.path("run")).unwrap();
    let daemon = setup.start();
    let (live, none) = (daemon.path("run/status.json"), daemon.path("none.json"));
    let (run, nowhere) = (daemon.path("run"), daemon.path("nowhere"));
    let found = poll(SOON, || {
        (asked(&[("RUNTIME_DIRECTORY", &run)], &["isready"]).0 == 0).then_some(())
    });
    assert!(found.is_some(), "the first entry of $RUNTIME_DIRECTORY");
    let given = |path: &Path| format!("--status-file={}", path.display());
    let (live_given, none_given) = (given(&live), given(&none));

    // The variable wins over the places by default, the option over the variable.
    let by_variable: [(&str, &Path); 2] = [("RUNTIME_DIRECTORY", &nowhere), ("STATUS_FILE", &live)];
    for command in ["isready", "status"] {
        assert_eq!(asked(&by_variable, &[command]).0, 0);
        assert_eq!(
            asked(&[("STATUS_FILE", &none)], &[command, &live_given]).0,
            0
        );
        let code = if command == "isready" { 1 } else { 2 };
        let runtime: (&str, &Path) = ("RUNTIME_DIRECTORY", &run);
        for (env, args) in [
            (vec![runtime, ("STATUS_FILE", &*none)], vec![command]),
            (
                vec![runtime, ("STATUS_FILE", &*live)],
                vec![command, &*none_given],
            ),
        ] {
            let ended = asked(&env, &args);
            assert_not_ready(&ended, code, &["none.json`: no daemon has a lock there"]);
            for other in ["/run/", "/tmp/.ready-state"] {
                assert!(!ended.2.contains(other), "{}", ended.2);
            }
        }
    }
}

#[test]
fn the_same_volume_in_another_container_read_only_tells_the_same() {
    if let Err(why) = mounts() {
        skip!("no mounts of its own can be had: {why}");
    }
    let site = Site::with(&["a"]);
    let setup = Daemon::new(&site.config(&[hourly("a")])).env("STATUS_FILE", "@DIR@/run/s.json");
    fs::create_dir(setup.path("run")).unwrap();
    let mut daemon = setup.start();
    daemon.wait_file("a", "a", SOON);
    let script = format!(
        "mount --bind '{}' /mnt; mount -o remount,bind,ro /mnt",
        daemon.path("run").display()
    );
    let there = || {
        asked_after(
            &script,
            &[("STATUS_FILE", Path::new("/mnt/s.json"))],
            &["isready"],
        )
    };
    let told = poll(SOON, || (there().0 == 0).then(&there));
    assert_eq!(told, Some(ready("ready: 1 of 1 secret in sync")));
    daemon.kill9();
    assert!(daemon.path("run/s.json").exists());
    assert_not_ready(&there(), 1, &["/mnt/s.json", "left behind"]);
}

#[test]
fn what_a_stranger_put_into_a_public_directory_is_passed_over_with_a_message() {
    if !is_root() {
        skip!("needs root, to give files away");
    }
    let site = Site::with(&["a"]);
    let setup =
        Daemon::new(&site.config(&[hourly("a")])).env("STATUS_FILE", "@DIR@/run/status.json");
    fs::create_dir(setup.path("run")).unwrap();
    let daemon = setup.start();
    let path = daemon.path("run/status.json");
    let is_ready = || (daemon.also(&["isready"]).0 == 0).then_some(());
    assert!(poll(SOON, is_ready).is_some(), "not ready");

    // A stranger's file where nobody else may write is an operator's doing.
    give_away(&path);
    assert_eq!(daemon.also(&["isready"]).0, 0);
    make_public(&daemon.path("run"));
    let why = ["status.json`: passed over: ", "belongs to user 12345"];
    assert_not_ready(&daemon.also(&["isready"]), 1, &why);
    assert_not_ready(&daemon.also(&["status"]), 2, &why);

    if let Err(why) = mounts() {
        skip!("no mounts of its own can be had: {why}");
    }
    // The next place is asked, where a daemon lives that can be believed.
    let setup =
        Daemon::new(&site.config(&[hourly("a")])).env("STATUS_FILE", "@DIR@/run/status.json");
    fs::create_dir(setup.path("run")).unwrap();
    let other = setup.start();
    assert!(poll(SOON, || (other.also(&["isready"]).0 == 0).then_some(())).is_some());
    let script = format!(
        "mount -t tmpfs none /run; mkdir /run/secrets-sync; mount --bind '{}' /run/secrets-sync",
        other.path("run").display()
    );
    let foreign = daemon.path("run");
    let (code, out, errors) =
        asked_after(&script, &[("RUNTIME_DIRECTORY", &foreign)], &["isready"]);
    assert_eq!(
        (code, &*out),
        (0, "ready: 1 of 1 secret in sync\n"),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.starts_with("secrets-sync: `"), "{errors}");
    for word in why {
        assert!(errors.contains(word), "{errors}");
    }
}

#[test]
fn an_optional_secret_that_fails_leaves_the_daemon_ready_and_not_degraded() {
    let site = Site::with(&["a"]);
    let secrets = [hourly("a"), secret("b", "optional: true")];
    let daemon = Daemon::new(&site.config(&secrets)).start();
    let failed = daemon.wait_secret("b", SOON, |entry| entry["state"] == "failed");
    assert_eq!(failed["error_type"], "not_found");
    let status = daemon.wait_status(SOON, |status| status["synced_count"] == 1);
    assert_eq!(
        (
            &status["ready"],
            &status["degraded"],
            &status["secret_count"]
        ),
        (&json!(true), &json!(false), &json!(2))
    );
    let line = "ready: 1 of 2 secrets in sync";
    assert_eq!(daemon.also(&["isready"]), ready(line));
    let (code, table, _) = daemon.also(&["status"]);
    assert_eq!(code, 0, "{table}");
    assert!(table.contains("failed (optional)"), "{table}");
    assert!(table.contains("\n  not_found: "), "{table}");
}

#[test]
fn a_status_file_that_somebody_removed_is_written_again() {
    let site = Site::with(&["a"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "refreshInterval: 1s")])).start();
    settled(&daemon, &["a"]);
    fs::remove_file(daemon.path("status.json")).unwrap();
    let again = daemon.wait_status(SOON, |status| status["ready"] == true);
    assert_eq!(again["synced_count"], 1);
    assert_eq!(daemon.also(&["isready"]).0, 0);
}
