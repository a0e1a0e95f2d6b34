//! What others put in the way.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

/// A user who is not the daemon's.
const OTHER: u32 = 12345;

fn chown(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
}

/// `real/` and a link `link` to it, in `home`.
fn linked(home: &Home) -> (PathBuf, PathBuf) {
    fs::create_dir(home.path("real")).unwrap();
    symlink("real", home.path("link")).unwrap();
    (home.path("real"), home.path("link"))
}

#[test]
fn links_of_the_daemons_user_are_followed_relative_and_absolute() {
    let home = Home::new();
    let (real, link) = linked(&home);
    symlink(&real, home.path("absolute")).unwrap();
    symlink("absolute/../link/./sub", home.path("long")).unwrap();
    write(vec![target(link.join("one"))], &["1"]).unwrap();
    write(vec![target(home.path("absolute/two"))], &["2"]).unwrap();
    write(vec![target(home.path("long/three"))], &["3"]).unwrap();
    assert_eq!(names(&real), ["one", "sub", "two"]);
    assert_eq!(read(real.join("sub/three")), "3");
}

#[test]
fn a_link_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let (real, link) = linked(&home);
    chown(&link, OTHER);
    let error = write(vec![target(link.join("sub/file"))], &["x"]).unwrap_err();
    assert_eq!(error.path, link);
    assert!(error.cause.contains("uid 12345"), "{error}");
    assert!(error.help.is_some());
    assert_eq!(names(&real), Vec::<String>::new());
}

#[test]
fn a_link_in_a_directory_that_others_may_write_is_refused() {
    for (mode, trusted) in [
        (0o777, false),
        (0o775, false),
        (0o1777, true),
        (0o755, true),
    ] {
        let home = Home::new();
        let (real, link) = linked(&home);
        chmod(home.dir.path(), mode);
        let result = write(vec![target(link.join("file"))], &["x"]);
        assert_eq!(result.is_ok(), trusted, "{mode:o}: {result:?}");
        assert_eq!(real.join("file").exists(), trusted, "{mode:o}");
    }
    if is_root() {
        let home = Home::new();
        let (_, link) = linked(&home);
        chown(home.dir.path(), OTHER);
        assert!(write(vec![target(link.join("file"))], &["x"]).is_err());
    }
}

#[test]
fn an_untrusted_link_behind_a_trusted_one_is_refused() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let (real, link) = linked(&home);
    chown(&link, OTHER);
    symlink("link", home.path("outer")).unwrap();
    assert!(write(vec![target(home.path("outer/file"))], &["x"]).is_err());
    assert_eq!(names(&real), Vec::<String>::new());
}

#[test]
fn links_in_a_circle_end() {
    let home = Home::new();
    symlink("b", home.path("a")).unwrap();
    symlink("a", home.path("b")).unwrap();
    let error = write(vec![target(home.path("a/file"))], &["x"]).unwrap_err();
    assert!(error.cause.contains("symbolic links"), "{error}");
}

#[test]
fn a_file_on_the_way_is_named() {
    let home = Home::new();
    fs::write(home.path("file"), "").unwrap();
    let error = write(vec![target(home.path("file/below"))], &["x"]).unwrap_err();
    assert_eq!(error.path, home.path("file"));
    assert!(error.cause.contains("a regular file"), "{error}");
}

#[test]
fn a_target_that_is_no_regular_file_is_refused_and_left_alone() {
    let home = Home::new();
    fs::write(home.path("victim"), "precious").unwrap();
    symlink(home.path("victim"), home.path("link")).unwrap();
    symlink("nowhere", home.path("dangling")).unwrap();
    fs::create_dir(home.path("dir")).unwrap();
    let _socket = UnixListener::bind(home.path("socket")).unwrap();
    assert!(succeeds(Command::new("mkfifo").arg(home.path("fifo"))));
    let mut cases = vec![
        (home.path("link"), "a symbolic link"),
        (home.path("dangling"), "a symbolic link"),
        (home.path("dir"), "a directory"),
        (home.path("socket"), "a socket"),
        (home.path("fifo"), "a FIFO"),
        (PathBuf::from("/dev/null"), "a device"),
    ];
    if !is_root() {
        cases.pop();
    }
    for (path, kind) in cases {
        for in_place in [false, true] {
            let target = Target {
                in_place,
                ..target(&path)
            };
            let mut writer = Writer::new(vec![target], false);
            let before = picture(home.dir.path());
            for error in [
                writer.prove().unwrap_err(),
                writer.commit(&files(&["x"])).unwrap_err(),
                writer.compare(&files(&["x"])).unwrap_err(),
            ] {
                assert!(error.cause.contains(kind), "{error}");
                assert_eq!(error.path, path);
            }
            assert_eq!(picture(home.dir.path()), before);
        }
    }
    assert_eq!(read(home.path("victim")), "precious");
}

#[test]
fn a_directory_that_is_swapped_on_the_way_gets_nothing() {
    // Another thread exchanges the directory with a link to elsewhere, all the time: the content
    // lands in the one or is refused, and never elsewhere.
    if !is_root() {
        return;
    }
    let home = Home::new();
    let (inside, spare, link) = (home.path("d"), home.path("spare"), home.path("l"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(home.path("elsewhere")).unwrap();
    symlink("elsewhere", &link).unwrap();
    chown(&link, OTHER);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let still = || !stop.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while still() {
                let _ = fs::rename(&inside, &spare);
                let _ = fs::rename(&link, &inside);
                let _ = fs::rename(&inside, &link);
                let _ = fs::rename(&spare, &inside);
            }
        });
        let mut done = 0;
        for round in 0..2000 {
            done += usize::from(
                write(vec![target(inside.join("f"))], &[&format!("round {round}")]).is_ok(),
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(done > 0);
    });
    assert_eq!(names(&home.path("elsewhere")), Vec::<String>::new());
}
