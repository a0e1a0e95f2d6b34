//! The daemon as a process: signals, its end, its log when nobody reads it, its limits, its lock.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod site;
mod support;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};
use serde_json::json;
use site::{Site, hourly, list, secret, settled};
use support::{Action, Daemon, Response, SOON, ScriptedServer, Setup, Signal, poll};

/// Measures until one time is below the bound: a busy machine makes the others longer, and nothing
/// makes one shorter.
#[track_caller]
fn once_below(bound: Duration, mut measure: impl FnMut() -> Duration) {
    let times: Vec<_> = (0..8)
        .map(|_| measure())
        .take_while(|took| *took >= bound)
        .collect();
    assert!(times.len() < 8, "never below {bound:?}: {times:?}");
}

/// From the signal to the end, which must be a good one.
fn time_to_exit(mut daemon: Daemon, signal: Signal) -> Duration {
    let began = Instant::now();
    daemon.signal(signal);
    let status = daemon.wait_exit(SOON);
    let took = began.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(
        !daemon.path("status.json").exists(),
        "a clean exit takes its status away"
    );
    let last = daemon.log().pop().unwrap();
    assert_eq!(last.msg(), "stopped");
    took
}

#[test]
fn an_idle_daemon_ends_at_once_and_its_files_stay() {
    let site = Site::with(&["a"]);
    for signal in [Signal::TERM, Signal::INT] {
        once_below(Duration::from_millis(200), || {
            let files = tempfile::tempdir().unwrap();
            let daemon = Daemon::new(&into(&site, files.path())).metrics().start();
            daemon.wait_status(SOON, |status| status["synced_count"] == 1);
            let took = time_to_exit(daemon, signal);
            assert_eq!(fs::read(files.path().join("a")).unwrap(), b"a");
            took
        });
    }
}

#[test]
fn a_server_that_hangs_does_not_hold_the_end_up() {
    let site = Site::with(&["a"]);
    let policy = site.bao.reader_policy(&site.mount);
    let role = support::unique("role");
    let options = json!({ "token_policies": [policy], "token_ttl": "1h" });
    let (role_id, secret_id) = site.bao.approle(&role, &options);
    let credentials = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    let config = site
        .config(&[secret("a", "refreshInterval: 1s")])
        .replace("authMethod: token, token: root", &credentials);
    once_below(Duration::from_secs(2), || {
        site.proxy.restore();
        let daemon = Daemon::new(&config).start();
        settled(&daemon, &["a"]);
        site.proxy.clear();
        site.proxy.inject(|_| Some(Action::Hang));
        let path = format!("{}/data/a", site.mount);
        site.proxy
            .wait_for(1, SOON, |request| request.is("GET", &path));
        time_to_exit(daemon, Signal::TERM)
    });
}

#[test]
fn sigusr1_refreshes_everything_now() {
    let site = Site::with(&["a", "b"]);
    let daemon =
        Daemon::new(&site.config(&[hourly("a"), secret("b", "refreshInterval: once")])).start();
    settled(&daemon, &["a", "b"]);
    site.put("a", "new a");
    site.put("b", "new b");
    daemon.signal(Signal::USR1);
    daemon.wait_file("a", "new a", SOON);
    daemon.wait_file("b", "new b", SOON);
    assert_eq!((site.reads("a"), site.reads("b")), (2, 2));
}

