//! With the sandbox the daemon writes where its configuration said at its start, and nowhere else,
//! whatever it is led to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod site;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use site::{Site, rewrite};
use support::{Daemon, SOON, Signal};

const TAKEN_UP: &str = "the new configuration is taken up";
const REFUSED: &str = "the new configuration was refused; the old one goes on";

/// A secret of its own directory, fetched each second.
fn secret(name: &str, directory: &str) -> String {
    format!(
        "  - {{ name: {name}, key: {name}, refreshInterval: 1s, files: [{{ path: '{directory}/{name}', field: x }}] }}\n"
    )
}

fn site_of(names: &[&str]) -> Site {
    Site::with(names)
}

fn enforced(daemon: &Daemon) -> bool {
    daemon.log().iter().any(|line| {
        line.json["sandbox"]
            .as_str()
            .is_some_and(|how| how.starts_with("enforced"))
    })
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_no_further_than_the_start_allowed() {
    for (sandbox, led_astray) in [("on", false), ("off", true)] {
        let site = site_of(&["s"]);
        let inner = Daemon::bare();
        let outer = Daemon::bare();
        let top = inner.dir().to_owned();
        let out = outer.dir().join("out");
        fs::create_dir(top.join("in")).unwrap();
        fs::create_dir(&out).unwrap();
        symlink(top.join("in"), top.join("link")).unwrap();
        let target = top.join("link");
        let daemon = Daemon::new(&site.config(&[secret("s", target.to_str().unwrap())]))
            .env("SANDBOX", sandbox)
            .start();
        daemon.wait_ready(SOON);
        if sandbox == "on" && !enforced(&daemon) {
            skip!("the kernel has no Landlock");
        }
        assert!(top.join("in/s").is_file());
        fs::remove_file(&target).unwrap();
        symlink(&out, &target).unwrap();
        if led_astray {
            daemon.wait_file(out.join("s"), "s", SOON);
        } else {
            let status = daemon.wait_secret("s", SOON, |secret| secret["error_type"] == "write");
            assert!(
                status["error"]
                    .as_str()
                    .unwrap()
                    .contains("ermission denied"),
                "{status}"
            );
            assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
            // The cause is gone: healed in a cycle.
            fs::remove_file(&target).unwrap();
            symlink(top.join("in"), &target).unwrap();
            daemon.wait_secret("s", SOON, |secret| secret["state"] == "in_sync");
        }
    }
}

#[test]
fn a_reload_to_a_directory_outside_needs_a_restart_unless_it_was_allowed_ahead() {
    let site = site_of(&["a", "b"]);
    let others = Daemon::bare();
    let outside = others.dir().join("outside");
    let ahead = others.dir().join("ahead");
    fs::create_dir(&ahead).unwrap();
    let daemon = Daemon::new(&site.config(&[secret("a", "@DIR@/a")]))
        .env("SANDBOX_WRITE_PATHS", ahead.to_str().unwrap())
        .metrics()
        .start();
    daemon.wait_ready(SOON);
    if !enforced(&daemon) {
        skip!("the kernel has no Landlock");
    }
    let with = |directory: &Path| {
        let a = secret("a", daemon.path("a").to_str().unwrap());
        site.config(&[a, secret("b", directory.to_str().unwrap())])
    };

    let mark = daemon.mark();
    rewrite(&daemon, &with(&outside));
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for_log_after(mark, SOON, |line| line.msg() == REFUSED);
    let why = line.json["error"].as_str().unwrap();
    assert!(
        why.starts_with("restart needed: secret `b` writes in `"),
        "{why}"
    );
    assert!(why.contains(outside.to_str().unwrap()) && why.contains("SANDBOX_WRITE_PATHS"));
    let status = daemon.wait_status(SOON, |status| !status["config"]["error"].is_null());
    assert!(
        status["config"]["error"]
            .as_str()
            .unwrap()
            .contains("restart needed"),
        "{status}"
    );
    assert_eq!(status["secret_count"], 1);
    assert!(!outside.exists());
    assert_eq!(
        daemon.metric("secrets_sync_config_last_reload_successful"),
        Some(0.0)
    );

    let mark = daemon.mark();
    rewrite(&daemon, &with(&ahead.join("below")));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log_after(mark, SOON, |line| line.msg() == TAKEN_UP);
    daemon.wait_file(ahead.join("below/b"), "b", SOON);
    let status = daemon.wait_status(SOON, |status| status["synced_count"] == 2);
    assert!(status["config"]["error"].is_null(), "{status}");
}

#[test]
fn a_credential_outside_needs_a_restart_too() {
    let site = site_of(&["a"]);
    let others = Daemon::bare().file("token", "x");
    let daemon = Daemon::new(&site.config(&[secret("a", "@DIR@/a")])).start();
    daemon.wait_ready(SOON);
    if !enforced(&daemon) {
        skip!("the kernel has no Landlock");
    }
    let token = others.dir().join("token");
    let config = fs::read_to_string(daemon.path("config.yaml")).unwrap();
    let changed = config.replace("token: root", &format!("tokenFile: '{}'", token.display()));
    assert_ne!(changed, config);
    let mark = daemon.mark();
    rewrite(&daemon, &changed);
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for_log_after(mark, SOON, |line| line.msg() == REFUSED);
    let why = line.json["error"].as_str().unwrap();
    assert!(
        why.contains("a credential of store `default` is read from"),
        "{why}"
    );
}

#[test]
fn a_target_directory_that_is_removed_is_made_again() {
    let site = site_of(&["a"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "@DIR@/out/deep/er")])).start();
    daemon.wait_ready(SOON);
    fs::remove_dir_all(daemon.path("out/deep/er")).unwrap();
    daemon.wait_file("out/deep/er/a", "a", SOON);
    daemon.wait_secret("a", SOON, |secret| secret["state"] == "in_sync");
}

