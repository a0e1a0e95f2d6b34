//! What can still be done from inside, once the sandbox is closed: tried as somebody would who had
//! taken the daemon over. It closes around the thread of a test, and those that come after it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use secrets_sync::config::{Environment, daemon_settings};
use secrets_sync::plan::{self, Purpose};
use secrets_sync::sandbox::{Closed, Roots, Writes, close};
use tempfile::TempDir;

/// A host with a target directory beside others' files, one of our own, a credential, a status file.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for directory in ["app/tls", "config", "agent", "run", "other"] {
            fs::create_dir_all(host.at(directory)).unwrap();
        }
        for file in ["app/app.conf", "agent/token", "other/secret", "app/tls/old"] {
            fs::write(host.at(file), file).unwrap();
        }
        let top = host.0.path().display();
        let config = format!(
            "secretStore: {{ address: 'http://127.0.0.1:1', tokenFile: {top}/agent/token }}\n\
             secrets:\n\
             - {{ name: key, key: key, files: [{{ path: {top}/app/tls/key, field: x }}] }}\n\
             - {{ name: own, key: own, files: [{{ path: {top}/data/own/deep/file, field: x }}] }}\n"
        );
        fs::write(host.at("config/config.yaml"), config).unwrap();
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn close(&self, writes: Writes) -> Closed {
        let status = self.at("run/status.json");
        let environment: Environment = [("STATUS_FILE", status.to_str().unwrap())]
            .into_iter()
            .collect();
        let config = self.at("config/config.yaml");
        let plan = plan::load(&config, &environment, Purpose::Run).unwrap();
        let daemon = daemon_settings(&environment).unwrap();
        close(&Roots::of(&plan, &daemon, writes))
    }
}

/// A thread that was there before the sandbox closed, and so is another process to it.
struct Others(mpsc::Sender<Box<dyn FnOnce() + Send>>, mpsc::Receiver<()>);

impl Others {
    fn new() -> Self {
        let (acts, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            for act in todo {
                act();
                let _ = done.send(());
            }
        });
        Self(acts, is_done)
    }

    fn act(&self, act: impl FnOnce() + Send + 'static) {
        self.0.send(Box::new(act)).unwrap();
        self.1.recv().unwrap();
    }
}

/// Another program, with a token in its environment.
struct Neighbour(Child);

