//! `layout: directory`.

use std::os::unix::fs::symlink;

use super::*;
use crate::files::name;

fn writer(home: &Home, names: &[&str]) -> Writer {
    let targets = names
        .iter()
        .map(|name| with_mode(home.path(&format!("d/{name}")), "0640"));
    Writer::new(targets.collect(), true)
}

fn generations(dir: &Path) -> Vec<String> {
    let mut names = names(dir);
    names.retain(|name| name::is_generation(name.as_ref()));
    names
}

#[test]
fn all_files_are_switched_by_one_link() {
    let home = Home::new();
    let dir = home.path("d");
    let mut writer = writer(&home, &["crt", "key"]);
    assert_eq!(writer.prove().unwrap(), Vec::<String>::new());
    assert_eq!(names(&dir), Vec::<String>::new());
    let committed = writer.commit(&files(&["cert 1", "key 1"])).unwrap();
    assert_eq!(committed.written, [dir.join("crt"), dir.join("key")]);
    assert_eq!(
        fs::read_link(dir.join("crt")).unwrap(),
        Path::new("..data/crt")
    );
    assert_eq!(
        fs::read_link(dir.join("key")).unwrap(),
        Path::new("..data/key")
    );
    let first = generations(&dir);
    assert_eq!(first.len(), 1);
    assert_eq!(
        fs::read_link(dir.join("..data")).unwrap(),
        Path::new(&first[0])
    );
    assert_eq!(look(dir.join(&first[0])).0, 0o755);
    assert_eq!(look(fs::canonicalize(dir.join("key")).unwrap()).0, 0o640);

    let before = picture(&dir);
    let committed = writer.commit(&files(&["cert 1", "key 1"])).unwrap();
    assert_eq!((committed.written.len(), committed.unchanged), (0, 2));
    assert_eq!(picture(&dir), before);

    let committed = writer.commit(&files(&["cert 1", "key 2"])).unwrap();
    assert_eq!(committed.written, [dir.join("key")]);
    assert_eq!(committed.unchanged, 1);
    assert_eq!(
        (read(dir.join("crt")), read(dir.join("key"))),
        ("cert 1".into(), "key 2".into())
    );
    // Whoever was on the way to the old ones still gets there; then they go.
    assert!(writer.has_old() && generations(&dir).len() == 2);
    assert_eq!(writer.remove_old().unwrap(), Vec::<String>::new());
    assert!(!writer.has_old());
    let second = generations(&dir);
    assert!(second.len() == 1 && second != first, "{second:?}");
    assert_eq!(names(&dir).len(), 4);
}

#[test]
fn a_pinned_generation_is_never_a_mixture() {
    // A reader that resolves ..data once sees files of one commit, while another thread commits.
    let home = Home::new();
    let dir = home.path("d");
    let mut writer = writer(&home, &["crt", "key"]);
    writer.commit(&files(&["0", "0"])).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..300 {
                let text = round.to_string();
                writer.commit(&files(&[&text, &text])).unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut pairs = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let pinned = dir.join(fs::read_link(dir.join("..data")).unwrap());
            // Gone already, when the switch came in between.
            let pair = ["crt", "key"].map(|name| fs::read_to_string(pinned.join(name)));
            if let [Ok(crt), Ok(key)] = pair {
                assert_eq!(crt, key);
                pairs += 1;
            }
        }
        assert!(pairs > 0);
    });
}

