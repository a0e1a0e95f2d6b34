//! Owners, and daemons that may not do everything.

use super::faults::{self, Fault, Faults};
use super::*;

const APP: u32 = 12345;
const DAEMON: u32 = 23456;

fn owned(path: impl AsRef<Path>, owner: Option<u32>, group: Option<u32>) -> Target {
    Target {
        owner,
        group,
        ..with_mode(path, "0440")
    }
}

fn chown(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
}

#[test]
fn owners_are_exact_and_their_drift_is_repaired() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let path = home.path("file");
    let mut writer = Writer::new(vec![owned(&path, Some(APP), Some(APP + 1))], false);
    writer.prove().unwrap();
    writer.commit(&files(&["x"])).unwrap();
    assert_eq!(look(&path), (0o440, APP, APP + 1));
    for (uid, gid) in [(0, APP + 1), (APP, 0)] {
        chown(&path, uid, gid);
        assert_eq!(writer.commit(&files(&["x"])).unwrap().written.len(), 1);
        assert_eq!(look(&path), (0o440, APP, APP + 1));
    }
    assert_eq!(writer.commit(&files(&["x"])).unwrap().unchanged, 1);
}

#[test]
fn without_an_owner_the_file_is_the_daemons_even_in_a_set_gid_directory() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    fs::create_dir(home.path("dir")).unwrap();
    chown(&home.path("dir"), 0, APP);
    chmod(&home.path("dir"), 0o2755);
    write(vec![target(home.path("dir/a"))], &["x"]).unwrap();
    assert_eq!(look(home.path("dir/a")), (0o600, 0, 0));
    fs::write(home.path("dir/b"), "x").unwrap();
    chown(&home.path("dir/b"), APP, APP);
    write(vec![target(home.path("dir/b"))], &["x"]).unwrap();
    assert_eq!(look(home.path("dir/b")), (0o600, 0, 0));
}

#[test]
fn an_owner_that_cannot_be_set_is_found_by_the_proof() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    chown(home.dir.path(), DAEMON, DAEMON);
    for target in [
        owned(home.path("a"), Some(APP), None),
        owned(home.path("a"), None, Some(APP)),
    ] {
        let error = as_user(DAEMON, &[], || write(vec![target], &["x"])).unwrap_err();
        assert_eq!(error.step, "set the owner of");
        assert_eq!(error.path, home.path("a"));
        let help = error.help.unwrap();
        assert!(
            help.contains("CAP_CHOWN") && help.contains("SupplementaryGroups="),
            "{help}"
        );
    }
    assert_eq!(home.names(), Vec::<String>::new());
    as_user(DAEMON, &[APP], || {
        write(vec![owned(home.path("a"), None, Some(APP))], &["x"]).unwrap();
    });
    assert_eq!(look(home.path("a")), (0o440, DAEMON, APP));
}

#[test]
fn a_directory_that_is_not_writable_is_found_by_the_proof() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    for path in ["a", "b/c/d"] {
        let target = target(home.path(path));
        let error = as_user(DAEMON, &[], || write(vec![target], &["x"])).unwrap_err();
        assert!(error.cause.contains("Permission denied"), "{error}");
        let help = error.help.unwrap();
        assert!(
            help.contains("uid 23456") && help.contains("SupplementaryGroups="),
            "{help}"
        );
    }
    assert_eq!(home.names(), Vec::<String>::new());
}

#[test]
fn a_directory_that_may_be_searched_but_not_read_is_no_obstacle() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    fs::create_dir_all(home.path("closed/in")).unwrap();
    chmod(&home.path("closed"), 0o711);
    chown(&home.path("closed/in"), 0, DAEMON);
    chmod(&home.path("closed/in"), 0o730);
    let path = home.path("closed/in/file");
    as_user(DAEMON, &[], || {
        write(vec![target(&path)], &["x"]).unwrap();
        assert_eq!(write(vec![target(&path)], &["x"]).unwrap().unchanged, 1);
    });
    chmod(&home.path("closed"), 0o700);
    let error = as_user(DAEMON, &[], || write(vec![target(&path)], &["x"])).unwrap_err();
    assert_eq!(error.path, home.path("closed/in"));
    assert!(error.help.unwrap().contains("search permission"));
}

