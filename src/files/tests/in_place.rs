//! Targets that are bind mounts of their own.

use super::*;

fn in_place(path: impl AsRef<Path>) -> Target {
    Target {
        in_place: true,
        ..with_mode(path, "0640")
    }
}

#[test]
fn the_inode_stays_and_the_content_fits_longer_and_shorter() {
    let home = Home::new();
    let path = home.path("file");
    fs::write(&path, "the old and rather long content").unwrap();
    let kept = inode(&path);
    let mut writer = Writer::new(vec![in_place(&path)], false);
    let warnings = writer.prove().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("not atomic"), "{warnings:?}");
    assert_eq!(read(&path), "the old and rather long content");
    for content in ["short", "a longer one again", "x"] {
        let committed = writer.commit(&files(&[content])).unwrap();
        assert_eq!(committed.written, std::slice::from_ref(&path));
        assert_eq!(committed.warnings.len(), 1);
        assert_eq!(read(&path), content);
        assert_eq!(look(&path).0, 0o640);
        assert_eq!(inode(&path), kept);
        let again = writer.commit(&files(&[content])).unwrap();
        assert_eq!((again.unchanged, again.warnings.len()), (1, 0));
    }
    assert_eq!(home.names(), ["file"]);
}

#[test]
fn a_file_that_is_not_there_is_made_like_any_other() {
    let home = Home::new();
    write(vec![in_place(home.path("file"))], &["x"]).unwrap();
    assert_eq!(read(home.path("file")), "x");
    assert_eq!(look(home.path("file")).0, 0o640);
    assert_eq!(home.names(), ["file"]);
}

#[test]
fn the_proof_shows_that_the_owner_can_be_set() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let path = home.path("file");
    fs::write(&path, "old").unwrap();
    let given = Target {
        owner: Some(12345),
        ..in_place(&path)
    };
    let mut writer = Writer::new(vec![given], false);
    let error = without(CapabilitySet::CHOWN, || writer.prove()).unwrap_err();
    assert_eq!(error.step, "set the owner of");
    writer.prove().unwrap();
    assert_eq!((read(&path).as_str(), look(&path).1), ("old", 12345));
}

#[test]
fn a_file_with_another_name_is_not_written() {
    let home = Home::new();
    fs::write(home.path("victim"), "precious").unwrap();
    fs::hard_link(home.path("victim"), home.path("file")).unwrap();
    let error = write(vec![in_place(home.path("file"))], &["x"]).unwrap_err();
    assert!(error.cause.contains("2 names"), "{error}");
    assert_eq!(read(home.path("victim")), "precious");
    // By rename the other name is safe.
    write(vec![target(home.path("file"))], &["x"]).unwrap();
    assert_eq!(read(home.path("victim")), "precious");
}

#[test]
fn a_mounted_file_is_named_and_can_be_written_in_place() {
    with_mounts(|home| {
        fs::write(home.path("source"), "old").unwrap();
        fs::write(home.path("file"), "").unwrap();
        let path = home.path("file");
        mount(&[
            "--bind",
            home.path("source").to_str().unwrap(),
            path.to_str().unwrap(),
        ]);

        let mut writer = Writer::new(vec![target(&path), target(home.path("other"))], false);
        let contents = files(&["new", "new"]);
        for error in [
            writer.prove().unwrap_err(),
            writer.commit(&contents).unwrap_err(),
            writer.compare(&contents).unwrap_err(),
        ] {
            assert_eq!(error.path, path);
            assert!(error.cause.contains("mount point"), "{error}");
            let help = error.help.unwrap();
            assert!(
                help.contains("mount its directory") && help.contains("inPlace"),
                "{help}"
            );
        }
        assert_eq!(home.names(), ["file", "source"]);

        write(vec![in_place(&path)], &["new"]).unwrap();
        assert_eq!(read(home.path("source")), "new");
    });
}

#[test]
fn when_it_does_not_fit_the_old_content_stays_whole() {
    with_mounts(|home| {
        let disk = home.path("");
        mount(&[
            "-t",
            "tmpfs",
            "-o",
            "size=64k",
            "tmpfs",
            disk.to_str().unwrap(),
        ]);
        let path = home.path("file");
        fs::write(&path, "old").unwrap();
        let error = write(vec![in_place(&path)], &[&"x".repeat(100_000)]).unwrap_err();
        assert!(error.help.unwrap().contains("free space"));
        assert_eq!(read(&path), "old");
    });
}
