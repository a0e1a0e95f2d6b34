//! What a start removes, and above all what it leaves alone.

use std::os::unix::fs::symlink;

use super::*;
use crate::files::{Swept, sweep};

const TEMPORARY: &str = ".secrets-sync-abcdefABCD09.tmp";
const GENERATION: &str = "..2026_01_02_03_04_05.abcdefABCD09";

fn sweep_one(target: Target, directory: bool) -> Swept {
    let targets = [target];
    sweep([(targets.as_slice(), directory)])
}

#[test]
fn temporaries_beside_targets_are_removed_and_nothing_else() {
    let home = Home::new();
    for name in [
        TEMPORARY,
        ".secrets-sync-000000000000.tmp",
        ".secrets-sync-short.tmp",
        ".secrets-sync-abcdefABCD-9.tmp",
        ".secrets-sync-abcdefABCD091.tmp",
        ".secrets-sync-abcdefABCD09.tmp.bak",
        "secrets-sync-abcdefABCD09.tmp",
        "file",
    ] {
        fs::write(home.path(name), "x").unwrap();
    }
    fs::create_dir(home.path("sub")).unwrap();
    fs::write(home.path("sub").join(TEMPORARY), "x").unwrap();
    fs::create_dir(home.path(GENERATION)).unwrap();
    let swept = sweep_one(target(home.path("file")), false);
    assert_eq!(swept.removed.len(), 2);
    assert_eq!(swept.warnings, Vec::<String>::new());
    assert_eq!(
        home.names(),
        [
            GENERATION,
            ".secrets-sync-abcdefABCD-9.tmp",
            ".secrets-sync-abcdefABCD09.tmp.bak",
            ".secrets-sync-abcdefABCD091.tmp",
            ".secrets-sync-short.tmp",
            "file",
            "secrets-sync-abcdefABCD09.tmp",
            "sub",
        ]
    );
    assert_eq!(names(&home.path("sub")), [TEMPORARY]);

    let dir = Target {
        is_dir: true,
        ..target(home.path("sub"))
    };
    assert_eq!(sweep_one(dir, false).removed.len(), 1);
}

#[test]
fn what_only_has_such_a_name_is_left_alone() {
    let home = Home::new();
    let names = [
        "000000000001",
        "000000000002",
        "000000000003",
        "000000000004",
        "000000000005",
    ]
    .map(|random| format!(".secrets-sync-{random}.tmp"));
    fs::write(home.path("victim"), "x").unwrap();
    symlink("victim", home.path(&names[0])).unwrap();
    fs::create_dir(home.path(&names[1])).unwrap();
    assert!(succeeds(Command::new("mkfifo").arg(home.path(&names[2]))));
    fs::write(home.path(&names[3]), "x").unwrap();
    fs::hard_link(home.path(&names[3]), home.path(&names[4])).unwrap();
    let before = picture(home.dir.path());
    let swept = sweep_one(target(home.path("file")), false);
    assert_eq!((swept.removed.len(), swept.warnings.len()), (0, 0));
    assert_eq!(picture(home.dir.path()), before);
}

#[test]
fn a_temporary_that_is_locked_is_left_alone() {
    let home = Home::new();
    fs::write(home.path(TEMPORARY), "x").unwrap();
    let file = fs::File::open(home.path(TEMPORARY)).unwrap();
    file.lock().unwrap();
    assert_eq!(sweep_one(target(home.path("file")), false).removed.len(), 0);
    assert_eq!(home.names(), [TEMPORARY]);
    // Let go outright: a process that another test starts just now holds the descriptor, too.
    file.unlock().unwrap();
    assert_eq!(sweep_one(target(home.path("file")), false).removed.len(), 1);
}

#[test]
fn one_that_was_given_away_is_taken_back_unless_it_is_locked() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let path = home.path(TEMPORARY);
    fs::write(&path, "x").unwrap();
    chmod(&path, 0o400);
    std::os::unix::fs::chown(&path, Some(12345), Some(12345)).unwrap();
    let locked = fs::File::open(&path).unwrap();
    locked.lock().unwrap();
    let blind = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let attempt = || without(blind, || sweep_one(target(home.path("file")), false));
    assert_eq!(attempt().removed.len(), 0);
    assert_eq!(look(&path), (0o400, 12345, 12345));
    locked.unlock().unwrap();
    let swept = attempt();
    assert_eq!(swept.warnings, Vec::<String>::new());
    assert_eq!(swept.removed, [path]);
}

#[test]
fn one_that_cannot_be_removed_is_named() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    fs::write(home.path(TEMPORARY), "x").unwrap();
    chmod(&home.path(TEMPORARY), 0o600);
    let swept = as_user(23456, &[], || sweep_one(target(home.path("file")), false));
    assert_eq!(swept.removed.len(), 0);
    assert!(
        swept.warnings[0].contains(TEMPORARY),
        "{:?}",
        swept.warnings
    );
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let home = Home::new();
    let swept = sweep_one(target(home.path("no/such/file")), true);
    assert_eq!((swept.removed.len(), swept.warnings.len()), (0, 0));
    assert_eq!(home.names(), Vec::<String>::new());
}

#[test]
fn generations_that_data_does_not_name_are_removed() {
    let home = Home::new();
    let mut writer = Writer::new(vec![target(home.path("key"))], true);
    writer.commit(&files(&["x"])).unwrap();
    let current = fs::read_link(home.path("..data")).unwrap();
    fs::create_dir(home.path(GENERATION)).unwrap();
    fs::write(home.path(GENERATION).join("key"), "stale").unwrap();
    fs::create_dir(home.path("..2026_01_02_03_04_05.1234567890")).unwrap();
    fs::create_dir(home.path("..mine")).unwrap();
    let busy = home.path("..2026_01_02_03_04_05.busybusybusy");
    fs::create_dir(&busy).unwrap();
    let lock = fs::File::open(&busy).unwrap();
    lock.lock().unwrap();

    let swept = sweep([(writer.targets(), true)]);
    assert_eq!(swept.removed, [home.path(GENERATION)]);
    assert_eq!(swept.warnings, Vec::<String>::new());
    assert!(home.path(current.to_str().unwrap()).is_dir());
    assert_eq!(read(home.path("key")), "x");
    assert_eq!(home.names().len(), 6);
}
