//! The command line as users meet it: the program itself, with its exit code, standard output and
//! standard error compared whole, every time.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use secrets_sync::clock::Tick;
use secrets_sync::observe::build_info::BUILD;
use secrets_sync::observe::status_file::{LockAttempt, StatusFile, StatusLock};
use secrets_sync::observe::{SecretEntry, StatusDocument};

const HELP_HINT: &str = "\n  help: `secrets-sync --help` tells the commands and options\n";
const NO_CONFIG_HINT: &str =
    "\n  help: `secrets-sync init > config.yaml` writes one to begin with\n";
const NO_DAEMON_HINT: &str = "\n  help: start it with `secrets-sync run`; where it has its own \
    `STATUS_FILE`, name that with `--status-file` or `$STATUS_FILE`, as a user who may read it\n";
const NOT_READY_HINT: &str = "\n  help: `secrets-sync status` and the daemon's log tell more\n";

/// One call in an empty directory and an empty environment. What is not said to be expected must
/// not be there.
struct Call {
    command: Command,
    directory: tempfile::TempDir,
    code: i32,
    stdout: String,
    stderr: String,
}

impl Call {
    fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_secrets-sync"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(directory.path())
            .stdin(Stdio::null());
        Self {
            command,
            directory,
            code: 0,
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.directory.path().join(name), content).unwrap();
        self
    }

    fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    fn stdout(mut self, text: impl Into<String>) -> Self {
        self.stdout = text.into();
        self
    }

    fn stderr(mut self, text: impl Into<String>) -> Self {
        self.stderr = text.into();
        self
    }

    #[track_caller]
    fn check(mut self) {
        let output = self.command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(
            (
                output.status.code(),
                text(output.stdout),
                text(output.stderr)
            ),
            (Some(self.code), self.stdout, self.stderr)
        );
    }
}

#[track_caller]
fn usage(arguments: &[&str], message: &str) {
    Call::new(arguments)
        .code(2)
        .stderr(format!("secrets-sync: {message}{HELP_HINT}"))
        .check();
}

#[test]
fn usage_errors_are_exit_code_two_and_on_standard_error() {
    usage(&["--nonsense"], "unrecognised argument `--nonsense`");
    usage(&["run", "extra"], "unrecognised argument `extra`");
    usage(&["status", "--once"], "unrecognised argument `--once`");
    usage(&["-c"], "`-c` needs a path");
    usage(&["run", "--config="], "`--config` needs a path");
    usage(&["bananas"], "unknown command `bananas`");
    usage(
        &["run", "--once", "--timeout=soon"],
        "`--timeout`: `soon` is not a duration",
    );
    usage(
        &["--timeout", "5s"],
        "`--timeout` has a meaning only with `--once` or `--dry-run`",
    );
}

#[test]
fn commands_of_later_versions_are_unknown() {
    for command in ["convert", "explain", "doctor", "policy"] {
        usage(&[command], &format!("unknown command `{command}`"));
    }
}

#[test]
fn a_typo_is_met_with_the_nearest_command() {
    Call::new(&["statsu"])
        .code(2)
        .stderr("secrets-sync: unknown command `statsu`\n  help: did you mean `status`?\n")
        .check();
}

#[test]
fn an_argument_that_is_no_text_is_a_usage_error() {
    let mut call = Call::new(&[]);
    call.command
        .arg(std::ffi::OsString::from_vec(b"\xff\x1b".to_vec()));
    call.code(2)
        .stderr("secrets-sync: the argument `\u{fffd}\\u{1b}` is not UTF-8\n")
        .check();
}