/// The daemon, with a named pipe for standard error; gives our end of it.
fn logging_to_a_pipe(setup: Setup) -> (Daemon, OwnedFd) {
    let pipe = setup.path("log");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
    let reader = rustix::fs::open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let daemon = setup
        .program(Path::new("/bin/sh"))
        .arg("-c")
        .arg(r#"exec "$0" run 2>"$1""#)
        .arg(env!("CARGO_BIN_EXE_secrets-sync"))
        .arg("@DIR@/log")
        .start();
    (daemon, reader)
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let site = Site::with(&["a"]);
    let config = site.config(&[secret("a", "refreshInterval: 1s")]);
    for closed in [true, false] {
        site.put("a", "a");
        let (mut daemon, reader) =
            logging_to_a_pipe(Daemon::new(&config).env("LOG_LEVEL", "debug"));
        settled(&daemon, &["a"]);
        let reader = (!closed).then_some(reader);
        // Two of these are more than the pipe takes.
        let wrong: String = (0..1000).map(|n| format!("unknown-key-{n}: 1\n")).collect();
        site::rewrite(&daemon, &wrong);
        for round in 0..4 {
            daemon.signal(Signal::HUP);
            site.put("a", &format!("{closed} {round}"));
            daemon.wait_file("a", format!("{closed} {round}"), SOON);
        }
        let status = daemon.wait_status(SOON, |status| !status["config"]["error"].is_null());
        assert_eq!(
            (&status["ready"], &status["degraded"]),
            (&json!(true), &json!(false))
        );
        if let Some(reader) = &reader {
            // Once it is read again, it goes on, with whole lines.
            let mut text = Vec::new();
            let mut part = [0; 4096];
            let goes_on = poll(SOON, || {
                while let Ok(length @ 1..) = rustix::io::read(reader, &mut part) {
                    text.extend_from_slice(&part[..length]);
                }
                let text = String::from_utf8_lossy(&text);
                text.lines()
                    .rev()
                    .take(3)
                    .any(|line| line.ends_with('}') && line.contains("\"msg\":\"unchanged\""))
                    .then_some(())
            });
            assert!(goes_on.is_some(), "{}", String::from_utf8_lossy(&text));
        }
        assert_eq!(daemon.stop().code(), Some(0), "closed: {closed}");
    }
}

/// Under strace, with so many microseconds before each fsync, which is in the middle of a write.
/// `None` where that cannot be had.
fn with_slow_disk(setup: Setup, micros: u32) -> Option<Setup> {
    let strace = Path::new("/usr/bin/strace");
    let options = [
        "-D",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync",
    ];
    let tried = Command::new(strace)
        .args(options)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !tried.is_ok_and(|status| status.success()) {
        return None;
    }
    let setup = setup.program(strace);
    let setup = options
        .iter()
        .fold(setup, |setup, option| setup.arg(option));
    Some(
        setup
            .arg("-e")
            .arg(&format!("inject=fsync:delay_enter={micros}"))
            .arg(env!("CARGO_BIN_EXE_secrets-sync"))
            .arg("run"),
    )
}

fn temporaries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(".secrets-sync-")
        })
        .collect()
}

/// The secret `a`, written into `out`.
fn into(site: &Site, out: &Path) -> String {
    site.config(&[hourly("a").replace("@DIR@", out.to_str().unwrap())])
}

/// A daemon in the middle of its first write into `out`.
fn while_writing(site: &Site, out: &Path, micros: u32, shutdown: &str) -> Option<Daemon> {
    let setup = Daemon::new(&into(site, out)).env("SHUTDOWN_TIMEOUT", shutdown);
    let daemon = with_slow_disk(setup, micros)?.start();
    // An empty one is the proof that the directory can be written.
    let full = |path: &PathBuf| fs::metadata(path).is_ok_and(|data| data.len() > 0);
    let begun = || temporaries(out).iter().any(full).then_some(());
    poll(SOON, begun).expect("a write that has begun");
    Some(daemon)
}

#[test]
fn what_is_being_written_is_finished_before_the_end() {
    let site = Site::with(&["a"]);
    let out = tempfile::tempdir().unwrap();
    let Some(mut daemon) = while_writing(&site, out.path(), 700_000, "30s") else {
        skip!("needs strace, and the right to use it");
    };
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(fs::read(out.path().join("a")).unwrap(), b"a");
    assert!(temporaries(out.path()).is_empty());
}

// In what follows the process is gone from the system only when the delay is over, since strace
// holds its thread; that the file is not written proves that it ended before.

#[test]
fn a_disk_that_hangs_holds_the_end_up_for_the_shutdown_timeout() {
    let site = Site::with(&["a"]);
    let out = tempfile::tempdir().unwrap();
    let Some(mut daemon) = while_writing(&site, out.path(), 5_000_000, "1s") else {
        skip!("needs strace, and the right to use it");
    };
    assert_eq!(daemon.stop().code(), Some(0));
    let said = |msg: &str| daemon.wait_for_log(SOON, |line| line.msg() == msg).at;
    let took = said("stopped") - said("stopping");
    // Half of it at least; the rest is for giving tokens back.
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert!(!out.path().join("a").exists());
}