#[test]
fn drift_is_repaired() {
    let home = Home::new();
    let dir = home.path("d");
    let mut writer = writer(&home, &["crt", "key"]);
    let contents = files(&["cert", "key"]);
    writer.commit(&contents).unwrap();
    let in_use = || fs::canonicalize(dir.join("..data")).unwrap();
    let drifts: [(&str, &dyn Fn()); 8] = [
        ("edited", &|| fs::write(dir.join("key"), "KEY").unwrap()),
        ("chmod", &|| chmod(&in_use().join("key"), 0o600)),
        ("chmod of all", &|| chmod(&in_use(), 0o700)),
        ("file gone", &|| {
            fs::remove_file(in_use().join("key")).unwrap()
        }),
        ("link gone", &|| fs::remove_file(dir.join("key")).unwrap()),
        ("data gone", &|| {
            fs::remove_file(dir.join("..data")).unwrap()
        }),
        ("generation gone", &|| fs::remove_dir_all(in_use()).unwrap()),
        ("data elsewhere", &|| {
            fs::remove_file(dir.join("..data")).unwrap();
            symlink("/tmp", dir.join("..data")).unwrap();
        }),
    ];
    for (what, drift) in drifts {
        drift();
        assert!(
            !writer.commit(&contents).unwrap().written.is_empty(),
            "{what}"
        );
        assert_eq!(
            (read(dir.join("crt")), read(dir.join("key"))),
            ("cert".into(), "key".into())
        );
        assert_eq!(look(in_use().join("key")).0, 0o640, "{what}");
        writer.remove_old().unwrap();
        assert_eq!(generations(&dir).len(), 1, "{what}");
        assert_eq!(writer.commit(&contents).unwrap().unchanged, 2, "{what}");
    }
}

#[test]
fn plain_files_become_links_and_old_content_is_there_till_the_switch() {
    let home = Home::new();
    let dir = home.path("d");
    let mut writer = writer(&home, &["crt", "key"]);
    let separate = writer.targets().to_vec();
    write(separate.clone(), &["cert", "key"]).unwrap();
    let changes = writer.compare(&files(&["cert", "key"])).unwrap();
    assert!(
        changes
            .iter()
            .all(|change| !change.content && change.attributes)
    );
    assert_eq!(
        writer
            .commit(&files(&["cert", "key"]))
            .unwrap()
            .written
            .len(),
        2
    );
    assert_eq!(
        fs::read_link(dir.join("crt")).unwrap(),
        Path::new("..data/crt")
    );
    assert_eq!(read(dir.join("crt")), "cert");
    assert_eq!(names(&dir).len(), 4);

    let error = write(separate, &["cert", "key"]).unwrap_err();
    assert!(error.help.unwrap().contains("layout: directory"));
}

#[test]
fn a_link_that_is_not_ours_is_refused() {
    let home = Home::new();
    let dir = home.path("d");
    fs::create_dir(&dir).unwrap();
    for text in ["/etc/passwd", "..data/other", "..data"] {
        symlink(text, dir.join("key")).unwrap();
        let mut writer = writer(&home, &["key"]);
        assert!(writer.prove().is_err());
        assert!(writer.compare(&files(&["x"])).is_err());
        let error = writer.commit(&files(&["x"])).unwrap_err();
        assert!(error.cause.contains("symbolic link"), "{error}");
        assert_eq!(names(&dir), ["key"]);
        fs::remove_file(dir.join("key")).unwrap();
    }
    fs::create_dir(dir.join("..data")).unwrap();
    let error = writer(&home, &["key"]).commit(&files(&["x"])).unwrap_err();
    assert!(error.cause.contains("a directory"), "{error}");
}

#[test]
fn a_vanished_fields_file_is_carried_over() {
    let home = Home::new();
    let dir = Target {
        is_dir: true,
        ..target(home.path("d"))
    };
    let mut writer = Writer::new(vec![dir], true);
    writer.prove().unwrap();
    writer.commit(&fields(&[("a", "1"), ("b", "2")])).unwrap();
    let committed = writer.commit(&fields(&[("a", "3")])).unwrap();
    assert!(
        committed.warnings[0].contains("`b`"),
        "{:?}",
        committed.warnings
    );
    assert_eq!(
        writer.commit(&fields(&[("a", "4")])).unwrap().warnings,
        Vec::<String>::new()
    );
    assert_eq!(read(home.path("d/a")), "4");
    assert_eq!(read(home.path("d/b")), "2");
    // Never more than the one before.
    assert_eq!(generations(&home.path("d")).len(), 2);
    let error = writer.commit(&fields(&[("..data", "x")])).unwrap_err();
    assert!(error.cause.contains("`..`"), "{error}");
}

