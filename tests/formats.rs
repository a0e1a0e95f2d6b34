//! `format`: the whole secret in one file, read back by the programs that it is for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{Daemon, Finished, OpenBao, Setup};

/// A secret with these fields. In KV version 1, which keeps the spelling of numbers: version 2 makes
/// them 64-bit floating-point numbers when they are written, and nobody can bring digits back.
fn secret(fields: &str, files: &str) -> Setup {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(1);
    bao.kv1_put(&mount, "app", &serde_json::from_str(fields).unwrap());
    Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root }}
secrets:
- name: app
  key: app
  mountPath: {mount}
  kvVersion: v1
{files}\n",
        bao.address()
    ))
    .any_stderr()
}

fn has_program(name: &str) -> bool {
    Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

#[track_caller]
fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

/// Values that trip up those who quote by halves.
const NASTY: &str = r###"{
    "plain": "value", "empty": "", "words": "two words", "around": "  \t around ",
    "quotes": "it's \"quoted\" `id` \\ $HOME ${HOME} $(id) $$ !! #x; a=b", "single": "it's",
    "double": "say \"hi\" for $5", "backslashes": "a\\nb\\\\c\\", "dollar": "${HOME} `id` $x",
    "pem": "-----BEGIN X-----\nMIIB+/=\n-----END X-----\n", "crlf": "a\r\nb", "nl": "\n\n x\n",
    "unicode": "grün ☃ 𝄞", "html": "<a href=\"x\">&amp;</a>", "hash": "# no comment",
    "yes": "yes", "nul": "null", "tilde": "~", "octal": "0123", "float": "1e3", "date": "2026-01-31",
    "item": "- a", "colon": "a: b", "anchor": "&a", "alias": "*a", "tag": "!!int 3", "percent": "%x",
    "bar": "|", "brace": "{a: b}", "end": "...", "quoted": "'x'", "dquoted": "\"x\"",
    "big": 12345678901234567890123, "one": 1.0, "minus": -0.5, "yes_": true, "no": false,
    "nothing": null, "list": [1, "a", {"k": "<&>"}], "object": {"b": {"c": "it's\n"}, "a": []}
}"###;

/// As an environment holds them.
fn nasty_as_text() -> BTreeMap<String, String> {
    let all: BTreeMap<String, Value> = serde_json::from_str(NASTY).unwrap();
    let text = |name: &str, value: &Value| match (name, value) {
        ("list", _) => r#"[1,"a",{"k":"\u003c\u0026\u003e"}]"#.to_owned(),
        ("object", _) => r#"{"a":[],"b":{"c":"it's\n"}}"#.to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => String::new(),
        (_, value) => value.to_string(),
    };
    all.iter()
        .map(|(name, value)| (name.clone(), text(name, value)))
        .collect()
}

