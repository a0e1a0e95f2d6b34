//! What a commit leaves on disk.

use super::*;

#[test]
fn files_are_written_with_exact_modes_and_found_right_the_next_time() {
    let home = Home::new();
    let targets = vec![
        with_mode(home.path("a/b/key"), "0600"),
        with_mode(home.path("a/cert"), "0644"),
        with_mode(home.path("a/shared"), "0660"),
    ];
    let mut writer = Writer::new(targets, false);
    assert_eq!(writer.prove().unwrap(), Vec::<String>::new());
    let contents = files(&["the key", "the cert", "shared"]);
    let committed = writer.commit(&contents).unwrap();
    assert_eq!(committed.written.len(), 3);
    assert_eq!(committed.unchanged, 0);
    assert_eq!(read(home.path("a/b/key")), "the key");
    assert_eq!(look(home.path("a/b/key")).0, 0o600);
    assert_eq!(look(home.path("a/cert")).0, 0o644);
    assert_eq!(look(home.path("a/shared")).0, 0o660);

    let before = picture(home.dir.path());
    let committed = writer.commit(&contents).unwrap();
    assert_eq!((committed.written.len(), committed.unchanged), (0, 3));
    let mut fresh = Writer::new(writer.targets().to_vec(), false);
    let fresh = fresh.commit(&contents).unwrap();
    assert_eq!((fresh.written.len(), fresh.unchanged), (0, 3));
    assert_eq!(
        picture(home.dir.path()),
        before,
        "not even an inode changed"
    );
}

#[test]
fn modes_are_exact_whatever_the_umask() {
    for mask in [0, 0o022, 0o077, 0o277] {
        if mask & 0o700 != 0 && !is_root() {
            continue;
        }
        let home = Home::new();
        let path = home.path("new/file");
        with_umask(mask, || {
            write(vec![with_mode(&path, "0644")], &["x"]).unwrap();
        });
        assert_eq!(look(&path).0, 0o644, "umask {mask:o}");
        assert_eq!(look(home.path("new")).0, 0o755, "umask {mask:o}");
    }
}

#[test]
fn writers_that_make_the_same_parents_at_once_agree_on_their_modes() {
    for _ in 0..20 {
        let home = Home::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = home.path(&format!("a/b/c/{thread}"));
                scope.spawn(move || {
                    with_umask(0o077, || write(vec![target(path)], &["x"]).unwrap());
                });
            }
        });
        assert_eq!(names(&home.path("a/b/c")).len(), 4);
        for dir in ["a", "a/b", "a/b/c"] {
            assert_eq!(look(home.path(dir)).0, 0o755, "{dir}");
        }
    }
}

#[test]
fn parents_below_a_private_directory_are_private() {
    let home = Home::new();
    fs::create_dir(home.path("private")).unwrap();
    chmod(&home.path("private"), 0o700);
    write(vec![target(home.path("private/a/b/file"))], &["x"]).unwrap();
    assert_eq!(look(home.path("private/a")).0, 0o700);
    assert_eq!(look(home.path("private/a/b")).0, 0o700);
    write(vec![target(home.path("open/a/file"))], &["x"]).unwrap();
    assert_eq!(look(home.path("open/a")).0, 0o755);
}

#[test]
fn drift_is_repaired() {
    let home = Home::new();
    let path = home.path("file");
    let mut writer = Writer::new(vec![with_mode(&path, "0640")], false);
    let contents = files(&["the content"]);
    writer.commit(&contents).unwrap();
    let drifts: [(&str, &dyn Fn()); 5] = [
        ("edited", &|| fs::write(&path, "another one").unwrap()),
        ("appended", &|| fs::write(&path, "the content\n").unwrap()),
        ("emptied", &|| fs::write(&path, "").unwrap()),
        ("chmod", &|| chmod(&path, 0o644)),
        ("rm", &|| fs::remove_file(&path).unwrap()),
    ];
    for (what, drift) in drifts {
        drift();
        let committed = writer.commit(&contents).unwrap();
        assert_eq!(committed.written, std::slice::from_ref(&path), "{what}");
        assert_eq!(read(&path), "the content", "{what}");
        assert_eq!(look(&path).0, 0o640, "{what}");
        assert_eq!(writer.commit(&contents).unwrap().unchanged, 1, "{what}");
    }
}

#[test]
fn a_file_that_is_being_read_keeps_its_old_content_whole() {
    let home = Home::new();
    let path = home.path("file");
    write(vec![target(&path)], &["old"]).unwrap();
    let reader = fs::File::open(&path).unwrap();
    write(vec![target(&path)], &["the new one"]).unwrap();
    assert_eq!(std::io::read_to_string(reader).unwrap(), "old");
    assert_eq!(read(&path), "the new one");
}

#[test]
fn only_what_differs_is_written() {
    let home = Home::new();
    let targets = vec![target(home.path("a")), target(home.path("b"))];
    write(targets.clone(), &["1", "2"]).unwrap();
    let kept = inode(home.path("a"));
    let committed = write(targets, &["1", "3"]).unwrap();
    assert_eq!(committed.written, [home.path("b")]);
    assert_eq!(committed.unchanged, 1);
    assert_eq!(inode(home.path("a")), kept);
}

#[test]
fn when_one_file_cannot_be_staged_none_has_changed() {
    let home = Home::new();
    let targets = vec![target(home.path("a")), target(home.path("b"))];
    write(targets.clone(), &["1", "2"]).unwrap();
    fs::remove_file(home.path("b")).unwrap();
    fs::create_dir(home.path("b")).unwrap();
    let before = picture(home.dir.path());
    let error = Writer::new(targets, false)
        .commit(&files(&["3", "4"]))
        .unwrap_err();
    assert_eq!(error.path, home.path("b"));
    assert!(error.cause.contains("a directory"), "{error}");
    assert_eq!(picture(home.dir.path()), before);
}