#[test]
fn validate_lists_what_will_be_allowed() {
    let site = site_of(&["a"]);
    let config = site.config(&[secret("a", "/srv/a")]);
    let shown = Daemon::new(&config)
        .env("SANDBOX_WRITE_PATHS", "/srv/later:/srv/ever")
        .any_stdout()
        .any_stderr()
        .validate()
        .stdout;
    for line in [
        "  writes below /srv/a (secret `a`)\n",
        "  writes below /srv/ever (SANDBOX_WRITE_PATHS)\n",
        "  writes below /srv/later (SANDBOX_WRITE_PATHS)\n",
        " (the configuration)\n",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    let shown = Daemon::new(&config)
        .env("SANDBOX", "off")
        .any_stdout()
        .any_stderr()
        .validate()
        .stdout;
    assert!(shown.ends_with("\nsandbox\n  off\n"), "{shown}");
}

#[test]
fn a_dry_run_may_write_nothing_and_a_kernel_without_landlock_is_named() {
    let strace = Path::new("/usr/bin/strace");
    if !strace.is_file() {
        skip!("strace is not installed");
    }
    let site = site_of(&["a"]);
    let config = site.config(&[secret("a", "@DIR@/a")]);
    let traced = |args: &[&str], inject: &[&str]| {
        let mut setup = Daemon::new(&config)
            .program(strace)
            .any_stdout()
            .any_stderr();
        for word in ["-f", "-qq", "-o", "@DIR@/trace", "-e", "trace=/landlock.*"]
            .iter()
            .chain(inject)
            .chain(&[env!("CARGO_BIN_EXE_secrets-sync")])
        {
            setup = setup.arg(word);
        }
        let done = setup.run(args);
        let trace = done.read("trace");
        (done, trace)
    };
    let (_, trace) = traced(&["run", "--dry-run"], &[]);
    assert!(trace.contains("landlock_restrict_self"), "{trace}");
    let granted = trace.lines().filter(|line| line.contains("allowed_access"));
    assert!(granted.clone().count() > 2 && granted.clone().all(|line| !line.contains("WRITE")));
    let (done, trace) = traced(
        &["run", "--once"],
        &["-e", "inject=landlock_create_ruleset:error=ENOSYS"],
    );
    assert!(!trace.contains("landlock_restrict_self"), "{trace}");
    assert!(
        done.stderr.contains("this kernel has no Landlock") && done.path("a/a").is_file(),
        "{}",
        done.stderr
    );
}