/// What of an environment, as `env -0` prints it, the secret accounts for.
fn environment(bytes: &[u8], names: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    String::from_utf8_lossy(bytes)
        .split('\0')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| names.contains_key(*name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn written_as(format: &str) -> Finished {
    secret(
        NASTY,
        &format!("  files: [{{ path: '@DIR@/out', format: {format} }}]"),
    )
    .once()
}

#[test]
fn env_is_read_back_by_the_shell_value_for_value() {
    let done = written_as("env");
    let expected = nasty_as_text();
    for shell in ["sh", "bash"] {
        if !has_program(shell) {
            support::skipped(module_path!(), &format!("no `{shell}` to read it"));
            continue;
        }
        let read = output(
            Command::new(shell)
                .args(["-c", "set -a; . \"$1\"; exec env -0", "sh"])
                .arg(done.path("out"))
                .env_clear()
                .env("PATH", "/usr/bin:/bin"),
        );
        assert_eq!(environment(&read.stdout, &expected), expected, "{shell}");
    }
}

/// Runs one unit with this `EnvironmentFile=` under a user's manager in namespaces of its own.
/// What is on the standard error of `sh` tells why where that cannot be had.
const SYSTEMD: &str = r#"
T=$1
export HOME="$T" XDG_RUNTIME_DIR="$T/run" XDG_CONFIG_HOME="$T/config"
export DBUS_SESSION_BUS_ADDRESS="unix:path=$T/run/bus" PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs none /run && mkdir -p /run/systemd/system "$T/config/systemd/user" || exit 9
mkdir -m 700 "$T/run" || exit 9
cat >"$T/config/systemd/user/read.service" <<END
[Service]
Type=oneshot
EnvironmentFile=$T/out
ExecStart=/bin/sh -c 'cat /proc/self/environ >$T/seen'
END
/lib/systemd/systemd --user >"$T/log" 2>&1 &
manager=$!
tries=0
until systemctl --user is-system-running >/dev/null 2>&1 || [ $tries = 100 ]; do
  systemctl --user show-environment >/dev/null 2>&1 && break
  tries=$((tries + 1)); sleep 0.1
done
[ $tries = 100 ] && { cat "$T/log" >&2; kill $manager; exit 9; }
systemctl --user start read.service; status=$(($? ? 10 : 0))
kill $manager; wait $manager
rmdir /sys/fs/cgroup/init.scope /sys/fs/cgroup/*/init.scope 2>/dev/null
exit $status
"#;

#[test]
fn env_is_read_back_by_systemd_value_for_value() {
    if !rustix::process::getuid().is_root() || !Path::new("/lib/systemd/systemd").exists() {
        skip!("needs root and systemd, whose `EnvironmentFile=` is to read it");
    }
    let done = written_as("env");
    let read = Command::new("unshare")
        .args(["-m", "-p", "-f", "--mount-proc", "--propagation", "private"])
        .args(["sh", "-c", SYSTEMD, "sh"])
        .arg(done.dir.path())
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    if !matches!(read.status.code(), Some(0 | 10)) {
        skip!("no manager of systemd can be run here: {said}");
    }
    assert!(read.status.success(), "{said}");
    let expected = nasty_as_text();
    let seen = fs::read(done.path("seen")).unwrap();
    assert_eq!(environment(&seen, &expected), expected);
}

#[test]
fn json_is_read_back_by_jq_and_python_and_keeps_every_digit() {
    let done = written_as("json");
    let text = done.read("out");
    assert!(text.contains("\"big\":12345678901234567890123,"), "{text}");
    assert!(text.contains("\"one\":1.0,"), "{text}");
    assert!(
        !text.contains(['<', '>', '&', '\n']),
        "compact, escaped as Go does: {text}"
    );
    let expected: Value = serde_json::from_str(NASTY).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    let file = done.path("out");
    if has_program("jq") {
        for name in ["quotes", "pem", "crlf", "unicode", "html"] {
            let read = output(
                Command::new("jq")
                    .args(["-j", &format!(".{name}")])
                    .arg(&file),
            );
            assert_eq!(
                String::from_utf8(read.stdout).unwrap(),
                expected[name].as_str().unwrap()
            );
        }
    } else {
        support::skipped(module_path!(), "no `jq` to read it");
    }
    if has_program("python3") {
        let program = "import json, sys; print(json.load(open(sys.argv[1]))['big'])";
        let read = output(Command::new("python3").args(["-c", program]).arg(&file));
        assert_eq!(read.stdout, b"12345678901234567890123\n");
    } else {
        support::skipped(module_path!(), "no `python3` to read it");
    }
}

#[test]
fn yaml_is_read_back_by_pyyaml() {
    let import = Command::new("python3")
        .args(["-c", "import yaml"])
        .stderr(Stdio::null())
        .status();
    if !import.is_ok_and(|status| status.success()) {
        skip!("no PyYAML to read it");
    }
    let done = written_as("yaml");
    let program =
        "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let read = output(
        Command::new("python3")
            .args(["-c", program])
            .arg(done.path("out")),
    );
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();
    let expected: Value = serde_json::from_str(NASTY).unwrap();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&read[name], value, "{name}:\n{}", done.read("out"));
    }
    assert_eq!(read, expected);
}

#[test]
fn envfile_is_raw_and_what_it_cannot_hold_is_an_error_that_names_the_field() {
    let done = secret(
        r#"{"A": "it's $raw \"x\" ", "B": 1.0, "C": "", "D": null}"#,
        "  files: [{ path: '@DIR@/out', format: envfile }]",
    )
    .once();
    assert_eq!(done.read("out"), "A=it's $raw \"x\" \nB=1.0\nC=\nD=\n");

    for (format, body, words) in [
        (
            "envfile",
            r#"{"A": "1", "LINES": "a\nb"}"#,
            "field `LINES` has a line break",
        ),
        (
            "envfile",
            r#"{"A": "1", "a-b": "x"}"#,
            "field `a-b` is no name for a variable",
        ),
        (
            "env",
            r#"{"A": "1", "a.b": "x"}"#,
            "field `a.b` is no name for a variable",
        ),
        (
            "env",
            r#"{"A": "1", "1st": "x"}"#,
            "field `1st` is no name for a variable",
        ),
    ] {
        let done = secret(
            body,
            &format!("  files: [{{ path: '@DIR@/out', format: {format} }}]"),
        )
        .file("out", "last good")
        .status(1)
        .run(&["run", "--once"]);
        assert!(done.stderr.contains(words), "{}", done.stderr);
        assert_eq!(done.read("out"), "last good");
    }
}

#[test]
fn what_compose_reads_otherwise_is_a_warning_that_names_the_field() {
    let body = r#"{"FINE": "it's $5", "TICK": "it's `id`", "BRACE": "${HOME}"}"#;
    let done = secret(body, "  files: [{ path: '@DIR@/out', format: env }]").once();
    let warned = done
        .stderr
        .lines()
        .find(|line| line.contains("compose"))
        .unwrap_or_else(|| panic!("{}", done.stderr));
    assert!(
        warned.contains("`TICK`") && warned.contains("`BRACE`"),
        "{warned}"
    );
    assert!(
        !warned.contains("`FINE`") && !warned.contains("HOME"),
        "no values: {warned}"
    );
}
