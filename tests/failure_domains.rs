//! One secret is one failure domain: whatever is wrong with one costs its neighbours nothing, not
//! even a request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;
mod traffic;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{CountingProxy, Daemon, OpenBao, Request, SOON, Signal, unique};
use traffic::{Store, brisk, config, gaps, is_failure, is_health, is_login, names, reads, secret};

/// What of these neighbours was asked at the proxy: a name, its reads, the shortest time between two.
fn asked(requests: &[Request], names: &[String]) -> Vec<(String, usize, Duration)> {
    names
        .iter()
        .map(|name| {
            let its: Vec<_> = requests
                .iter()
                .filter(|r| reads(r, name))
                .cloned()
                .collect();
            let shortest = gaps(&its).into_iter().min().unwrap_or(Duration::MAX);
            (name.clone(), its.len(), shortest)
        })
        .collect()
}

#[test]
fn secrets_that_are_missing_denied_unrenderable_or_unwritable_cost_the_others_no_request() {
    let bao = OpenBao::shared();
    let neighbours = names(5);
    let mount = bao.fresh_kv(2);
    for name in
        neighbours
            .iter()
            .map(String::as_str)
            .chain(["forbidden", "unrenderable", "unwritable"])
    {
        bao.kv2_put(&mount, name, &json!({ "value": "v1" }));
    }
    let policy = unique("most");
    let rules = format!(
        "path \"{mount}/data/*\" {{ capabilities = [\"read\"] }}\n\
         path \"{mount}/data/forbidden\" {{ capabilities = [\"deny\"] }}"
    );
    bao.policy(&policy, &rules);
    let (role_id, secret_id) = bao.approle(&unique("role"), &json!({ "token_policies": [policy] }));
    let auth = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    let good: Vec<_> = neighbours.iter().map(|n| secret(&mount, n, "1s")).collect();
    let mut all = good.clone();
    all.push(secret(&mount, "missing", "1s"));
    all.push(secret(&mount, "forbidden", "1s"));
    all.push(secret(&mount, "unrenderable", "1s").replace("field: value", "field: no-such-field"));
    all.push(secret(&mount, "unwritable", "1s").replace("out/unwritable", "file/unwritable"));

    // Side by side, for the same time: with them, and without.
    let (with, without) = (
        CountingProxy::start(bao.endpoint()),
        CountingProxy::start(bao.endpoint()),
    );
    let daemon = Daemon::new(&config(&with.address(), &auth, &all))
        .file("file", "in the way")
        .metrics()
        .start();
    let other = Daemon::new(&config(&without.address(), &auth, &good)).start();
    without.wait_for(8, SOON, |r| reads(r, "s4"));
    let (with_them, without_them) = (with.requests(), without.requests());
    drop(other);
    println!(
        "measured: {:?} with them, {:?} without",
        asked(&with_them, &neighbours),
        asked(&without_them, &neighbours)
    );
    for requests in [&with_them, &without_them] {
        for (name, count, shortest) in asked(requests, &neighbours) {
            assert!((2..=10).contains(&count), "{name}: {count}");
            assert!(
                shortest > Duration::from_millis(800),
                "{name}: {shortest:?}"
            );
        }
        assert!(
            requests.iter().all(|r| !is_health(r)),
            "nobody asks for its health"
        );
    }
    let logins = |requests: &[Request]| requests.iter().filter(|r| is_login(r)).count();
    assert_eq!(logins(&without_them), 1);
    assert!(
        logins(&with_them) <= 2,
        "one for the policy, in five minutes at most"
    );
    // The broken ones themselves settle at their interval; one whose files cannot be is not read.
    for (name, count, shortest) in asked(
        &with_them,
        &["missing", "forbidden", "unrenderable"].map(str::to_owned),
    ) {
        assert!(count >= 2, "{name}: {count}");
        assert!(
            shortest > Duration::from_millis(800),
            "{name}: {shortest:?}"
        );
    }
    assert!(with_them.iter().all(|r| !reads(r, "unwritable")));

    let expected = [
        ("missing", "not_found"),
        ("forbidden", "denied"),
        ("unrenderable", "render"),
        ("unwritable", "write"),
    ];
    let status = daemon.wait_status(SOON, |status| {
        let secrets = status["secrets"].as_array().unwrap();
        secrets.iter().all(|s| s["state"] != "pending")
    });
    for one in status["secrets"].as_array().unwrap() {
        let name = one["name"].as_str().unwrap();
        match expected.iter().find(|(broken, _)| *broken == name) {
            Some((_, class)) => {
                assert_eq!(
                    (&one["state"], &one["error_type"]),
                    (&json!("failed"), &json!(class))
                );
                assert!(
                    daemon
                        .log()
                        .iter()
                        .any(|l| is_failure(l, name) && l.has("error_type", class))
                );
                let path = format!("{mount}/{name}");
                let series = format!(
                    "secret_fetch_errors_total{{error_type=\"{class}\",secret_name=\"{name}\",store=\"default\",vault_path=\"{path}\"}}"
                );
                assert!(daemon.metric(&series) >= Some(1.0), "{series}");
            }
            None => assert_eq!(
                (&one["state"], &one["error_type"]),
                (&json!("in_sync"), &Value::Null)
            ),
        }
    }
    assert_eq!(
        (&status["ready"], &status["synced_count"]),
        (&json!(false), &json!(5))
    );

    // Each is current as soon as what was wrong is mended, within its interval.
    bao.kv2_put(&mount, "missing", &json!({ "value": "v1" }));
    fs::remove_file(daemon.path("file")).unwrap();
    bao.policy(
        &policy,
        &format!("path \"{mount}/data/*\" {{ capabilities = [\"read\"] }}"),
    );
    bao.kv2_put(
        &mount,
        "unrenderable",
        &json!({ "value": "v2", "no-such-field": "v1" }),
    );
    for file in [
        "out/missing",
        "out/forbidden",
        "out/unrenderable",
        "file/unwritable",
    ] {
        daemon.wait_file(file, "v1", SOON);
    }
    daemon.wait_ready(SOON);
}

