//! `isready` and `status`, against another process that holds the lock.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrets_sync::clock::Tick;
use secrets_sync::observe::status_file::{LockAttempt, StatusFile, StatusLock};
use secrets_sync::observe::{SecretEntry, StatusDocument};

use crate::call::Call;

const NO_DAEMON_HINT: &str = "\n  help: start it with `secrets-sync run`; where it has its own \
    `STATUS_FILE`, name that with `--status-file` or `$STATUS_FILE`, as a user who may read it\n";
const NOT_READY_HINT: &str = "\n  help: `secrets-sync status` and the daemon's log tell more\n";

/// A process that holds the status lock, as a daemon does, and can be killed.
struct Daemon {
    process: Child,
    directory: tempfile::TempDir,
}

const HOLD: &str = "SECRETS_SYNC_TEST_HOLD";

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "status::holder", "--nocapture"])
            .env(HOLD, directory.path().join("status.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        assert!(
            out.lines()
                .map(Result::unwrap)
                .any(|line| line.contains("Held")),
            "the lock is held"
        );
        Self { process, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("status.json")
    }

    fn argument(&self) -> String {
        format!("--status-file={}", self.path().display())
    }

    fn writes(self, document: &StatusDocument) -> Self {
        let document = Arc::new(document.clone());
        let mut file = StatusFile::new(self.path());
        let document = Arc::new(document.clone());
        for second in 0..2 {
            let now = Tick::from_start(Duration::from_secs(second));
            assert!(file.tick(now, &document).error.is_none());
        }
        self
    }

    fn is_killed(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Not a test of its own: the other process of [`Daemon`].
#[test]
fn holder() {
    let Some(path) = std::env::var_os(HOLD) else {
        return;
    };
    let mut lock = StatusLock::new(Path::new(&path));
    println!("{:?}", lock.try_acquire());
    let _ = std::io::stdin().read(&mut [0]);
}

fn document(ready: bool, degraded: bool) -> StatusDocument {
    let in_sync = ready && !degraded;
    StatusDocument {
        schema: 1,
        ready,
        degraded,
        secret_count: 1,
        synced_count: usize::from(in_sync),
        secrets: vec![SecretEntry {
            name: "tls-cert".into(),
            store: "default".into(),
            state: if in_sync { "in_sync" } else { "failed" }.into(),
            version: Some(3),
            error_type: degraded.then(|| "denied".into()),
            error: degraded.then(|| "permission denied".into()),
            remedy: degraded.then(|| "grant it".into()),
            ..SecretEntry::default()
        }],
        ..StatusDocument::default()
    }
}

#[test]
fn a_ready_daemon_is_ready_and_in_sync() {
    let daemon = Daemon::start().writes(&document(true, false));
    Call::new(&["isready", &daemon.argument()])
        .stdout("ready: 1 of 1 secret in sync\n")
        .check();
    Call::new(&["isready"])
        .env("STATUS_FILE", daemon.path())
        .stdout("ready: 1 of 1 secret in sync\n")
        .check();
    Call::new(&["isready"])
        .env("RUNTIME_DIRECTORY", daemon.directory.path())
        .stdout("ready: 1 of 1 secret in sync\n")
        .check();
    Call::new(&["status", &daemon.argument()])
        .stdout(
            "ready: 1 of 1 secret in sync\n\n\
             NAME      STORE    STATE    VERSION  AGE  NEXT REFRESH  WHY THEN\n\
             tls-cert  default  in sync  3        -    -             -\n",
        )
        .check();
    Call::new(&["status", "--json", &daemon.argument()])
        .stdout(std::fs::read_to_string(daemon.path()).unwrap())
        .check();
}

#[test]
fn a_degraded_daemon_is_ready_and_not_in_sync() {
    let daemon = Daemon::start().writes(&document(true, true));
    Call::new(&["isready", &daemon.argument()])
        .stdout("ready, degraded: 0 of 1 secret in sync\n")
        .check();
    Call::new(&["status", &daemon.argument()])
        .code(1)
        .stdout(
            "ready, degraded: 0 of 1 secret in sync\n\n\
             NAME      STORE    STATE   VERSION  AGE  NEXT REFRESH  WHY THEN\n\
             tls-cert  default  failed  3        -    -             -\n  \
             denied: permission denied\n  \
             help: grant it\n",
        )
        .check();
}

#[test]
fn a_daemon_that_is_not_ready_says_what_is_missing() {
    let daemon = Daemon::start().writes(&document(false, true));
    Call::new(&["isready", &daemon.argument()])
        .code(1)
        .stderr(format!(
            "secrets-sync: not ready: 0 of 1 secret in sync\n  \
             `tls-cert`: failed: permission denied{NOT_READY_HINT}"
        ))
        .check();
}

#[test]
fn a_daemon_that_has_written_nothing_yet_is_not_ready() {
    let daemon = Daemon::start();
    let why = format!(
        "`{}`: the daemon runs, but has not written it yet",
        daemon.path().display()
    );
    Call::new(&["isready", &daemon.argument()])
        .code(1)
        .stderr(format!("secrets-sync: not ready: {why}{NOT_READY_HINT}"))
        .check();
    Call::new(&["status", "--json", &daemon.argument()])
        .code(1)
        .stderr(format!(
            "secrets-sync: {why}\n  help: the daemon's log tells more\n"
        ))
        .check();
}

#[test]
fn the_status_of_a_daemon_that_hangs_does_not_count() {
    let daemon = Daemon::start().writes(&document(true, false));
    let then = SystemTime::now() - Duration::from_secs(3_600);
    File::open(daemon.path())
        .unwrap()
        .set_modified(then)
        .unwrap();
    let output = Call::new(&["isready", &daemon.argument()])
        .command
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("s old: the daemon hangs, or cannot write it"),
        "{stderr}"
    );
}

#[test]
fn what_a_killed_daemon_left_behind_does_not_count() {
    let mut daemon = Daemon::start().writes(&document(true, false));
    daemon.is_killed();
    let why = format!(
        "no daemon found: `{}`: left behind by a daemon that has ended (its lock is free)",
        daemon.path().display()
    );
    Call::new(&["isready", &daemon.argument()])
        .code(1)
        .stderr(format!("secrets-sync: not ready: {why}{NO_DAEMON_HINT}"))
        .check();
    for arguments in [
        &["status", &daemon.argument()][..],
        &["status", "--json", &daemon.argument()],
    ] {
        Call::new(arguments)
            .code(2)
            .stderr(format!("secrets-sync: {why}{NO_DAEMON_HINT}"))
            .check();
    }
}

#[test]
fn a_path_that_is_given_is_the_only_one_read() {
    let daemon = Daemon::start().writes(&document(true, false));
    let elsewhere = "/nonexistent/status.json";
    Call::new(&["isready", "--status-file", elsewhere])
        .env("RUNTIME_DIRECTORY", daemon.directory.path())
        .env("STATUS_FILE", daemon.path())
        .code(1)
        .stderr(format!(
            "secrets-sync: not ready: no daemon found: \
             `{elsewhere}`: no daemon has a lock there{NO_DAEMON_HINT}"
        ))
        .check();
}

#[test]
fn a_second_process_is_told_of_the_first_and_takes_over_when_it_is_killed() {
    let mut daemon = Daemon::start();
    let mut lock = StatusLock::new(&daemon.path());
    assert_eq!(lock.try_acquire(), LockAttempt::HeldByDaemon);
    daemon.is_killed();
    assert_eq!(lock.try_acquire(), LockAttempt::Held);
}
