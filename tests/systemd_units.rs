//! The units as systemd reads them: nothing in them that it does not know, and how tight they are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stderr)] // figures

mod machine;
mod support;

use std::fs;
use std::process::Command;

use machine::{Machine, SOURCE};
use support::commands::{Said, root, run};
use support::process;

/// Prints the exposure of each unit, by name; `verify` and what systemd complains of go to stderr.
const ANALYSE: &str = r#"set -eu
from=$1
newest=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# With a program that is there, and at most one drop-in.
place() {
  rm -rf "$work"/*
  for unit in secrets-sync.service secrets-sync@.service; do
    sed 's#/usr/bin/secrets-sync#/bin/true#' "$from/$unit" >"$work/$unit"
    mkdir "$work/$unit.d"
    [ -z "$1" ] || cp "$from/drop-ins/$1.conf" "$work/$unit.d/"
  done
}
exposure() {
  systemd-analyze security --offline=true --no-pager "$work/$1" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p'
}
place ''
echo "secrets-sync.service: $(exposure secrets-sync.service)"
echo "secrets-sync@.service: $(exposure secrets-sync@.service)"
for name in any-owner dynamic-user; do
  place $name
  echo "$name.conf: $(exposure secrets-sync.service)"
done
for name in '' any-owner credentials dynamic-user $newest; do
  place "$name"
  systemd-analyze verify --man=no "$work/secrets-sync.service" "$work/secrets-sync@.service"
done
"#;

fn version(said: &Said) -> u32 {
    let word = said.stdout.split_whitespace().nth(1);
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no version: {said:?}"))
}

/// Checks what a systemd says, against what the guide says that it says.
fn check(version: u32, said: &Said) {
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "by {version}");
    eprintln!("\nexposure by systemd {version}:\n{}", said.stdout);
    let guide = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let table = guide
        .split("| exposure |")
        .nth(1)
        .expect("a table of exposure");
    let mut heads = table.lines().next().unwrap().split('|').map(str::trim);
    let column = heads.position(|head| head == version.to_string());
    let mut seen = 0;
    for (name, figure) in said.stdout.lines().filter_map(|line| line.split_once(": ")) {
        let exposure: f64 = figure.parse().unwrap();
        let bound = if name.ends_with(".service") { 1.5 } else { 2.0 };
        assert!(exposure <= bound, "{name}: {exposure}");
        seen += 1;
        if let Some(column) = column {
            let row = table
                .lines()
                .find(|line| line.contains(&format!("`{name}`")))
                .unwrap_or_else(|| panic!("`{name}` in the guide"));
            let cell = row.split('|').nth(column + 2).unwrap().trim();
            assert_eq!(cell, figure, "{name} by {version}");
        }
    }
    assert_eq!(seen, 4);
}

#[test]
fn the_systemd_of_this_machine_has_no_complaint() {
    if process::in_path("systemd-analyze").is_none() {
        skip!("needs systemd-analyze");
    }
    let mut ask = Command::new("systemctl");
    ask.arg("--version");
    let version = version(&run(ask));
    let mut command = Command::new("bash");
    command
        .args(["-c", ANALYSE, "bash"])
        .arg(root().join("packaging/systemd"))
        .arg(if version < 253 { "" } else { "notify-reload" });
    check(version, &run(command));
}

#[test]
fn nor_has_one_that_knows_all_of_it() {
    let machine = match Machine::boot() {
        Ok(machine) => machine,
        Err(why) => skip!("{why}"),
    };
    let version = version(&machine.sh("systemctl --version"));
    assert!(version >= 257);
    let from = format!("{SOURCE}/packaging/systemd");
    let command = machine.command("bash", &["-c", ANALYSE, "bash", &from, "notify-reload"]);
    check(version, &run(command));
}

#[test]
fn the_two_units_are_the_same_but_for_their_names() {
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(root().join("packaging/systemd").join(name)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let mut one = lines("secrets-sync.service");
    let mut many = lines("secrets-sync@.service");
    let differ = [
        "Description=",
        "ExecStart=",
        "Environment=METRICS_PORT=0",
        "EnvironmentFile=",
        "RuntimeDirectory=",
    ];
    for lines in [&mut one, &mut many] {
        lines.retain(|line| !differ.iter().any(|start| line.starts_with(start)));
    }
    assert_eq!(one, many);
    assert!(one.len() > 40);
}

#[test]
fn it_can_be_installed_elsewhere_and_for_packagers_below_a_directory_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let staged = dir.path().join("staged");
    let script = |name: &str| {
        let mut command = Command::new(root().join("packaging/systemd").join(name));
        command
            .env("DESTDIR", &staged)
            .env("PREFIX", "/opt/x")
            .env("SYSCONFDIR", "/opt/x/etc")
            .env("BINARY", "/bin/true");
        run(command).expect_success(name);
    };
    let files = || -> Vec<String> {
        let mut find = Command::new("find");
        find.arg(&staged)
            .args(["-type", "f", "-printf", "%m /%P\\n"]);
        let said = run(find);
        let mut files: Vec<_> = said.stdout.lines().map(str::to_owned).collect();
        files.retain(|file| !file.contains("/share/"));
        files.sort();
        files
    };
    script("install.sh");
    let installed = files();
    assert_eq!(
        installed,
        [
            "640 /opt/x/etc/secrets-sync/secrets-sync.env",
            "644 /etc/systemd/system/secrets-sync.service",
            "644 /etc/systemd/system/secrets-sync@.service",
            "644 /etc/sysusers.d/secrets-sync.conf",
            "644 /etc/tmpfiles.d/secrets-sync.conf",
            "755 /opt/x/bin/secrets-sync",
        ]
    );
    let unit = staged.join("etc/systemd/system/secrets-sync.service");
    let unit = fs::read_to_string(unit).unwrap();
    for line in [
        "ExecStart=/opt/x/bin/secrets-sync --config /opt/x/etc/secrets-sync/config.yaml",
        "EnvironmentFile=-/opt/x/etc/secrets-sync/secrets-sync.env",
    ] {
        assert!(unit.lines().any(|has| has == line), "no `{line}` in {unit}");
    }
    script("install.sh");
    assert_eq!(files(), installed);
    script("uninstall.sh");
    assert_eq!(files(), ["640 /opt/x/etc/secrets-sync/secrets-sync.env"]);
    let mut find = Command::new("find");
    find.arg(staged.join("opt/x/share")).args(["-type", "f"]);
    assert_eq!(run(find).stdout, "");
}