#[test]
fn a_failure_before_the_switch_leaves_everything_as_it_was() {
    with_mounts(|home| {
        mount(&[
            "-t",
            "tmpfs",
            "-o",
            "size=64k",
            "tmpfs",
            home.dir.path().to_str().unwrap(),
        ]);
        writer(home, &["crt", "key"])
            .commit(&files(&["cert", "key"]))
            .unwrap();
        let before = picture(&home.path("d"));
        let mut writer = writer(home, &["crt", "key", "new"]);
        let huge = "x".repeat(100_000);
        let error = writer.commit(&files(&["1", "2", &huge])).unwrap_err();
        assert!(error.cause.contains("No space"), "{error}");
        assert_eq!(picture(&home.path("d")), before);
        writer.commit(&files(&["1", "2", "3"])).unwrap();
        assert_eq!(read(home.path("d/new")), "3");
    });
}

#[test]
fn when_the_switch_itself_fails_nothing_is_left_of_it() {
    let home = Home::new();
    let dir = home.path("d");
    writer(&home, &["key"]).commit(&files(&["old"])).unwrap();
    fs::create_dir(dir.join("..data_tmp")).unwrap();
    let before = names(&dir);
    let mut writer = writer(&home, &["key", "new"]);
    let error = writer.commit(&files(&["1", "2"])).unwrap_err();
    assert_eq!(error.path, dir.join("..data"));
    assert_eq!(names(&dir), before);
    assert_eq!(read(dir.join("key")), "old");
    // What a crash leaves is a link, and no obstacle.
    fs::remove_dir(dir.join("..data_tmp")).unwrap();
    symlink("..somewhere", dir.join("..data_tmp")).unwrap();
    writer.commit(&files(&["1", "2"])).unwrap();
    assert_eq!(read(dir.join("new")), "2");
}

#[test]
fn a_vanished_fields_file_that_cannot_have_a_second_name_is_moved() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let dir = Target {
        is_dir: true,
        owner: Some(12345),
        group: Some(12345),
        ..target(home.path("d"))
    };
    let mut writer = Writer::new(vec![dir], true);
    // Hard links to files of others that one may not open are forbidden by default
    // (`fs.protected_hardlinks`).
    let blind = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    without(blind | CapabilitySet::FOWNER, || {
        writer.commit(&fields(&[("a", "1"), ("b", "2")])).unwrap();
        writer.commit(&fields(&[("a", "3")])).unwrap();
    });
    assert_eq!(read(home.path("d/a")), "3");
    assert_eq!(read(home.path("d/b")), "2");
    assert_eq!(look(fs::canonicalize(home.path("d/b")).unwrap()).1, 12345);
}

#[test]
fn anothers_generation_is_replaced_and_nothing_taken_from_it() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let dir = home.path("d");
    let theirs = dir.join("..2026_01_02_03_04_05.abcdefABCD09");
    fs::create_dir_all(&theirs).unwrap();
    for name in ["key", "extra"] {
        fs::write(theirs.join(name), "x").unwrap();
        chmod(&theirs.join(name), 0o640);
    }
    std::os::unix::fs::chown(&theirs, Some(12345), Some(12345)).unwrap();
    symlink(theirs.file_name().unwrap(), dir.join("..data")).unwrap();
    symlink("..data/key", dir.join("key")).unwrap();
    let mut writer = writer(&home, &["key"]);
    writer.commit(&files(&["x"])).unwrap();
    let now = fs::canonicalize(dir.join("..data")).unwrap();
    assert_eq!(look(&now).1, 0);
    assert_eq!(names(&now), ["key"]);
    writer.remove_old().unwrap();
    assert!(!theirs.exists());
}

#[test]
fn files_of_two_directories_and_in_place_are_refused() {
    let home = Home::new();
    let apart = vec![target(home.path("a/x")), target(home.path("b/y"))];
    assert!(Writer::new(apart, true).prove().is_err());
    let in_place = Target {
        in_place: true,
        ..target(home.path("a/x"))
    };
    assert!(Writer::new(vec![in_place], true).prove().is_err());
    assert_eq!(home.names(), Vec::<String>::new());
}

#[test]
fn comparing_makes_nothing() {
    let home = Home::new();
    let writer = writer(&home, &["crt"]);
    assert!(writer.compare(&files(&["x"])).unwrap()[0].content);
    assert_eq!(home.names(), Vec::<String>::new());
}
