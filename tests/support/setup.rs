//! The binary before it runs: its directory, configuration, environment and arguments, and what
//! a run to its end is expected to say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Daemon, SOON, canary, ports, process};

/// A run to be: `Daemon::new(config).env("LOG_LEVEL", "debug").start()`, or
/// `Daemon::new(config).status(2).stderr("…").run(&["validate"])`.
///
/// `@DIR@` in the configuration, in files, values, arguments and expected texts is its temporary
/// directory. The environment is empty but for what stands here: `HOME`, `CONFIG_FILE`,
/// `STATUS_FILE` and `METRICS_PORT=0`.
#[must_use]
pub struct Setup {
    pub(super) dir: TempDir,
    program: PathBuf,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    pub(super) metrics: Option<ports::Port>,
    pub(super) notify: bool,
    status: i32,
    stdout: Expected,
    stderr: Expected,
}

/// What a stream must hold.
enum Expected {
    Exactly(String),
    Anything,
}

/// How a run ended; its streams have been compared already.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    /// Its directory, gone when this is dropped.
    pub dir: TempDir,
}

impl Setup {
    /// Without a configuration.
    pub(super) fn bare() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the daemon");
        let setup = Self {
            dir,
            program: PathBuf::from(env!("CARGO_BIN_EXE_secrets-sync")),
            env: BTreeMap::new(),
            args: Vec::new(),
            metrics: None,
            notify: true,
            status: 0,
            stdout: Expected::Exactly(String::new()),
            stderr: Expected::Exactly(String::new()),
        };
        setup
            .env("HOME", "@DIR@")
            .env("STATUS_FILE", "@DIR@/status.json")
            .env("METRICS_PORT", "0")
    }

    /// With `config` as its configuration file.
    pub(super) fn new(config: &str) -> Self {
        Self::bare()
            .file("config.yaml", config)
            .env("CONFIG_FILE", "@DIR@/config.yaml")
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let value = self.here(value);
        if ["_TOKEN", "_SECRET_ID"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            canary::remember(&value);
        }
        self.env.insert(name.to_owned(), value);
        self
    }

    /// Takes a variable away that stands there by default.
    pub fn env_remove(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// A further argument, before those of [`Setup::run`].
    pub fn arg(mut self, arg: &str) -> Self {
        let arg = self.here(arg);
        self.args.push(arg);
        self
    }

    /// Another program in the binary's place: for the proof of this harness, and for runs under a
    /// tool such as `strace` (with [`Setup::arg`]).
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// A file in its directory, such as a credential.
    pub fn file(self, name: &str, content: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.here(content)).unwrap();
        self
    }

    /// Serves metrics and status on a port of its own; see [`Daemon::get`].
    pub fn metrics(mut self) -> Self {
        let port = ports::reserve();
        let number = port.number().to_string();
        self.metrics = Some(port);
        self.env("METRICS_PORT", &number)
    }

    /// Without `NOTIFY_SOCKET`, as started by anybody but systemd.
    pub fn without_notify(mut self) -> Self {
        self.notify = false;
        self
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The exit code that [`Setup::run`] must meet; 0 unless set.
    pub fn status(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    /// All that [`Setup::run`] must print; nothing unless set.
    pub fn stdout(mut self, text: &str) -> Self {
        self.stdout = Expected::Exactly(self.here(text));
        self
    }

    /// All that [`Setup::run`] must say on standard error; nothing unless set.
    pub fn stderr(mut self, text: &str) -> Self {
        self.stderr = Expected::Exactly(self.here(text));
        self
    }

    /// Leaves standard output to the test: for texts with times or digests in them.
    pub fn any_stdout(mut self) -> Self {
        self.stdout = Expected::Anything;
        self
    }

    /// Leaves standard error to the test: for logs.
    pub fn any_stderr(mut self) -> Self {
        self.stderr = Expected::Anything;
        self
    }

    /// Starts the daemon (`run`, unless arguments were given).
    #[track_caller]
    #[must_use]
    pub fn start(self) -> Daemon {
        Daemon::start(self)
    }

    /// Runs to the end and compares exit code, output and errors, all three, always.
    #[track_caller]
    pub fn run(self, args: &[&str]) -> Finished {
        let mut command = self.command();
        command.args(args.iter().map(|arg| self.here(arg)));
        let ended = process::complete(command, SOON * 3).expect("start secrets-sync");
        let finished = Finished {
            status: ended.status.and_then(|status| status.code()).unwrap_or(-1),
            stdout: ended.stdout,
            stderr: ended.stderr,
            dir: self.dir,
        };
        let shown = format!("secrets-sync {}\n{}", args.join(" "), finished.shown());
        canary::assert_absent("standard error", &finished.stderr);
        canary::assert_absent("standard output", &finished.stdout);
        assert!(ended.status.is_some(), "it did not end:\n{shown}");
        assert_eq!(finished.status, self.status, "exit code of\n{shown}");
        self.stdout
            .compare(&finished.stdout, &format!("standard output of\n{shown}"));
        self.stderr
            .compare(&finished.stderr, &format!("standard error of\n{shown}"));
        finished
    }

    /// `run --once`, within a minute.
    #[track_caller]
    pub fn once(self) -> Finished {
        self.run(&["run", "--once", "--timeout", "50s"])
    }

    /// `validate`.
    #[track_caller]
    pub fn validate(self) -> Finished {
        self.run(&["validate"])
    }

    pub(super) fn command(&self) -> Command {
        let mut command = process::command(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Coverage of the real binary, where it is measured.
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            // The record is written at the end, inside the sandbox.
            let into = PathBuf::from(&profile);
            if let (Some(dir), None) = (into.parent(), self.env.get("SANDBOX_WRITE_PATHS")) {
                command.env("SANDBOX_WRITE_PATHS", dir);
            }
            command.env("LLVM_PROFILE_FILE", profile);
        }
        command
    }

    fn here(&self, text: &str) -> String {
        text.replace("@DIR@", self.dir.path().to_str().unwrap())
    }
}

impl Expected {
    #[track_caller]
    fn compare(&self, actual: &str, of: &str) {
        if let Self::Exactly(expected) = self {
            assert!(actual == expected, "{of}\nexpected:\n{expected}");
        }
    }
}

impl Finished {
    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that it wrote into its directory.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        match fs::read_to_string(self.path(name)) {
            Ok(text) => text,
            Err(error) => panic!("`{name}`: {error}\n{}", self.shown()),
        }
    }

    fn shown(&self) -> String {
        format!(
            "status: {}\nstdout:\n{}\nstderr:\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}
