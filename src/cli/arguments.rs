//! The command line, declared once: parser and help come from the same words.
//!
//! `argh` takes options of the top level only in front of the command, and no `--key=value`; so
//! `words` puts them in its order first.

use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::console::NAME;
use super::words::order;
use crate::config;

/// Keeps files true to the secrets in HashiCorp Vault and OpenBao.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    help_triggers("-h", "--help", "help"),
    note = "Without a command, `run` is meant. `-c` and `--key=value` are understood before and\n\
            after the command; `{command_name} COMMAND --help` tells the options of a command."
)]
pub(super) struct TopLevel {
    /// configuration file; default: $CONFIG_FILE, else ./config.yaml, else
    /// /etc/secrets-sync/config.yaml
    #[argh(option, short = 'c', arg_name = "path")]
    config: Option<PathBuf>,

    /// print version, git revision, commit date, target and compiler
    #[argh(switch, short = 'V')]
    version: bool,

    #[argh(subcommand)]
    command: Option<Command>,
}

/// What to do.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one, for as long as the program runs"
)]
pub(super) enum Command {
    Run(Run),
    Isready(Isready),
    Validate(Validate),
    Init(Init),
    Status(Status),
    Doctor(Doctor),
    Explain(Explain),
    Policy(Policy),
    Convert(Convert),
    Version(Version),
}

/// Run the daemon (default).
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "run",
    help_triggers("-h", "--help", "help"),
    error_code(0, "after SIGTERM or SIGINT; with --once: every secret is written"),
    error_code(1, "with --once or --dry-run: a secret failed"),
    error_code(
        2,
        "usage, an invalid configuration, or another daemon: a restart cannot help"
    )
)]
pub struct Run {
    /// fetch and write every secret once, then exit
    #[argh(switch)]
    pub once: bool,

    /// fetch and render, write nothing, and say what would change
    #[argh(switch)]
    pub dry_run: bool,

    /// with --once or --dry-run: how long to try what may pass by itself; default 60s
    #[argh(option, from_str_fn(duration), arg_name = "duration")]
    pub timeout: Option<Duration>,
}

impl Run {
    /// How long `--once` tries when nothing is said.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// `--timeout`, or its default.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Self::TIMEOUT)
    }
}

/// Say whether the daemon is ready, without the network.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "isready",
    help_triggers("-h", "--help", "help"),
    error_code(0, "ready"),
    error_code(1, "not ready, or not running")
)]
pub(super) struct Isready {
    /// the daemon's status file; default: $STATUS_FILE, else where daemons write it
    #[argh(option, arg_name = "path")]
    pub(super) status_file: Option<PathBuf>,
}

/// Check the configuration, offline, and print what was understood.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "validate",
    help_triggers("-h", "--help", "help"),
    error_code(0, "valid"),
    error_code(2, "invalid")
)]
pub(super) struct Validate {}

/// Print a commented sample configuration.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "init", help_triggers("-h", "--help", "help"))]
pub(super) struct Init {}

/// Show the daemon's secrets and their state.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "status",
    help_triggers("-h", "--help", "help"),
    error_code(0, "all in sync"),
    error_code(1, "degraded, or not ready"),
    error_code(2, "not running")
)]
pub(super) struct Status {
    /// print the status document as JSON
    #[argh(switch)]
    pub(super) json: bool,

    /// show it again at each change, until Ctrl-C
    #[argh(switch)]
    pub(super) watch: bool,

    /// the daemon's status file; default: $STATUS_FILE, else where daemons write it
    #[argh(option, arg_name = "path")]
    pub(super) status_file: Option<PathBuf>,
}

/// Check everything that the daemon needs, and say what to do.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "doctor",
    help_triggers("-h", "--help", "help"),
    error_code(0, "no check failed"),
    error_code(1, "a check failed"),
    error_code(2, "invalid configuration")
)]
pub(super) struct Doctor {
    /// print the checks as JSON
    #[argh(switch)]
    pub(super) json: bool,
}

/// Print the least that the server must allow, as a policy. Offline.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "policy",
    help_triggers("-h", "--help", "help"),
    error_code(0, "printed"),
    error_code(2, "invalid configuration")
)]
pub(super) struct Policy {
    /// only for this store
    #[argh(option, arg_name = "name")]
    pub(super) store: Option<String>,

    /// only for these credentials; those of the store itself are `default`
    #[argh(option, arg_name = "name")]
    pub(super) credentials: Option<String>,
}

/// Tell everything about one secret: source, policy, session, files, attempts.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "explain",
    help_triggers("-h", "--help", "help"),
    error_code(0, "the secret is in sync"),
    error_code(1, "the secret is not in sync"),
    error_code(2, "not running, or no such secret")
)]
pub(super) struct Explain {
    /// the secret
    #[argh(positional, arg_name = "NAME")]
    pub(super) name: String,

    /// print it as JSON
    #[argh(switch)]
    pub(super) json: bool,

    /// the daemon's status file; default: $STATUS_FILE, else where daemons write it
    #[argh(option, arg_name = "path")]
    pub(super) status_file: Option<PathBuf>,
}

