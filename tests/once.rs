//! `run --once`: all its ends. 0 when everything is written; else 1, naming each that failed and
//! why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Action, CountingProxy, Daemon, Endpoint, OpenBao, Response, SOON, Signal, ports};

fn store(address: &str) -> String {
    format!("secretStore: {{ address: '{address}', authMethod: token, token: root }}\n")
}

fn secret(name: &str, mount: &str, field: &str) -> String {
    format!(
        "- {{ name: {name}, key: {name}, mountPath: {mount}, \
         files: [{{ path: '@DIR@/{name}', field: {field} }}] }}\n"
    )
}

/// The last words, which name the secrets: what is not the log.
fn words(stderr: &str) -> Vec<&str> {
    stderr
        .lines()
        .filter(|line| !line.starts_with('{'))
        .collect()
}

#[test]
fn it_writes_everything_and_exits_0_without_a_word_but_the_log() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    let mut config = store(&bao.address()) + "secrets:\n";
    for name in ["a", "b", "c"] {
        bao.kv2_put(&mount, name, &json!({ "x": format!("canary-{name}") }));
        config += &secret(name, &mount, "x");
    }
    let done = Daemon::new(&config).any_stderr().once();
    for name in ["a", "b", "c"] {
        assert_eq!(done.read(name), format!("canary-{name}"));
    }
    assert_eq!(words(&done.stderr), Vec::<&str>::new());
    assert!(!done.stderr.contains("canary"), "{}", done.stderr);
    assert!(!done.path("status.json").exists(), "no status file");
    assert!(!done.path("status.json.lock").exists(), "nor its lock");
}

#[test]
fn each_failure_is_named_with_its_reason_tried_once_and_holds_no_other_up() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    for name in ["good", "denied", "field", "target", "empty"] {
        bao.kv2_put(&mount, name, &json!({ "x": "value", "none": "" }));
    }
    let policy = support::unique("once");
    bao.policy(
        &policy,
        &format!(
            "path \"{mount}/data/*\" {{ capabilities = [\"read\"] }}\n\
             path \"{mount}/data/denied\" {{ capabilities = [\"deny\"] }}"
        ),
    );
    let token = bao.token(&[&policy], "60s", &json!(null));
    let proxy = CountingProxy::start(bao.endpoint());
    let mut config = format!(
        "secretStore: {{ address: '{}', authMethod: token, token: {token} }}\nsecrets:\n",
        proxy.address()
    );
    for (name, field) in [
        ("absent", "x"),
        ("denied", "x"),
        ("field", "missing"),
        ("target", "x"),
        ("empty", "none"),
        ("good", "x"),
    ] {
        config += &secret(name, &mount, field);
    }
    let began = Instant::now();
    let done = Daemon::new(&config)
        .file("target/is-a-directory", "")
        .file("empty", "last good")
        .status(1)
        .any_stderr()
        .run(&["run", "--once", "--timeout", "10m"]);
    assert!(
        began.elapsed() < Duration::from_secs(300),
        "nothing is waited for"
    );
    assert_eq!(done.read("good"), "value");
    assert_eq!(done.read("empty"), "last good");
    assert!(!done.path("field").exists());
    let words = words(&done.stderr).join("\n");
    for (name, why) in [
        ("absent", "no such secret"),
        ("denied", "permission denied by policy"),
        ("field", "`missing`"),
        ("target", "directory"),
        ("empty", "empty"),
    ] {
        let start = format!("secrets-sync: `{name}`: ");
        let line = words.lines().find(|line| line.starts_with(&start));
        assert!(
            line.is_some_and(|line| line.contains(why)),
            "{name}, {why}:\n{words}"
        );
    }
    assert!(!words.contains("`good`"), "{words}");
    assert!(words.contains("  help: "), "with what would help:\n{words}");
    for name in ["absent", "field", "empty", "good"] {
        let path = format!("{mount}/data/{name}");
        assert_eq!(proxy.count(|request| request.is("GET", &path)), 1, "{name}");
    }
    // Its directory is proved before anything is fetched; a refusal by policy may be due to the
    // token once.
    let count = |name: &str| proxy.count(|r| r.is("GET", &format!("{mount}/data/{name}")));
    assert!(count("denied") <= 2 && count("target") <= 1);
}

#[test]
fn a_server_that_is_away_is_tried_until_the_timeout_and_holds_up_nobody_elses() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "here", &json!({ "x": "value" }));
    let nobody = ports::reserve();
    let config = format!(
        "{}secretStores:\n  away: {{ address: 'http://127.0.0.1:{}', authMethod: token, token: t }}\n\
         secrets:\n\
         - {{ name: there, store: away, key: a, files: [{{ path: '@DIR@/there', field: x }}] }}\n{}",
        store(&bao.address()),
        nobody.number(),
        secret("here", &mount, "x"),
    );
    let began = Instant::now();
    let daemon = Daemon::new(&config)
        .env("INITIAL_BACKOFF", "100ms")
        .file("there", "last good");
    let mut daemon = ["run", "--once", "--timeout=4s"]
        .iter()
        .fold(daemon, |daemon, arg| daemon.arg(arg))
        .start();
    daemon.wait_file("here", "value", SOON);
    let status = daemon.wait_exit(SOON * 2);
    assert!(
        began.elapsed() >= Duration::from_secs(4),
        "not before its time"
    );
    assert_eq!(status.code(), Some(1));
    let last = daemon
        .log()
        .into_iter()
        .find(|line| line.raw.starts_with("secrets-sync: `there`: "))
        .expect("its name");
    assert!(last.raw.contains("refused"), "and why: {}", last.raw);
    assert_eq!(fs::read(daemon.path("there")).unwrap(), b"last good");
}

