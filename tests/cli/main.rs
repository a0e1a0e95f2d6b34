//! The command line as users meet it: the program itself, with its exit code, standard output and
//! standard error compared whole, every time.

#![allow(clippy::unwrap_used)] // that is how a test fails

mod call;
mod status;
mod validate;

use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use call::Call;
use secrets_sync::observe::build_info::BUILD;

const HELP_HINT: &str = "\n  help: `secrets-sync --help` tells the commands and options\n";
const NO_CONFIG_HINT: &str =
    "\n  help: `secrets-sync init > config.yaml` writes one to begin with\n";

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
  doctor            Check everything that the daemon needs, and say what to do.
  explain           Tell everything about one secret: source, policy, session,
                    files, attempts.
  policy            Print the least that the server must allow, as a policy.
                    Offline.
  convert           Turn manifests of External Secrets Operator, or an agent's
                    configuration, into a configuration.
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