#[test]
fn help_goes_to_standard_output() {
    let help = "\
Usage: secrets-sync [-c <path>] [-V] [<command>] [<args>]

Keeps files true to the secrets in HashiCorp Vault and OpenBao.

Options:
  -c, --config      configuration file; default: $CONFIG_FILE, else
                    ./config.yaml, else /etc/secrets-sync/config.yaml
  -V, --version     print version, git revision, commit date, target and
                    compiler
  -h, --help, help  display usage information

Commands:
  run               Run the daemon (default).
  isready           Say whether the daemon is ready, without the network.
  validate          Check the configuration, offline, and print what was
                    understood.
  init              Print a commented sample configuration.
  status            Show the daemon's secrets and their state.
  version           Print version, git revision, commit date, target and
                    compiler.

Notes:
  Without a command, `run` is meant. `-c` and `--key=value` are understood before and
  after the command; `secrets-sync COMMAND --help` tells the options of a command.
";
    for arguments in [&["help"][..], &["-h"], &["--help"], &["-c", "x", "--help"]] {
        Call::new(arguments).stdout(help).check();
    }
    let of_init = "\
Usage: secrets-sync init

Print a commented sample configuration.

Options:
  -h, --help, help  display usage information
";
    for arguments in [["help", "init"], ["init", "-h"], ["init", "help"]] {
        Call::new(&arguments).stdout(of_init).check();
    }
}

#[test]
fn the_version_tells_what_it_was_built_from() {
    let version = format!(
        "secrets-sync {}\nrevision: {}\ncommit date: {}\ntarget: {}\nrustc: {}\n",
        env!("CARGO_PKG_VERSION"),
        BUILD.revision,
        BUILD.commit_date,
        BUILD.target,
        BUILD.rustc
    );
    for argument in ["version", "-V", "--version"] {
        Call::new(&[argument]).stdout(&version).check();
    }
}

#[test]
fn the_commit_date_is_gits() {
    let revision = BUILD.revision;
    let git = Command::new("git")
        .args(["show", "-s", "--format=%cd", "--no-show-signature"])
        .arg("--date=format-local:%Y-%m-%dT%H:%M:%SZ")
        .arg(revision)
        .env("TZ", "UTC")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match git {
        Ok(git) if git.status.success() && option_env!("SOURCE_DATE_EPOCH").is_none() => {
            let date = String::from_utf8(git.stdout).unwrap();
            assert_eq!(date.trim(), BUILD.commit_date);
        }
        _ => assert!(revision == "unknown" || revision.len() >= 40),
    }
}

#[test]
fn a_configuration_that_is_named_must_be_there() {
    for command in ["run", "validate"] {
        Call::new(&[command, "-c", "gone.yaml"])
            .file("config.yaml", "secrets: []\n")
            .code(2)
            .stderr(format!(
                "secrets-sync: `gone.yaml`, named by `--config`, does not exist{NO_CONFIG_HINT}"
            ))
            .check();
        Call::new(&[command])
            .file("config.yaml", "secrets: []\n")
            .env("CONFIG_FILE", "gone.yaml")
            .code(2)
            .stderr(format!(
                "secrets-sync: `gone.yaml`, named by `$CONFIG_FILE`, does not exist{NO_CONFIG_HINT}"
            ))
            .check();
    }
}

#[test]
fn without_any_configuration_all_places_are_named() {
    if Path::new("/etc/secrets-sync/config.yaml").exists() {
        return; // this machine has one
    }
    for command in ["run", "validate"] {
        Call::new(&[command])
            .code(2)
            .stderr(format!(
                "secrets-sync: no configuration file: neither `--config` nor `$CONFIG_FILE` is \
                 given, and there is neither `./config.yaml` nor \
                 `/etc/secrets-sync/config.yaml`{NO_CONFIG_HINT}"
            ))
            .check();
    }
}

#[test]
fn init_prints_the_sample() {
    Call::new(&["init"])
        .stdout(secrets_sync::config::SAMPLE)
        .check();
}

/// What the library understands of the same file: `validate` prints just that.
fn understood(file: &Path) -> String {
    let environment = secrets_sync::config::Environment::default();
    let purpose = secrets_sync::plan::Purpose::Validate;
    let plan = secrets_sync::plan::load(file, &environment, purpose).unwrap();
    secrets_sync::plan::describe(&plan)
}

const VALID: &str = "\
secretStore:
  address: http://127.0.0.1:8200
  token: sesame
secrets:
  - name: a
    key: app/a
    files:
      - path: /secrets/a
        field: x