#[test]
fn what_may_not_be_read_back_is_recognised_until_somebody_touches_it() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let path = home.path("file");
    let blind = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    without(blind, || {
        let mut writer = Writer::new(vec![owned(&path, Some(APP), Some(APP))], false);
        writer.prove().unwrap();
        writer.commit(&files(&["one"])).unwrap();
        assert!(fs::read(&path).is_err(), "the daemon is blind");
        let kept = inode(&path);
        assert_eq!(writer.commit(&files(&["one"])).unwrap().unchanged, 1);
        assert_eq!(inode(&path), kept);
        let changes = writer.compare(&files(&["one"])).unwrap();
        assert!(!changes[0].content && changes[0].old_size.is_none());
        // Another content of the same size.
        assert_eq!(writer.commit(&files(&["two"])).unwrap().written.len(), 1);
        // An edit of the same size by its owner.
        as_user_in_root(&path, "six");
        assert_eq!(writer.commit(&files(&["two"])).unwrap().written.len(), 1);
        // A new writer knows nothing.
        let mut fresh = Writer::new(vec![owned(&path, Some(APP), Some(APP))], false);
        assert_eq!(fresh.commit(&files(&["two"])).unwrap().written.len(), 1);
    });
    assert_eq!(read(&path), "two");
}

#[test]
fn a_file_of_the_daemons_own_that_is_refused_all_the_same_is_written_once_more_and_then_recognised()
{
    let home = Home::new();
    let path = home.path("file");
    let mut writer = Writer::new(vec![target(&path)], false);
    let contents = files(&["one"]);
    writer.commit(&contents).unwrap();
    // As a security module does: nothing of its mode or owner tells of it.
    let mut blind = || {
        let refused = Fault::Error(rustix::io::Errno::ACCESS);
        let (done, calls) = faults::with(
            Faults {
                at: Some((2, refused)),
                ..Faults::default()
            },
            || writer.commit(&contents),
        );
        assert_eq!(calls[..3], ["open_way", "named_node", "open"]);
        done.unwrap()
    };
    assert_eq!(blind().written.len(), 1);
    let kept = inode(&path);
    assert_eq!(blind().unchanged, 1);
    assert_eq!(inode(&path), kept);
    fs::write(&path, "two").unwrap();
    assert_eq!(blind().written.len(), 1);
    assert_eq!(read(&path), "one");
}

/// Writes as the file's owner would, from a process with all of root's rights.
fn as_user_in_root(path: &Path, content: &str) {
    let script = format!(
        "chmod u+w '{0}' && printf {content} > '{0}' && chmod u-w '{0}'",
        path.display()
    );
    assert!(succeeds(Command::new("setpriv").args([
        "--reuid=12345",
        "--clear-groups",
        "sh",
        "-c",
        &script,
    ])));
}

#[test]
fn a_foreign_file_in_a_sticky_directory_needs_cap_fowner() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    chmod(home.dir.path(), 0o1777);
    fs::write(home.path("file"), "old").unwrap();
    chown(&home.path("file"), APP, APP);
    let error = as_user(DAEMON, &[], || {
        write(vec![target(home.path("file"))], &["x"])
    });
    let error = error.unwrap_err();
    assert_eq!(error.step, "replace");
    assert!(error.help.unwrap().contains("CAP_FOWNER"));
    assert_eq!(read(home.path("file")), "old");
    assert_eq!(home.names(), ["file"]);
}

#[test]
fn a_failure_after_the_first_rename_says_how_far_it_came_and_heals() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    chown(home.dir.path(), DAEMON, DAEMON);
    fs::create_dir(home.path("sticky")).unwrap();
    chmod(&home.path("sticky"), 0o1777);
    fs::write(home.path("sticky/b"), "old").unwrap();
    chown(&home.path("sticky/b"), APP, APP);
    let targets = vec![
        target(home.path("a")),
        target(home.path("sticky/b")),
        target(home.path("c")),
    ];
    let mut writer = Writer::new(targets, false);
    let contents = files(&["1", "2", "3"]);
    let error = as_user(DAEMON, &[], || writer.commit(&contents)).unwrap_err();
    let [a, b, c] = ["a", "sticky/b", "c"].map(|name| format!("`{}`", home.path(name).display()));
    assert!(
        error
            .cause
            .contains(&format!("new already: {a}; not yet: {b}, {c}")),
        "{error}"
    );
    assert_eq!(home.names(), ["a", "sticky"]);
    assert_eq!(names(&home.path("sticky")), ["b"]);
    assert_eq!(read(home.path("sticky/b")), "old");

    fs::remove_file(home.path("sticky/b")).unwrap();
    let committed = as_user(DAEMON, &[], || writer.commit(&contents)).unwrap();
    assert_eq!((committed.written.len(), committed.unchanged), (2, 1));
}