/// Turn manifests of External Secrets Operator, or an agent's configuration, into a configuration.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "convert",
    help_triggers("-h", "--help", "help"),
    note = "Every option of the server is taken from the environment too (`VAULT_ADDR`, `VAULT_TOKEN`,\n\
            `VAULT_ROLE_ID`, `VAULT_SECRET_ID`), where other users of the machine do not see it.",
    error_code(0, "converted"),
    error_code(
        1,
        "an input could not be read; with --strict: something has no translation"
    )
)]
pub(super) struct Convert {
    /// files, directories, or `-` for standard input
    #[argh(positional, arg_name = "FILE")]
    pub(super) files: Vec<String>,

    /// where the configuration goes; default: standard output
    #[argh(option, short = 'o', arg_name = "path")]
    pub(super) output: Option<PathBuf>,

    /// what the files are: `eso` (default), `vault-agent` or `consul-template`
    #[argh(option, arg_name = "what")]
    pub(super) from: Option<String>,

    /// directory of the secrets' files; default ./secrets
    #[argh(option, arg_name = "dir")]
    pub(super) output_dir: Option<String>,

    /// mount of the KV engine, where a store says none
    #[argh(option, arg_name = "mount")]
    pub(super) mount_path: Option<String>,

    /// version of the KV engine, where a store says none: `v1` or `v2`
    #[argh(option, arg_name = "version")]
    pub(super) kv_version: Option<String>,

    /// any warning is exit code 1
    #[argh(switch)]
    pub(super) strict: bool,

    /// ask a server for the fields, the mount and the version of every secret
    #[argh(switch)]
    pub(super) query_vault: bool,

    /// its address
    #[argh(option, arg_name = "url")]
    pub(super) vault_addr: Option<String>,

    /// a token for it
    #[argh(option, arg_name = "token")]
    pub(super) vault_token: Option<String>,

    /// a role ID for it
    #[argh(option, arg_name = "id")]
    pub(super) vault_role_id: Option<String>,

    /// a secret ID for it
    #[argh(option, arg_name = "id")]
    pub(super) vault_secret_id: Option<String>,
}

/// Print version, git revision, commit date, target and compiler.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "version", help_triggers("-h", "--help", "help"))]
pub(super) struct Version {}

/// The words, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) config: Option<PathBuf>,
    pub(super) command: Command,
}

/// What to print instead of doing anything.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Instead {
    /// Help, to standard output.
    Help(String),
    /// A usage error, and what to do.
    Usage { message: String, help: String },
}

impl Arguments {
    /// Reads the words behind the program's name.
    pub(super) fn parse(words: &[String]) -> Result<Self, Instead> {
        let ordered = order(words)?;
        let words: Vec<&str> = ordered.iter().map(String::as_str).collect();
        let top = TopLevel::from_args(&[NAME], &words).map_err(|exit| {
            if exit.status.is_ok() {
                Instead::Help(format!("{}\n", exit.output.trim_end()))
            } else {
                usage(&reworded(&exit.output))
            }
        })?;
        let command = match top.command {
            _ if top.version => Command::Version(Version {}),
            Some(command) => command,
            None => return Err(usage("no command")),
        };
        if let Command::Run(run) = &command
            && run.timeout.is_some()
            && !run.once
            && !run.dry_run
        {
            return Err(usage(
                "`--timeout` has a meaning only with `--once` or `--dry-run`",
            ));
        }
        Ok(Self {
            config: top.config,
            command,
        })
    }
}

pub(super) fn usage(message: &str) -> Instead {
    Instead::Usage {
        message: message.to_owned(),
        help: format!("`{NAME} --help` tells the commands and options"),
    }
}