#[test]
fn a_second_request_to_stop_ends_it_whatever_it_is_doing() {
    let site = Site::with(&["a"]);
    let out = tempfile::tempdir().unwrap();
    let Some(mut daemon) = while_writing(&site, out.path(), 3_000_000, "10m") else {
        skip!("needs strace, and the right to use it");
    };
    daemon.signal(Signal::TERM);
    daemon.wait_for_log(SOON, |line| line.msg() == "stopping");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(130));
    assert!(!out.path().join("a").exists());
}

#[test]
fn what_a_killed_daemon_was_writing_is_taken_away_at_the_next_start() {
    let site = Site::with(&["a"]);
    let out = tempfile::tempdir().unwrap();
    let Some(mut daemon) = while_writing(&site, out.path(), 3_000_000, "10m") else {
        skip!("needs strace, and the right to use it");
    };
    daemon.kill9();
    assert_eq!(temporaries(out.path()).len(), 1);
    let mine = out.path().join(".secrets-sync-mine.tmp");
    fs::write(&mine, "").unwrap();
    let daemon = Daemon::new(&into(&site, out.path())).start();
    daemon.wait_file(out.path().join("a"), "a", SOON);
    assert_eq!(temporaries(out.path()), [mine]);
}

#[test]
fn a_second_daemon_of_one_status_file_is_refused_after_five_seconds() {
    let site = Site::with(&["a"]);
    let mut first = Daemon::new(&site.config(&[hourly("a")])).start();
    settled(&first, &["a"]);
    let began = Instant::now();
    let (code, stdout, stderr) = first.also(&["run"]);
    assert!(
        began.elapsed() >= Duration::from_millis(4_900),
        "{:?}",
        began.elapsed()
    );
    let lock = site::here(&first, "@DIR@/status.json.lock");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.contains(&format!(
            "secrets-sync: `{lock}`: another secrets-sync holds the lock of this status file\n"
        )),
        "{stderr}"
    );
    assert_eq!(site.reads("a"), 1, "it has not begun");
    assert!(first.is_running());
    assert_eq!(first.also(&["isready"]).0, 0);

    // While it waits, it hears what it is told.
    let status_file = first.path("status.json");
    let waiting = || {
        let config = site.config(&[hourly("a")]);
        let setup = Daemon::new(&config).env("STATUS_FILE", status_file.to_str().unwrap());
        let daemon = setup.env("SHUTDOWN_TIMEOUT", "1s").start();
        let opened = || {
            let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).ok()?;
            (tasks.count() >= 3).then_some(())
        };
        poll(SOON, opened).expect("a daemon that has started its threads");
        daemon
    };
    once_below(Duration::from_secs(1), || {
        let mut daemon = waiting();
        for _ in 0..40 {
            daemon.signal(Signal::HUP);
        }
        let began = Instant::now();
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
        began.elapsed()
    });

    // Once the first is gone, in whatever way, the next one begins at once.
    first.kill9();
    let next = waiting();
    next.wait_for_log(SOON, |line| line.msg() == "secrets-sync starts");
}

#[test]
fn a_lock_that_readers_hold_does_not_stop_it() {
    let site = Site::with(&["a"]);
    let setup = Daemon::new(&site.config(&[hourly("a")])).file("status.json.lock", "");
    let reader = File::open(setup.path("status.json.lock")).unwrap();
    rustix::fs::flock(&reader, rustix::fs::FlockOperation::LockShared).unwrap();
    let daemon = setup.start();
    let line = daemon.wait_for_log(SOON, |line| line.raw.contains("a reader holds it"));
    assert!(line.msg().contains("status.json.lock"), "{}", line.raw);
    settled(&daemon, &["a"]);
    let notices = daemon.status().unwrap()["notices"].to_string();
    assert!(notices.contains("a reader holds it"), "{notices}");
}

/// A number of `/proc/PID/status`.
fn proc_status(daemon: &Daemon, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    line.trim_matches([':', '\t', ' ']).to_owned()
}