#[test]
fn nothing_is_ever_written_empty_unless_allowed() {
    let home = Home::new();
    let path = home.path("file");
    write(vec![target(&path)], &["good"]).unwrap();
    let error = write(vec![target(&path)], &[""]).unwrap_err();
    assert!(error.cause.contains("empty"), "{error}");
    assert!(error.help.unwrap().contains("allowEmpty"));
    assert_eq!(read(&path), "good");
    assert!(
        Writer::new(vec![target(&path)], false)
            .compare(&files(&[""]))
            .is_err()
    );
    let allowed = Target {
        allow_empty: true,
        ..target(&path)
    };
    write(vec![allowed], &[""]).unwrap();
    assert_eq!(read(&path), "");
}

#[test]
fn a_directory_of_fields_never_loses_a_file_and_says_so_once() {
    let home = Home::new();
    let dir = Target {
        is_dir: true,
        ..with_mode(home.path("app"), "0440")
    };
    let mut writer = Writer::new(vec![dir], false);
    writer.prove().unwrap();
    assert_eq!(names(&home.path("app")), Vec::<String>::new());
    writer
        .commit(&fields(&[("user", "u"), ("pass", "p"), ("..odd", "o")]))
        .unwrap();
    assert_eq!(names(&home.path("app")), ["..odd", "pass", "user"]);
    assert_eq!(look(home.path("app/pass")).0, 0o440);

    let fewer = fields(&[("user", "u")]);
    let committed = writer.commit(&fewer).unwrap();
    assert_eq!(committed.warnings.len(), 2);
    assert!(
        committed.warnings[1].contains("`pass`"),
        "{:?}",
        committed.warnings
    );
    assert_eq!(read(home.path("app/pass")), "p");
    assert_eq!(
        writer.commit(&fewer).unwrap().warnings,
        Vec::<String>::new()
    );
}

#[test]
fn a_field_that_is_no_file_name_is_refused_before_anything_is_written() {
    let home = Home::new();
    let dir = Target {
        is_dir: true,
        ..target(home.path("app"))
    };
    let long = "n".repeat(256);
    let temporary = ".secrets-sync-abcdefghijkl.tmp";
    for name in ["a/b", "../x", ".", "..", "", "a\0b", &long, temporary] {
        let mut writer = Writer::new(vec![dir.clone()], false);
        let error = writer
            .commit(&fields(&[("good", "g"), (name, "x")]))
            .unwrap_err();
        assert!(!error.to_string().contains('\0'), "{error:?}");
        assert!(!home.path("app").exists(), "{name}");
    }
}

#[test]
fn what_does_not_fit_the_targets_is_an_error_and_no_panic() {
    let home = Home::new();
    let mut writer = Writer::new(vec![target(home.path("a"))], false);
    assert!(writer.commit(&fields(&[("x", "y")])).is_err());
    assert!(writer.commit(&files(&["1", "2"])).is_err());
    let twice = [files(&["1"]), files(&["2"])].concat();
    assert!(writer.commit(&twice).is_err());
    assert_eq!(home.names(), Vec::<String>::new());
}

#[test]
fn the_longest_names_and_paths_work() {
    let home = Home::new();
    let mut path = home.dir.path().to_str().unwrap().to_owned();
    let name = "n".repeat(255);
    while path.len() + 256 + 2 < 4095 {
        path = format!("{path}/{name}");
    }
    path = format!("{path}/{}", "f".repeat(4095 - path.len() - 1));
    assert_eq!(path.len(), 4095);
    let targets = vec![target(&path)];
    assert_eq!(write(targets.clone(), &["deep"]).unwrap().written.len(), 1);
    assert_eq!(write(targets, &["deep"]).unwrap().unchanged, 1);
    assert_eq!(read(&path), "deep");
}

#[test]
fn large_content_is_compared_to_its_end() {
    let home = Home::new();
    let mut content = "x".repeat(100_000);
    let targets = vec![target(home.path("a"))];
    write(targets.clone(), &[&content]).unwrap();
    assert_eq!(write(targets.clone(), &[&content]).unwrap().unchanged, 1);
    content.replace_range(99_999.., "y");
    assert_eq!(write(targets, &[&content]).unwrap().unchanged, 0);
    assert_eq!(read(home.path("a")), content);
}

#[test]
fn comparing_tells_what_would_change_and_touches_nothing() {
    let home = Home::new();
    let targets = vec![
        target(home.path("same")),
        target(home.path("other")),
        target(home.path("no/such/dir/file")),
        with_mode(home.path("mode"), "0640"),
    ];
    fs::write(home.path("same"), "1").unwrap();
    chmod(&home.path("same"), 0o600);
    fs::write(home.path("other"), "old text").unwrap();
    chmod(&home.path("other"), 0o600);
    fs::write(home.path("mode"), "4").unwrap();
    chmod(&home.path("mode"), 0o604);
    let before = picture(home.dir.path());
    let writer = Writer::new(targets, false);
    let changes = writer.compare(&files(&["1", "2", "3", "4"])).unwrap();
    let seen: Vec<_> = changes
        .iter()
        .map(|change| {
            (
                change.content,
                change.attributes,
                change.old_size,
                change.new_size,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (false, false, Some(1), 1),
            (true, false, Some(8), 1),
            (true, false, None, 1),
            (false, true, Some(1), 1),
        ]
    );
    assert_eq!(picture(home.dir.path()), before);
}