";

#[test]
fn validate_prints_what_it_understood() {
    let call = Call::new(&["validate", "-c"]).file("c.yaml", VALID);
    let file = call.directory.path().join("c.yaml");
    let understood = understood(&file);
    assert!(understood.contains("/secrets/a <- field x") && !understood.contains("sesame"));
    call.arg(file).stdout(understood).check();
}

#[test]
fn validate_accepts_the_sample_and_warns_of_what_is_not_set() {
    let call = Call::new(&["validate", "-c"]).file("c.yaml", secrets_sync::config::SAMPLE);
    let file = call.directory.path().join("c.yaml");
    let understood = understood(&file);
    let call = call.arg(file).stdout(understood);
    let mut warnings = String::new();
    for (number, line) in secrets_sync::config::SAMPLE.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        if let Some(at) = line.find("${").filter(|_| !is_comment) {
            let variable = line[at + 2..].split('}').next().unwrap();
            let key = line.trim().split(':').next().unwrap();
            warnings.push_str(&format!(
                "secrets-sync: warning: {}:{}:{}: secretStore.{key}: \
                 the variable `{variable}` is not set\n",
                call.directory.path().join("c.yaml").display(),
                number + 1,
                at + 1,
            ));
        }
    }
    assert!(!warnings.is_empty());
    call.stderr(warnings).check();
}

#[test]
fn validate_warns_of_a_credential_that_is_not_there_yet() {
    let with_file = VALID.replace("token: sesame", "tokenFile: /nonexistent/token");
    let call = Call::new(&["validate", "-c"]).file("c.yaml", &with_file);
    let file = call.directory.path().join("c.yaml");
    let understood = understood(&file);
    call.arg(file)
        .stdout(understood)
        .stderr(
            "secrets-sync: warning: secretStore.tokenFile: `/nonexistent/token`: no such file\n",
        )
        .check();
}

#[test]
fn validate_refuses_a_certificate_file_without_a_certificate() {
    let call = Call::new(&["validate"])
        .file("ca.pem", "no certificate")
        .file(
            "config.yaml",
            &VALID
                .replace("http:", "https:")
                .replace("  token:", "  tlsCACert: ca.pem\n  token:"),
        );
    let output = { call }.command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("secrets-sync: secretStore.tlsCACert: ")
            && stderr.contains("no PEM certificate"),
        "{stderr}"
    );
}

#[test]
fn validate_tells_all_that_is_wrong_at_once() {
    Call::new(&["validate"])
        .file(
            "config.yaml",
            &VALID
                .replace("    key:", "    kye:")
                .replace("        field:", "        feild:"),
        )
        .env("LOG_LEVEL", "loud")
        .code(2)
        .stderr(
            "\
secrets-sync: ./config.yaml:6:5: secrets[0].kye: unknown key `kye`
  6 |     kye: [redacted]
    |     ^
  help: did you mean `key`?
secrets-sync: ./config.yaml:9:9: secrets[0].files[0].feild: unknown key `feild`
  9 |         feild: [redacted]
    |         ^
  help: did you mean `field`?
secrets-sync: LOG_LEVEL: `loud` is not one of `trace`, `debug`, `info`, `warn`, `error`
",
        )
        .check();
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut call = Call::new(&["init"]);
    let output = call.command.stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_disk_that_is_full_is_a_failure_and_told() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut call = Call::new(&["init"]);
    let output = call.command.stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "secrets-sync: cannot write to standard output: No space left on device (os error 28)\n"
    );
    let mut call = Call::new(&["bananas"]);
    let status = call.command.stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

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
            .args(["--exact", "holder", "--nocapture"])
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
        let ticked = StatusFile::new(self.path()).tick(Tick::default(), document);
        assert!(ticked.error.is_none());
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
             NAME      STORE    STATE    VERSION  AGE  NEXT REFRESH\n\
             tls-cert  default  in_sync  3        -    -\n",
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
             NAME      STORE    STATE   VERSION  AGE  NEXT REFRESH\n\
             tls-cert  default  failed  3        -    -\n  \
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
