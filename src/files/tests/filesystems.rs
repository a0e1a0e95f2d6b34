//! Full and read-only file systems.

use super::*;

#[test]
fn a_full_file_system_leaves_every_old_file_and_no_temporary() {
    with_mounts(|home| {
        let disk = home.dir.path().to_str().unwrap();
        mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
        let targets = vec![target(home.path("a")), target(home.path("b"))];
        write(targets.clone(), &["1", "2"]).unwrap();
        let before = picture(home.dir.path());
        let error = Writer::new(targets.clone(), false)
            .commit(&files(&["3", &"x".repeat(100_000)]))
            .unwrap_err();
        assert!(error.cause.contains("No space left"), "{error}");
        assert!(error.help.unwrap().contains("free space"));
        assert_eq!(home.names(), ["a", "b"]);
        let after = picture(home.dir.path());
        assert_eq!(after, before);
        assert_eq!(write(targets, &["5", "6"]).unwrap().written.len(), 2);
    });
}

#[test]
fn no_inodes_left_is_found_by_the_proof() {
    with_mounts(|home| {
        let disk = home.dir.path().to_str().unwrap();
        mount(&["-t", "tmpfs", "-o", "nr_inodes=2", "tmpfs", disk]);
        fs::write(home.path("a"), "").unwrap();
        let error = write(vec![target(home.path("a"))], &["x"]).unwrap_err();
        assert_eq!(error.step, "create a temporary in");
        assert!(error.help.unwrap().contains("inodes"));
    });
}

#[test]
fn a_read_only_mount_is_found_by_the_proof() {
    with_mounts(|home| {
        let disk = home.dir.path().to_str().unwrap();
        fs::write(home.path("in-place"), "old").unwrap();
        mount(&["--bind", disk, disk]);
        mount(&["-o", "remount,ro,bind", disk]);
        for target in [
            target(home.path("a")),
            target(home.path("new/dir/a")),
            Target {
                in_place: true,
                ..target(home.path("in-place"))
            },
        ] {
            let error = write(vec![target], &["x"]).unwrap_err();
            assert!(error.cause.contains("Read-only"), "{error}");
            assert!(error.help.unwrap().contains("ReadWritePaths="));
        }
    });
}

#[test]
fn a_file_system_that_keeps_no_modes_is_refused() {
    with_mounts(|home| {
        let image = home.path("image");
        fs::write(&image, vec![0; 1 << 20]).unwrap();
        fs::create_dir(home.path("disk")).unwrap();
        let run =
            |command: &mut Command| succeeds(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let disk = home.path("disk");
        let made = run(Command::new("mkfs.vfat").arg(&image));
        let options = ["-t", "vfat", "-o", "loop,quiet"];
        if !made || !run(Command::new("mount").args(options).args([&image, &disk])) {
            eprintln!("a_file_system_that_keeps_no_modes_is_refused: not run, for it needs vfat");
            return;
        }
        let error = write(vec![target(home.path("disk/a"))], &["x"]).unwrap_err();
        assert!(error.help.unwrap().contains("keeps modes"));
        assert_eq!(names(&home.path("disk")), Vec::<String>::new());
    });
}
