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
fn a_target_directory_that_is_removed_is_made_again_unless_others_files_lie_beside_it() {
    let site = site_of(&["a", "b"]);
    // Its status file would allow its whole directory.
    let status = Daemon::bare();
    let status_file = status.path("status.json");
    let daemon = Daemon::new(&site.config(&[
        secret("a", "@DIR@/own/deep/er"),
        secret("b", "@DIR@/app/tls"),
    ]))
    .file("app/app.conf", "somebody else's")
    .env("STATUS_FILE", status_file.to_str().unwrap())
    .start();
    daemon.wait_ready(SOON);
    if !enforced(&daemon) {
        skip!("the kernel has no Landlock");
    }
    fs::remove_dir_all(daemon.path("own/deep")).unwrap();
    daemon.wait_file("own/deep/er/a", "a", SOON);

    fs::remove_dir_all(daemon.path("app/tls")).unwrap();
    let line = daemon.wait_for_log(SOON, |line| {
        line.has("secret", "b") && line.has("error_type", "write")
    });
    assert!(
        line.text("remedy").contains("SANDBOX_WRITE_PATHS"),
        "{}",
        line.raw
    );
    // Neither what is beside it nor the other secret is touched by that.
    assert_eq!(
        fs::read_to_string(daemon.path("app/app.conf")).unwrap(),
        "somebody else's"
    );
    fs::remove_file(daemon.path("own/deep/er/a")).unwrap();
    daemon.wait_file("own/deep/er/a", "a", SOON);
}

#[test]
fn a_status_directory_that_is_not_there_refuses_no_reload() {
    let site = site_of(&["a", "b"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "@DIR@/a")]))
        .env("STATUS_FILE", "@DIR@/absent/status.json")
        .start();
    daemon.wait_file("a/a", "a", SOON);
    let mark = daemon.mark();
    rewrite(
        &daemon,
        &site.config(&[secret("a", "@DIR@/a"), secret("b", "@DIR@/a/below")]),
    );
    daemon.signal(Signal::HUP);
    daemon.wait_for_log_after(mark, SOON, |line| line.msg() == TAKEN_UP);
    daemon.wait_file("a/below/b", "b", SOON);
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

/// The binary under strace, which shows what it asks of Landlock and may change what it is told.
fn traced(config: &str, args: &[&str], inject: &str) -> (support::Finished, String) {
    let mut setup = Daemon::new(config)
        .program(Path::new(STRACE))
        .any_stdout()
        .any_stderr();
    let mut words = vec!["-f", "-qq", "-o", "@DIR@/trace", "-e", "trace=/landlock.*"];
    if !inject.is_empty() {
        words.extend(["-e", inject]);
    }
    words.push(env!("CARGO_BIN_EXE_secrets-sync"));
    for word in words {
        setup = setup.arg(word);
    }
    let done = setup.run(args);
    let trace = done.read("trace");
    (done, trace)
}

const STRACE: &str = "/usr/bin/strace";

#[test]
fn a_dry_run_asks_for_no_right_to_write() {
    if !Path::new(STRACE).is_file() {
        skip!("strace is not installed");
    }
    let site = site_of(&["a"]);
    let config = site.config(&[secret("a", "@DIR@/a")]);
    let (_, trace) = traced(&config, &["run", "--dry-run"], "");
    if !trace.contains("landlock_restrict_self") {
        skip!("the kernel has no Landlock");
    }
    let granted = trace.lines().filter(|line| line.contains("allowed_access"));
    assert!(granted.clone().count() > 1 && granted.clone().all(|line| !line.contains("WRITE")));
}

#[test]
fn a_kernel_that_has_less_is_named_and_what_it_lacks() {
    if !Path::new(STRACE).is_file() {
        skip!("strace is not installed");
    }
    let site = site_of(&["a"]);
    let separate = site.config(&[secret("a", "@DIR@/a")]);
    let switched = separate.replace("refreshInterval", "layout: directory, refreshInterval");
    let old = |version: &str| format!("inject=landlock_create_ruleset:retval={version}:when=1");
    let absent = "inject=landlock_create_ruleset:error=ENOSYS";
    let cases = [
        (
            &separate,
            absent.to_owned(),
            false,
            "this kernel has no Landlock",
        ),
        (
            &separate,
            old("1"),
            true,
            "truncating files that it may not write (Linux 6.2)",
        ),
        (
            &separate,
            old("3"),
            true,
            "nothing keeps the daemon from controlling devices (Linux 6.10)",
        ),
        (
            &switched,
            old("1"),
            false,
            "the first one, which a `layout: directory` cannot live with",
        ),
        (
            &switched,
            absent.to_owned(),
            false,
            "this kernel has no Landlock",
        ),
        (
            &switched,
            old("2"),
            true,
            "truncating files that it may not write (Linux 6.2)",
        ),
    ];
    for (config, inject, is_closed, said) in cases {
        let (done, trace) = traced(config, &["run", "--once"], &inject);
        assert_eq!(
            trace.contains("landlock_restrict_self"),
            is_closed,
            "{inject} {trace}"
        );
        let lines: Vec<&str> = done
            .stderr
            .lines()
            .filter(|line| line.contains("\"sandbox\""))
            .collect();
        assert!(
            lines.len() == 1 && lines[0].contains(said),
            "{inject} {}",
            done.stderr
        );
        assert!(done.path("a/a").is_file(), "{}", done.stderr);
    }
}
