//! What `harden` does to a process, as the kernel sees it. Alone in its file: it cannot be undone.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::os::unix::fs::PermissionsExt;

#[test]
fn a_hardened_process_leaves_no_core_and_no_readable_file() {
    assert_eq!(secrets_sync::cli::process::harden(), [] as [String; 0]);

    let own = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(own().contains("\nUmask:\t0077\n"));
    // Of the thread that called it, and of those that come after.
    assert!(own().contains("\nNoNewPrivs:\t1\n"));
    let later = std::thread::spawn(own).join().unwrap();
    assert!(later.contains("\nNoNewPrivs:\t1\n"));

    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let numbers: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"]);
    assert_eq!(
        rustix::process::dumpable_behavior().unwrap(),
        rustix::process::DumpableBehavior::NotDumpable
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