#[test]
fn a_server_that_comes_up_in_time_is_good_enough() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let proxy = CountingProxy::start(bao.endpoint());
    let asked = AtomicUsize::new(0);
    proxy.inject(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Some(Action::Reset),
        1 => Some(Response::error(503, "Vault is sealed").act()),
        2 => Some(Response::error(500, "internal error").act()),
        _ => None,
    });
    let done = Daemon::new(&format!(
        "{}secrets:\n{}",
        store(&proxy.address()),
        secret("a", &mount, "x")
    ))
    .env("INITIAL_BACKOFF", "100ms")
    .any_stderr()
    .once();
    assert_eq!(done.read("a"), "value");
    assert!(proxy.requests().len() >= 4);
}

#[test]
fn a_credential_that_comes_in_time_is_good_enough() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let config = format!(
        "secretStore: {{ address: '{}', authMethod: token, tokenFile: '@DIR@/token' }}\nsecrets:\n{}",
        bao.address(),
        secret("a", &mount, "x"),
    );
    let mut daemon = Daemon::new(&config).arg("run").arg("--once").start();
    daemon.wait_for_log(SOON, |line| line.raw.contains("/token"));
    fs::write(daemon.path("token"), "  root\n").unwrap();
    assert_eq!(daemon.wait_exit(SOON * 3).code(), Some(0));
    assert_eq!(fs::read(daemon.path("a")).unwrap(), b"value");
}

#[test]
fn a_login_that_is_refused_is_final_after_one_attempt() {
    let bao = OpenBao::shared();
    let proxy = CountingProxy::start(bao.endpoint());
    let (role_id, _) = bao.approle(&support::unique("refused"), &json!({}));
    let config = format!(
        "secretStore: {{ address: '{}', authMethod: approle, roleId: {role_id}, secretId: canary }}\n\
         secrets:\n{}{}",
        proxy.address(),
        secret("a", "kv", "x"),
        secret("b", "kv", "x")
    );
    let began = Instant::now();
    let done =
        Daemon::new(&config)
            .status(1)
            .any_stderr()
            .run(&["run", "--once", "--timeout", "60s"]);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(proxy.count(|r| r.target.ends_with("/login")), 1);
    let said = words(&done.stderr).join("\n");
    for name in ["`a`", "`b`"] {
        assert!(said.contains(name), "{said}");
    }
    assert!(said.contains("invalid role or secret ID"), "{said}");
    assert!(!done.stderr.contains("canary"));
}

#[test]
fn a_credential_that_does_not_come_is_named_at_the_end() {
    let bao = OpenBao::shared();
    let config = format!(
        "secretStore: {{ address: '{}', authMethod: token, tokenFile: '@DIR@/token' }}\nsecrets:\n{}",
        bao.address(),
        secret("a", "secret", "x"),
    );
    let done =
        Daemon::new(&config)
            .status(1)
            .any_stderr()
            .run(&["run", "--once", "--timeout", "1s"]);
    let words = words(&done.stderr).join("\n");
    assert!(words.starts_with("secrets-sync: `a`: "), "{words}");
    assert!(
        words.contains(&format!("`{}`", done.path("token").display())),
        "{words}"
    );
}

#[test]
fn a_signal_ends_it_with_1_and_it_has_bound_no_port_and_no_status_file() {
    let bao = OpenBao::shared();
    let proxy = CountingProxy::start(bao.endpoint());
    proxy.inject(|request| request.target.contains("/data/").then_some(Action::Hang));
    let mut daemon = Daemon::new(&format!(
        "{}secrets:\n{}",
        store(&proxy.address()),
        secret("a", "secret", "x")
    ))
    .metrics()
    .file("a", "last good")
    .arg("run")
    .arg("--once")
    .start();
    proxy.wait_for(1, SOON, |request| request.target.contains("/data/"));
    let Endpoint::Http(port) = daemon.endpoint() else {
        unreachable!()
    };
    assert!(Endpoint::Http(port).connect(SOON).is_err(), "no port");
    assert!(!daemon.path("status.json").exists() && !daemon.path("status.json.lock").exists());
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit(SOON * 2).code(), Some(1));
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "within SHUTDOWN_TIMEOUT"
    );
    let log = daemon.log();
    assert!(
        log.iter()
            .any(|line| line.raw.starts_with("secrets-sync: `a`: "))
    );
    assert_eq!(fs::read(daemon.path("a")).unwrap(), b"last good");
    assert!(
        daemon.notifications().is_empty(),
        "{:?}",
        daemon.notifications()
    );
}