impl Neighbour {
    #[allow(clippy::zombie_processes, reason = "waited for when dropped")]
    fn new() -> Self {
        let mut sleep = Command::new("sleep");
        sleep.arg("60").env("TOKEN", "of-another-process");
        Self(sleep.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mkfifo(path: &Path) -> io::Result<()> {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).map_err(io::Error::from)
}

/// From a thread that came after the sandbox had closed.
fn refused(what: &str, attempt: impl FnOnce() -> io::Result<()> + Send) {
    let outcome = std::thread::scope(|scope| scope.spawn(attempt).join().unwrap());
    let kind = outcome.as_ref().err().map(io::Error::kind);
    assert!(
        matches!(
            kind,
            Some(ErrorKind::PermissionDenied | ErrorKind::CrossesDevices)
        ),
        "{what}: {outcome:?}"
    );
}

macro_rules! refused {
    ($($attempt:expr;)+) => { $(refused(stringify!($attempt), || $attempt.map(drop));)+ };
}

macro_rules! allowed {
    ($($attempt:expr;)+) => { $(
        if let Err(error) = $attempt { panic!("{}: {error}", stringify!($attempt)); }
    )+ };
}

#[test]
fn nothing_outside_is_written_read_or_run_and_nothing_but_files_is_made_inside() {
    let host = Host::new();
    let at = |name: &str| host.at(name);
    let other = Neighbour::new();
    let environ = format!("/proc/{}/environ", other.0.id());
    assert!(fs::read(&environ).is_ok());

    let closed = host.close(Writes::All);
    if closed.sandbox.is_none() {
        skip!("{}", closed.status);
    }
    assert_eq!(closed.warnings, [""; 0]);
    assert!(closed.status.starts_with("enforced"), "{}", closed.status);
    let append = |name: &str| OpenOptions::new().append(true).open(at(name));
    refused! {
        // Beside a target: others' files.
        append("app/app.conf");
        fs::write(at("app/new"), "");
        fs::create_dir(at("app/new"));
        fs::rename(at("app/tls/old"), at("app/old"));
        fs::remove_file(at("app/app.conf"));
        fs::read(at("app/app.conf"));
        // What is only read.
        append("config/config.yaml");
        append("agent/token");
        fs::write(at("agent/new"), "");
        fs::remove_file(at("agent/token"));
        // What is neither.
        fs::read(at("other/secret"));
        append("other/secret");
        fs::write(at("other/new"), "");
        fs::read_dir(at("other"));
        fs::read_dir(at(""));
        fs::remove_file(at("other/secret"));
        fs::rename(at("other/secret"), at("app/tls/secret"));
        fs::hard_link(at("other/secret"), at("app/tls/secret"));
        fs::rename(at("app/tls/old"), at("other/old"));
        symlink(at("other"), at("app/tls/link")).and_then(|()| fs::read(at("app/tls/link/secret")));
        fs::write(at("app/tls/link/new"), "");
        // What others could be reached by.
        mkfifo(&at("app/tls/fifo"));
        UnixListener::bind(at("app/tls/socket"));
        Command::new("/bin/true").spawn();
        // Other processes.
        fs::read(&environ);
        fs::read("/proc/1/cmdline");
        File::open(environ.replace("environ", "mem"));
        OpenOptions::new().write(true).open("/proc/self/mem");
        OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern");
        OpenOptions::new().write(true).open("/etc/passwd");
        fs::write("/dev/shm/secrets-sync-test", "");
        fs::write("/secrets-sync-test", "");
    }
    assert_eq!(fs::read_link(at("app/tls/link")).unwrap(), at("other"));
}

#[test]
fn what_the_daemon_does_it_still_can() {
    let host = Host::new();
    let at = |name: &str| host.at(name);
    // A neighbour of theirs that listens: the notify socket, a store on a Unix socket.
    let listener = UnixDatagram::bind(at("other/notify")).unwrap();
    let closed = host.close(Writes::All);
    if closed.sandbox.is_none() {
        skip!("{}", closed.status);
    }
    assert!(at("data/own/deep").is_dir(), "made before it closed");
    allowed! {
        fs::write(at("app/tls/.tmp"), "x");
        fs::rename(at("app/tls/.tmp"), at("app/tls/key"));
        fs::read(at("app/tls/key"));
        OpenOptions::new().write(true).truncate(true).open(at("app/tls/key"));
        fs::create_dir(at("app/tls/..generation"));
        fs::write(at("app/tls/..generation/x"), "");
        fs::rename(at("app/tls/..generation/x"), at("app/tls/x"));
        symlink("..generation", at("app/tls/..data"));
        fs::remove_file(at("app/tls/..data"));
        fs::remove_dir(at("app/tls/..generation"));
        fs::write(at("run/status.json"), "");
        fs::read(at("config/config.yaml"));
        fs::read_dir(at("config"));
        fs::read("/etc/passwd");
        UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", at("other/notify")));
        // What holds nothing but targets is made again, however far up it was removed.
        fs::remove_dir_all(at("data/own"));
        fs::create_dir_all(at("data/own/deep"));
        fs::write(at("data/own/deep/file"), "x");
    }
    let mut word = [0; 16];
    assert_eq!(listener.recv(&mut word).unwrap(), 7);
}

#[test]
fn a_credential_that_comes_late_with_its_directory_or_is_replaced_is_read() {
    let host = Host::new();
    let at = |name: &str| host.at(name);
    fs::remove_dir_all(at("agent")).unwrap();
    let others = Others::new();
    let closed = host.close(Writes::All);
    if closed.sandbox.is_none() {
        skip!("{}", closed.status);
    }
    let warning = format!(
        "a credential of store `default`: `{}` is not there yet (No such file or directory (os error 2)): \
         so that it is found when it comes, all of `{}` may be read",
        at("agent").display(),
        host.0.path().display()
    );
    assert_eq!(closed.warnings, [warning]);
    let (agent, token) = (at("agent"), at("agent/token"));
    others.act(move || {
        fs::create_dir(agent).unwrap();
        fs::write(token, "first").unwrap();
    });
    assert_eq!(fs::read(at("agent/token")).unwrap(), b"first");
    let (new, token) = (at("agent/new"), at("agent/token"));
    others.act(move || {
        fs::write(&new, "second").unwrap();
        fs::rename(new, token).unwrap();
    });
    assert_eq!(fs::read(at("agent/token")).unwrap(), b"second");
    refused! { fs::write(at("agent/token"), "of mine"); }
}

#[test]
fn a_target_directory_beside_others_files_that_somebody_replaces_is_closed_until_a_restart() {
    let host = Host::new();
    let at = |name: &str| host.at(name);
    let others = Others::new();
    let closed = host.close(Writes::All);
    if closed.sandbox.is_none() {
        skip!("{}", closed.status);
    }
    let (tls, deep) = (at("app/tls"), at("data"));
    others.act(move || {
        for directory in [tls, deep.join("own/deep")] {
            fs::remove_dir_all(&directory).unwrap();
            fs::create_dir_all(&directory).unwrap();
        }
    });
    refused! { fs::write(at("app/tls/key"), ""); }
    allowed! { fs::write(at("data/own/deep/file"), ""); }
}

#[test]
fn a_dry_run_can_write_nowhere() {
    let host = Host::new();
    let at = |name: &str| host.at(name);
    fs::create_dir_all(at("data/own/deep")).unwrap();
    let closed = host.close(Writes::Nothing);
    if closed.sandbox.is_none() {
        skip!("{}", closed.status);
    }
    assert_eq!(closed.warnings, [""; 0]);
    refused! {
        fs::write(at("app/tls/key"), "");
        fs::write(at("data/own/deep/file"), "");
        fs::write(at("run/status.json"), "");
        fs::remove_file(at("app/tls/old"));
    }
    allowed! { fs::read(at("app/tls/old")); }
}
