//! One secret that fails, what is said of it, and the ways to do what that says: to the letter, with
//! the names, paths, values and commands that stand in it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, OpenBao, SOON, Setup, process};

/// A healing may have to wait for a back-off and a breaker besides.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The store at an address, with further lines.
pub(crate) fn store(address: &str, mount: &str, lines: &[&str]) -> String {
    let mut text = format!("secretStore:\n  address: '{address}'\n  mountPath: {mount}\n");
    for line in lines {
        text += &format!("  {line}\n");
    }
    text
}

/// The login of most of these tests.
pub(crate) const ROOT: [&str; 2] = ["authMethod: token", "token: root"];

/// The secret `app` of the key `app/db`, read each second into `out/app`, with further lines.
pub(crate) fn secret(lines: &[&str], file: &[&str]) -> String {
    let mut text = "secrets:\n  - name: app\n    key: app/db\n    refreshInterval: 1s\n".to_owned();
    for line in lines {
        text += &format!("    {line}\n");
    }
    text += "    files:\n      - path: '@DIR@/out/app'\n";
    for line in file {
        text += &format!("        {line}\n");
    }
    text
}

/// A daemon of this configuration that follows it, and does not wait long.
pub(crate) fn setup(config: &str) -> Setup {
    let setup = Daemon::new(config)
        .env("WATCH_CONFIG", "true")
        .env("INITIAL_BACKOFF", "500ms")
        .env("MAX_BACKOFF", "500ms")
        // Nobody fails three times in it: each failure is seen as its own class.
        .env("CIRCUIT_BREAKER_INTERVAL", "100ms")
        .env("CIRCUIT_BREAKER_TIMEOUT", "1s");
    fs::create_dir(setup.path("out")).unwrap();
    setup
}

/// The store with the root token, the secret with the field `x`.
pub(crate) fn plain(address: &str, mount: &str) -> Setup {
    setup(&(store(address, mount, &ROOT) + &secret(&[], &["field: x"])))
}

/// What was said of the secret.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) error: String,
    pub(crate) remedy: String,
}

/// Waits until the secret fails as this class, with this in its message.
#[track_caller]
pub(crate) fn fails(daemon: &Daemon, class: &str, part: &str) -> Told {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entry = daemon.wait_secret("app", PATIENCE, |entry| {
        entry["error_type"] == class && text(entry, "error").contains(part)
    });
    let told = Told {
        error: text(&entry, "error"),
        remedy: text(&entry, "remedy"),
    };
    assert!(!told.remedy.is_empty(), "no remedy: {told:?}");
    assert!(told.remedy.chars().count() < 500, "long: {told:?}");
    // What an operator sees, in the status and in the log, says the same.
    let shown = status(daemon);
    assert_eq!(
        (&shown["error_type"], &shown["error"], &shown["remedy"]),
        (&entry["error_type"], &entry["error"], &entry["remedy"]),
        "{shown}"
    );
    daemon.wait_for_log(SOON, |line| {
        line.has("error_type", class) && line.has("remedy", &told.remedy)
    });
    told
}

