//! Tells the program which sources and tools it was built from. It needs nothing but, where there
//! is a checkout, git; and it never asks the clock, so that one commit always gives one binary.

#![allow(clippy::print_stdout)] // how build scripts speak

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");

    let checkout = is_checkout();
    let head = |format: &str| {
        checkout
            .then(|| {
                git(&[
                    "show",
                    "-s",
                    "--no-show-signature",
                    &format!("--format={format}"),
                ])
            })
            .flatten()
    };
    if checkout {
        watch_head();
    }
    let epoch = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| head("%ct"))
        .and_then(|seconds| seconds.trim().parse().ok());

    tell("REVISION", head("%H"));
    tell("COMMIT_DATE", epoch.map(utc));
    tell("TARGET", std::env::var("TARGET").ok());
    let rustc = rustc();
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl")
        && rustc.as_deref().is_some_and(has_musl_1_2_5)
    {
        // 110 KB of relocations become 1.4 KB. A linker that does not know the word says so and goes on.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    tell("RUSTC", rustc);
}

/// Whether the musl that comes with this compiler can start a program whose relocations are packed; the one
/// before (1.2.3, until Rust 1.92) cannot.
fn has_musl_1_2_5(rustc: &str) -> bool {
    let mut numbers = rustc.split('.').map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(1), Some(93))
}

fn tell(name: &str, value: Option<String>) {
    let value = value.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SECRETS_SYNC_{name}={value}");
}

/// Whether git's checkout is this package, and not one that it happens to lie in.
fn is_checkout() -> bool {
    Path::new(".git").exists()
        && git(&["rev-parse", "--show-toplevel"])
            .and_then(|top| Path::new(&top).canonicalize().ok())
            .zip(Path::new(".").canonicalize().ok())
            .is_some_and(|(top, here)| top == here)
}

/// Asks to be run again when HEAD is another commit, and not for anything else: its own log tells
/// that also where the branch is packed. Only files that exist are named, since one that does not
/// would run this every time.
fn watch_head() {
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    output(Command::new("git").args(arguments))
}

fn rustc() -> Option<String> {
    let version = output(Command::new(std::env::var_os("RUSTC")?).arg("--version"))?;
    Some(version.trim_start_matches("rustc ").to_owned())
}

/// What a command says on one line, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// Seconds since 1970 as RFC 3339, by Howard Hinnant's `civil_from_days`.
fn utc(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}