#[test]
fn memory_is_kept_from_others_and_threads_have_names() {
    let site = Site::with(&["a", "b"]);
    let daemon = Daemon::new(&site.config(&[hourly("a"), hourly("b")]))
        .metrics()
        .start();
    settled(&daemon, &["a", "b"]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().collect::<Vec<_>>()[4..6],
        ["0", "0"]
    );
    assert_eq!(proc_status(&daemon, "Umask"), "0077");
    assert_eq!(proc_status(&daemon, "NoNewPrivs"), "1");
    let ignored = u64::from_str_radix(&proc_status(&daemon, "SigIgn"), 16).unwrap();
    assert_ne!(ignored & 1 << 12, 0, "SIGPIPE");

    let names = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let mut names: Vec<_> = tasks
            .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .map(|name| name.trim().to_owned())
            .collect();
        names.sort();
        names
    };
    let wanted = [
        "a",
        "b",
        "http",
        "keeper default",
        "notify-rs inoti",
        "probe default",
        "secrets-sync",
        "signals",
        "watch",
    ];
    // A thread names itself, once it runs.
    let all = poll(SOON, || (names() == wanted).then_some(()));
    assert!(all.is_some(), "{:?}", names());
}

/// A user id that nobody else has, so that its processes can be counted.
fn lonely_user() -> u32 {
    1_000_000 + std::process::id()
}

/// As that user, under a limit on its threads.
fn as_user(setup: Setup, user: u32, threads: &str) -> Setup {
    for path in [setup.dir().to_owned(), setup.path("config.yaml")] {
        std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    }
    let user = format!("--reuid={user}");
    let group = user.replace("reuid", "regid");
    let words = [
        &format!("--nproc={threads}"),
        "setpriv",
        &user,
        &group,
        "--clear-groups",
    ];
    let setup = setup.program(Path::new("/usr/bin/prlimit"));
    let setup = setup.env("PATH", &std::env::var("PATH").unwrap());
    let setup = words.iter().fold(setup, |setup, word| setup.arg(word));
    setup.arg(env!("CARGO_BIN_EXE_secrets-sync")).arg("run")
}

#[test]
fn another_user_finds_nothing_of_it_in_proc() {
    if !rustix::process::geteuid().is_root() {
        skip!("needs root, to become somebody else");
    }
    let site = Site::with(&["a"]);
    let daemon = as_user(
        Daemon::new(&site.config(&[hourly("a")])),
        lonely_user(),
        "100:100",
    )
    .start();
    settled(&daemon, &["a"]);
    // The kernel gives the files of a process that may not be dumped to root, and with them who
    // may read its memory or trace it.
    let owner = fs::metadata(format!("/proc/{}/environ", daemon.pid()))
        .unwrap()
        .uid();
    assert_eq!(owner, 0);
    assert_eq!(fs::metadata(daemon.path("a")).unwrap().uid(), lonely_user());
}

#[test]
fn a_thread_that_cannot_be_started_is_a_failure_of_its_secret_alone() {
    if !rustix::process::geteuid().is_root() {
        skip!("needs root, to become somebody else");
    }
    let user = lonely_user() + 100_000;
    // Without sessions, whose keepers need threads of their own.
    let server = ScriptedServer::start(|request| {
        let name = request.target.rsplit('/').next().unwrap_or_default();
        let data = json!({ "data": { "x": name }, "metadata": { "version": 1 } });
        Response::json(200, &json!({ "data": data })).act()
    });
    let names: Vec<_> = (0..12).map(|n| format!("s{n}")).collect();
    let secrets: Vec<_> = names.iter().map(|name| hourly(name)).collect();
    let store = format!(
        "secretStore: {{ address: '{}', authMethod: none }}\n",
        server.address()
    );
    let config = format!("{store}{}", list(&secrets));
    let daemon = as_user(Daemon::new(&config), user, "10:100").start();
    let status = daemon.wait_status(SOON, |status| {
        status["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .all(|secret| secret["state"] != "pending")
    });
    let failed: Vec<_> = status["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|secret| secret["state"] == "failed")
        .collect();
    assert!((1..12).contains(&failed.len()), "{status}");
    for secret in failed {
        assert_eq!(secret["error_type"], "panic");
        let error = secret["error"].as_str().unwrap();
        assert!(
            error.starts_with("cannot start a thread for this secret: "),
            "{error}"
        );
    }
    let raised = Command::new("setpriv")
        .args([
            &format!("--reuid={user}"),
            &format!("--regid={user}"),
            "--clear-groups",
        ])
        .args([
            "prlimit",
            "--nproc=100:100",
            "--pid",
            &daemon.pid().to_string(),
        ])
        .status();
    assert!(raised.unwrap().success());
    settled(
        &daemon,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    for name in &names {
        let reads = server.count(|request| request.is("GET", &format!("secret/data/{name}")));
        assert_eq!(reads, 1, "{name}");
    }
}