/// The secret as `secrets-sync status --json` has it.
#[track_caller]
fn status(daemon: &Daemon) -> Value {
    let mut command = process::command(env!("CARGO_BIN_EXE_secrets-sync").as_ref());
    command
        .args(["status", "--json", "--status-file"])
        .arg(daemon.path("status.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = process::complete(command, SOON).unwrap();
    let code = ended.status.and_then(|status| status.code());
    assert_eq!(code, Some(1), "{}{}", ended.stdout, ended.stderr);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap();
    let secrets = status["secrets"].as_array().unwrap();
    let mine = secrets.iter().find(|secret| secret["name"] == "app");
    mine.unwrap().clone()
}

/// Waits until it is in sync, which nobody does anything more for.
#[track_caller]
pub(crate) fn ends(daemon: &Daemon) {
    daemon.wait_secret("app", PATIENCE, |entry| entry["state"] == "in_sync");
}

impl Told {
    /// The pieces of the remedy that stand in backticks.
    pub(crate) fn spans(&self) -> Vec<&str> {
        spans(&self.remedy)
    }

    /// The piece that begins so.
    #[track_caller]
    pub(crate) fn span(&self, start: &str) -> &str {
        let found = self
            .spans()
            .into_iter()
            .find(|span| span.starts_with(start));
        found.unwrap_or_else(|| panic!("no `{start}…` in {self:?}"))
    }

    /// The number after these words.
    #[track_caller]
    pub(crate) fn number(&self, after: &str) -> u64 {
        let rest = self.remedy.split_once(after);
        let (_, rest) = rest.unwrap_or_else(|| panic!("no `{after}` in {self:?}"));
        let digits: String = rest
            .trim_start()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn says(&self, part: &str) {
        assert!(self.remedy.contains(part), "no `{part}` in {self:?}");
    }
}

/// What stands in backticks.
pub(crate) fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Runs a command as the operator of this server; gives what it printed.
#[track_caller]
pub(crate) fn bao(server: &OpenBao, command: &str) -> String {
    let program = OpenBao::program();
    let mut shell = process::command("/bin/sh".as_ref());
    shell
        .args(["-ec", command])
        .env("BAO_ADDR", server.address())
        .env("BAO_TOKEN", server.root_token())
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", program.parent().unwrap().display()),
        );
    said(shell, command)
}

/// Runs a command as root of this machine.
#[track_caller]
pub(crate) fn shell(command: &str) -> String {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", command]);
    said(shell, command)
}

#[track_caller]
fn said(mut command: Command, shown: &str) -> String {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = process::complete(command, SOON).unwrap();
    let good = ended.status.is_some_and(|status| status.success());
    assert!(good, "`{shown}`: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// Where a key stands: the line before it, and how far it is indented.
fn place(key: &str) -> (&'static str, &'static str) {
    match key {
        "key" | "kvVersion" | "version" | "namespace" | "refreshInterval" => {
            ("  - name: app\n", "    ")
        }
        "field" | "encoding" | "owner" | "allowEmpty" | "inPlace" | "template" => {
            ("    files:\n      - path: ", "        ")
        }
        _ => ("secretStore:\n", "  "),
    }
}

/// Takes a key out of the configuration.
pub(crate) fn take_out(daemon: &Daemon, key: &str) {
    let (_, indent) = place(key);
    let text = fs::read_to_string(daemon.path("config.yaml")).unwrap();
    let start = format!("{indent}{key}:");
    let kept: String = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with(&start))
        .collect();
    assert_ne!(kept, text, "there was no `{key}`");
    fs::write(daemon.path("config.yaml"), kept).unwrap();
}

/// Writes `key: value` into the configuration, in the place of what is there.
pub(crate) fn set(daemon: &Daemon, setting: &str) {
    let (key, value) = setting.split_once(": ").unwrap();
    let path = daemon.path("config.yaml");
    let mut text = fs::read_to_string(&path).unwrap();
    if let Some(limit) = key.strip_prefix("limits.") {
        text.retain_lines(|line| !line.starts_with("limits:"));
        text += &format!("limits: {{ {limit}: {value} }}\n");
    } else if key == "path" {
        text.retain_lines(|line| !line.starts_with("      - path:"));
        text = text.replace(
            "    files:\n",
            &format!("    files:\n      - path: {value}\n"),
        );
    } else {
        let (before, indent) = place(key);
        let start = format!("{indent}{key}:");
        text.retain_lines(|line| !line.starts_with(&start));
        let at = text.find(before).unwrap() + before.len();
        let at = if before.ends_with('\n') {
            at
        } else {
            at + text[at..].find('\n').unwrap() + 1
        };
        text.insert_str(at, &format!("{indent}{key}: {value}\n"));
    }
    fs::write(&path, text).unwrap();
}

trait Lines {
    fn retain_lines(&mut self, keep: impl Fn(&str) -> bool);
}

impl Lines for String {
    fn retain_lines(&mut self, keep: impl Fn(&str) -> bool) {
        *self = self
            .split_inclusive('\n')
            .filter(|line| keep(line))
            .collect();
    }
}

/// Whether namespaces of its own and mounts can be made here.
pub(crate) fn may_mount() -> bool {
    Command::new("unshare")
        .args(["-m", "true"])
        .status()
        .is_ok_and(|status| status.success())
}