/// A file system that never answers, over a directory: a FUSE connection that nobody serves. It
/// ends with an error for all that wait for it when this is dropped.
struct Hung {
    connection: Option<File>,
    over: PathBuf,
}

impl Hung {
    /// The reason why there cannot be one here, otherwise.
    fn over(dir: &Path) -> Result<Self, String> {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|error| format!("/dev/fuse: {error}"))?;
        let mount = Command::new("mount")
            .args([
                "-i",
                "-n",
                "-t",
                "fuse",
                "-o",
                "fd=0,rootmode=40000,user_id=0,group_id=0",
                "hung",
            ])
            .arg(dir)
            .stdin(Stdio::from(device.try_clone().unwrap()))
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        if !mount.status.success() {
            return Err(String::from_utf8_lossy(&mount.stderr).trim().to_owned());
        }
        Ok(Self {
            connection: Some(device),
            over: dir.to_owned(),
        })
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.connection.take());
        let _ = Command::new("umount").arg("-l").arg(&self.over).output();
    }
}

/// Whose threads are counted: nobody else runs as this one.
const FEW_THREADS: u32 = 61_079;

/// As many threads as that user may have from now on.
fn allow_threads(daemon: &Daemon, count: u64) {
    let done = Command::new("setpriv")
        .arg(format!("--reuid={FEW_THREADS}"))
        .arg(format!("--regid={FEW_THREADS}"))
        .args(["--clear-groups", "prlimit"])
        .args(["--pid", &daemon.pid().to_string()])
        .arg(format!("--nproc={count}:1000"))
        .status();
    assert!(done.unwrap().success());
}

