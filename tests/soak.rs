//! The short form of `make soak`: everything goes wrong for a while, and nothing has grown after it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod support;

use std::process::Command;

use support::OpenBao;

#[test]
fn troubles_reloads_and_rotations_leave_every_file_right_and_nothing_grown() {
    if Command::new("python3").arg("--version").output().is_err() {
        skip!("python3 is not installed");
    }
    let done = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/soak.py"))
        .args(["--binary", env!("CARGO_BIN_EXE_secrets-sync"), "--bao"])
        .arg(OpenBao::program())
        .args(["--seconds", "40", "--reloads", "20", "--troubles", "3"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
}