/// The parser's complaints in the words of this program.
fn reworded(complaint: &str) -> String {
    let complaint = complaint.trim();
    if let Some(word) = complaint.strip_prefix("Unrecognized argument: ") {
        return format!("unrecognised argument `{word}`");
    }
    if let Some(option) = complaint
        .strip_prefix("No value provided for option '")
        .and_then(|rest| rest.strip_suffix("'."))
    {
        return format!("`{option}` needs a value");
    }
    if let Some((option, rest)) = complaint
        .strip_prefix("Error parsing option '")
        .and_then(|rest| rest.split_once("' with value '"))
        && let Some((value, why)) = rest.rsplit_once("': ")
    {
        return match why {
            "duplicate values provided" => format!("`{option}` is given twice"),
            why => format!("`{option}`: `{value}` {why}"),
        };
    }
    let mut letters = complaint.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = config::parse_duration(text).map_err(|error| error.message().to_owned())?;
    if duration.is_zero() {
        return Err("is no time at all".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, Instead> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    fn run(once: bool, dry_run: bool, timeout: Option<u64>) -> Command {
        Command::Run(Run {
            once,
            dry_run,
            timeout: timeout.map(Duration::from_secs),
        })
    }

    fn error(line: &str) -> String {
        match parse(line).unwrap_err() {
            Instead::Usage { message, .. } => message,
            Instead::Help(text) => panic!("{text}"),
        }
    }

    #[test]
    fn no_command_is_run() {
        for line in ["", "run"] {
            let arguments = parse(line).unwrap();
            assert_eq!(arguments.command, run(false, false, None));
            assert_eq!(arguments.config, None);
        }
        assert_eq!(parse("--once").unwrap().command, run(true, false, None));
    }

    #[test]
    fn options_are_understood_on_both_sides_of_the_command() {
        for line in [
            "-c a.yaml run --once --timeout 90s",
            "--config a.yaml run --once --timeout=90s",
            "--config=a.yaml --timeout=1m30s run --once",
            "run --once -c a.yaml --timeout 90s",
            "run --config=a.yaml --timeout=90s --once",
            "--once -ca.yaml --timeout 90s",
            "--timeout 90s --once run -c=a.yaml",
            "-c first.yaml run -c a.yaml --once --timeout=90s",
        ] {
            let arguments = parse(line).unwrap();
            assert_eq!(arguments.config, Some("a.yaml".into()), "{line}");
            assert_eq!(arguments.command, run(true, false, Some(90)), "{line}");
        }
    }

    #[test]
    fn every_command_has_its_options() {
        let command = |line: &str| parse(line).unwrap().command;
        let file = || Some(PathBuf::from("/s"));
        assert_eq!(
            command("isready --status-file /s"),
            Command::Isready(Isready {
                status_file: file()
            })
        );
        assert_eq!(
            command("--status-file=/s status --json"),
            Command::Status(Status {
                json: true,
                watch: false,
                status_file: file()
            })
        );
        assert_eq!(
            command("--status-file=/s explain --json a"),
            Command::Explain(Explain {
                name: "a".into(),
                json: true,
                status_file: file()
            })
        );
        let Command::Convert(convert) = command(
            "convert a.yaml - --output-dir=/s -o out --query b --strict --vault-addr u -- --c",
        ) else {
            panic!();
        };
        assert_eq!(convert.files, ["a.yaml", "b", "-", "--c"]);
        assert_eq!(convert.output, Some("out".into()));
        assert_eq!(convert.output_dir.as_deref(), Some("/s"));
        assert_eq!(convert.vault_addr.as_deref(), Some("u"));
        assert!(convert.strict && convert.query_vault);
        assert_eq!(command("validate -c x"), Command::Validate(Validate {}));
        assert_eq!(command("init"), Command::Init(Init {}));
        for line in ["version", "-V", "--version", "-c x --version"] {
            assert_eq!(command(line), Command::Version(Version {}), "{line}");
        }
    }

    #[test]
    fn help_is_help_wherever_it_stands() {
        let help = |line: &str| match parse(line) {
            Err(Instead::Help(text)) => text,
            other => panic!("{line}: {other:?}"),
        };
        for line in ["-h", "--help", "help", "-c x help", "--once -h"] {
            assert!(help(line).contains("Commands:"), "{line}");
        }
        for line in [
            "help run",
            "run help",
            "run -h",
            "run --once --help",
            "-h run",
        ] {
            assert!(help(line).contains("--dry-run"), "{line}");
        }
    }

    #[test]
    fn usage_errors_say_what_is_wrong() {
        for (line, message) in [
            ("--nonsense", "unrecognised argument `--nonsense`"),
            ("run extra", "unrecognised argument `extra`"),
            ("status --once", "unrecognised argument `--once`"),
            ("isready --json", "unrecognised argument `--json`"),
            ("run -", "unrecognised argument `-`"),
            ("witch x", "unknown command `witch`"),
            ("-c", "`-c` needs a path"),
            ("--config=", "`--config` needs a path"),
            ("run --once --timeout", "`--timeout` needs a value"),
            (
                "run --once --timeout soon",
                "`--timeout`: `soon` is not a duration",
            ),
            (
                "run --once --timeout 10",
                "`--timeout`: `10` is a duration without a unit",
            ),
            (
                "run --once --timeout 0s",
                "`--timeout`: `0s` is no time at all",
            ),
            (
                "run --once --timeout 1s --timeout 2s",
                "`--timeout` is given twice",
            ),
            (
                "run --timeout 1s",
                "`--timeout` has a meaning only with `--once` or `--dry-run`",
            ),
            ("run --version", "unrecognised argument `--version`"),
            ("run --once=true", "`--once` takes no value"),
            ("--once=false", "`--once` takes no value"),
            ("status --json=1 --watch", "`--json` takes no value"),
            ("convert --strict=false a.yaml", "`--strict` takes no value"),
            ("convert a.yaml --query=x", "`--query` takes no value"),
            ("--help=run", "`--help` takes no value"),
            ("--nonsense=1", "unrecognised argument `--nonsense=1`"),
            ("-", "unknown command `-`"),
        ] {
            assert_eq!(error(line), message, "{line}");
        }
    }

    #[test]
    fn a_typo_gets_its_nearest_command() {
        for (word, near) in [
            ("statsu", "status"),
            ("is-ready", "isready"),
            ("rum", "run"),
        ] {
            let Err(Instead::Usage { help, .. }) = parse(word) else {
                panic!("{word}");
            };
            assert_eq!(help, format!("did you mean `{near}`?"));
        }
    }
}