#[test]
fn a_session_that_no_thread_can_be_started_for_is_named_and_comes_by_itself() {
    if !rustix::process::geteuid().is_root() {
        skip!("only root can be another user");
    }
    let store = Store::start();
    let login = "authMethod: token, token: t";
    let first = [secret("kv", "s0", "1s")];
    let setup = brisk(&config(&store.address(), "authMethod: none", &first)).without_notify();
    let (file, out) = (setup.path("config.yaml"), setup.path("out"));
    fs::create_dir(&out).unwrap();
    for path in [setup.dir(), &out, &file] {
        std::os::unix::fs::chown(path, Some(FEW_THREADS), Some(FEW_THREADS)).unwrap();
    }
    let mut daemon = setup
        .program(Path::new("/usr/bin/setpriv"))
        .arg(&format!("--reuid={FEW_THREADS}"))
        .arg(&format!("--regid={FEW_THREADS}"))
        .arg("--clear-groups")
        .arg(env!("CARGO_BIN_EXE_secrets-sync"))
        .arg("run")
        .start();
    daemon.wait_file("out/s0", "v1", SOON);
    // Room for those that run; then for one more: it is the keeper's, without which the worker's would be in vain.
    let running = daemon.threads();
    allow_threads(&daemon, running);
    let both = [secret("kv", "s0", "1s"), secret("kv", "s1", "1s")];
    let more = format!(
        "secretStores: {{ lab: {{ address: '{}', {login} }} }}\n{}    store: lab\n",
        store.address(),
        config(&store.address(), "authMethod: none", &both)
    );
    fs::write(&file, more.replace("@DIR@", daemon.dir().to_str().unwrap())).unwrap();
    daemon.signal(Signal::HUP);
    let without = |part: &str| {
        let entry = daemon.wait_secret("s1", SOON, |entry| {
            entry["error"]
                .as_str()
                .is_some_and(|text| text.contains(part))
        });
        assert_eq!(entry["error_type"], "panic");
        let remedy = entry["remedy"].as_str().unwrap();
        assert!(remedy.contains("`LimitNPROC=`"), "{remedy}");
    };
    without("cannot start a thread for the session's keeper");
    daemon.wait_for_log(SOON, |line| {
        is_failure(line, "s1") && line.text("error").contains("keeper")
    });
    allow_threads(&daemon, running + 1);
    daemon.signal(Signal::HUP);
    without("cannot start a thread for this secret");
    let seen = store.count(|r| reads(r, "s0"));
    store.wait_for(seen + 2, SOON, |r| reads(r, "s0"));
    assert_eq!(store.count(|r| reads(r, "s1")), 0);
    allow_threads(&daemon, 1000);
    daemon.wait_file("out/s1", "v1", SOON);
    daemon.wait_status(SOON, |status| status["synced_count"] == 2);
    assert!(daemon.stop().success());
}

/// The state of a secret in the status.
fn state<'a>(status: &'a Value, name: &str) -> (&'a str, &'a str) {
    let secrets = status["secrets"].as_array().unwrap();
    let one = secrets.iter().find(|one| one["name"] == name).unwrap();
    (
        one["state"].as_str().unwrap(),
        one["error_type"].as_str().unwrap_or_default(),
    )
}

/// Two neighbours, and one whose file is in `stuck/`.
fn with_a_stuck_one(store: &Store) -> support::Setup {
    let mut secrets: Vec<_> = names(2).iter().map(|n| secret("kv", n, "1s")).collect();
    secrets.push(secret("kv", "stuck", "1s").replace("out/stuck", "stuck/stuck"));
    brisk(&config(
        &store.address(),
        "authMethod: none, timeout: 1s",
        &secrets,
    ))
}

#[test]
fn a_file_system_that_hangs_stalls_its_secret_and_harms_nobody() {
    let store = Store::start();
    let setup = with_a_stuck_one(&store).metrics();
    fs::create_dir(setup.path("stuck")).unwrap();
    let mut daemon = setup.start();
    daemon.wait_ready(SOON);
    let hung = match Hung::over(&daemon.path("stuck")) {
        Ok(hung) => hung,
        Err(why) => skip!("no hanging file system can be mounted: {why}"),
    };
    let status = daemon.wait_status(SOON * 2, |status| {
        state(status, "stuck") == ("stalled", "stalled")
    });
    assert_eq!(
        (&status["ready"], &status["degraded"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(state(&status, "s0"), ("in_sync", ""));
    daemon.wait_for_log(SOON, |line| {
        is_failure(line, "stuck") && line.has("error_type", "stalled")
    });
    let series = "secret_fetch_errors_total{error_type=\"stalled\",secret_name=\"stuck\",store=\"default\",vault_path=\"kv/stuck\"}";
    assert_eq!(daemon.metric(series), Some(1.0), "told once");
    let seen = store.count(|r| reads(r, "s0"));
    store.wait_for(seen + 2, SOON, |r| reads(r, "s0"));
    let shortest = gaps(&store.wait_for(5, SOON, |r| reads(r, "s1")))
        .into_iter()
        .min()
        .unwrap();
    assert!(shortest > Duration::from_millis(800), "{shortest:?}");
    store.rule(|r| (reads(r, "s0") || reads(r, "s1")).then(|| traffic::value("v2")));
    for name in names(2) {
        daemon.wait_file(format!("out/{name}"), "v2", SOON);
    }
    assert_eq!(daemon.get("/health").status, 200);
    // The file system comes back, and so does the secret, by itself.
    drop(hung);
    daemon.wait_status(SOON, |status| {
        state(status, "stuck") == ("in_sync", "") && status["degraded"] == false
    });
    assert!(daemon.stop().success());
}

#[test]
fn a_file_system_that_hangs_already_at_the_start_holds_up_neither_neighbours_nor_the_end() {
    let store = Store::start();
    let setup = with_a_stuck_one(&store);
    // Declared first, dropped last: its directory can be removed only when nothing hangs there.
    let mut daemon;
    let stuck = setup.path("stuck");
    fs::create_dir(&stuck).unwrap();
    let hung = match Hung::over(&stuck) {
        Ok(hung) => hung,
        Err(why) => skip!("no hanging file system can be mounted: {why}"),
    };
    daemon = setup.start();
    for name in names(2) {
        daemon.wait_file(format!("out/{name}"), "v1", SOON);
    }
    daemon.wait_status(SOON * 2, |status| {
        state(status, "stuck").0 == "stalled" && status["ready"] == false
    });
    assert_eq!(
        store.count(|r| reads(r, "stuck")),
        0,
        "proved before it is fetched"
    );
    assert!(daemon.stop().success());
    drop(hung);
}

#[test]
fn a_configuration_on_a_file_system_that_hangs_holds_up_its_reload_alone() {
    let store = Store::start();
    let both = [secret("kv", "s0", "1s"), secret("kv", "s1", "1s")];
    let of = |secrets: &[String]| config(&store.address(), "authMethod: none", secrets);
    let setup = brisk(&of(&both[..1]))
        .metrics()
        .file("conf/config.yaml", &of(&both[..1]))
        .env("CONFIG_FILE", "@DIR@/conf/config.yaml");
    // Declared first, dropped last: its directory can be removed only when nothing hangs there.
    let mut daemon = setup.start();
    daemon.wait_file("out/s0", "v1", SOON);
    let more = of(&both).replace("@DIR@", daemon.dir().to_str().unwrap());
    fs::write(daemon.path("conf/config.yaml"), more).unwrap();
    let hung = match Hung::over(&daemon.path("conf")) {
        Ok(hung) => hung,
        Err(why) => skip!("no hanging file system can be mounted: {why}"),
    };
    daemon.signal(Signal::HUP);
    daemon.wait_for_log(SOON, |line| {
        line.msg() == "the new configuration is not there yet; the old one goes on"
    });
    // Asked again and again, it is one reload; all else goes on.
    daemon.signal(Signal::HUP);
    store.rule(|r| reads(r, "s0").then(|| traffic::value("v2")));
    daemon.wait_file("out/s0", "v2", SOON);
    assert_eq!(daemon.get("/health").status, 200);
    let status = daemon.wait_status(SOON, |status| status["config"]["error"].is_string());
    assert_eq!(status["synced_count"], 1);
    // The file system ends, with an error for who waits; the one below is read by the next reload.
    drop(hung);
    daemon.wait_for_log(SOON, |line| {
        line.msg() == "the new configuration was refused; the old one goes on"
    });
    daemon.signal(Signal::HUP);
    daemon.wait_file("out/s1", "v1", SOON);
    daemon.wait_status(SOON, |status| status["config"]["error"].is_null());
    assert!(daemon.stop().success());
}
