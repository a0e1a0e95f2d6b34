//! A disk that is full, read-only or gone for a while, and no descriptors: the old files stay, the other
//! secrets go on, and all is well within a cycle once the cause is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod site;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use site::Site;
use support::{Daemon, SOON};

/// A daemon in a mount namespace of its own, with a small tmpfs at `@DIR@/small`.
struct Mounted {
    daemon: Daemon,
}

impl Mounted {
    fn start(site: &Site, secrets: &[String]) -> Self {
        let setup = Daemon::new(&site.config(secrets)).program(Path::new("/usr/bin/unshare"));
        fs::create_dir(setup.path("small")).unwrap();
        let script = "mount --make-rprivate / && mount -t tmpfs -o size=64k,mode=755 small @DIR@/small \
                      && exec \"$0\" run";
        let daemon = setup
            .arg("-m")
            .arg("/bin/sh")
            .arg("-c")
            .arg(script)
            .arg(env!("CARGO_BIN_EXE_secrets-sync"))
            .start();
        Self { daemon }
    }

    /// As the daemon sees it.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.daemon.path(name);
        let inside = inside.strip_prefix("/").unwrap();
        Path::new(&format!("/proc/{}/root", self.daemon.pid())).join(inside)
    }

    fn mount(&self, options: &str) {
        let status = Command::new("nsenter")
            .args([
                "-m",
                "-t",
                &self.daemon.pid().to_string(),
                "mount",
                "-o",
                options,
            ])
            .arg(self.daemon.path("small"))
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[track_caller]
    fn fails(&self, name: &str, part: &str) {
        let secret = self
            .daemon
            .wait_secret(name, SOON, |secret| secret["error_type"] == "write");
        let error = secret["error"].as_str().unwrap();
        assert!(error.contains(part), "{error}");
    }

    #[track_caller]
    fn holds(&self, name: &str, content: &str) {
        self.daemon.wait_file(self.path(name), content, SOON);
        let key = name.rsplit('/').next().unwrap();
        self.daemon
            .wait_secret(key, SOON, |secret| secret["state"] == "in_sync");
    }
}

/// A secret whose file of its name is in that directory, each second.
fn secret(name: &str, directory: &str) -> String {
    format!(
        "  - {{ name: {name}, key: {name}, refreshInterval: 1s, \
         files: [{{ path: '@DIR@/{directory}/{name}', field: x }}] }}\n"
    )
}

fn may_mount() -> bool {
    Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_full_and_a_read_only_file_system_keep_the_old_files_and_are_left_behind_in_a_cycle() {
    if !may_mount() {
        skip!("mounts cannot be made here");
    }
    let site = Site::with(&["here", "there"]);
    let mounted = Mounted::start(&site, &[secret("here", "small"), secret("there", "big")]);
    mounted.holds("small/here", "here");
    mounted.holds("big/there", "there");

    // Full: there is no room for the new one beside the old one.
    let filler = mounted.path("small/filler");
    let mut room = vec![0_u8; 64 << 10];
    while fs::write(&filler, &room).is_err() {
        room.truncate(room.len() - 4096);
    }
    let long = "long ".repeat(2000);
    site.put("here", &long);
    site.put("there", "second");
    mounted.fails("here", "No space left on device");
    assert_eq!(
        fs::read_to_string(mounted.path("small/here")).unwrap(),
        "here"
    );
    mounted.holds("big/there", "second");
    let names: Vec<_> = fs::read_dir(mounted.path("small")).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    fs::remove_file(&filler).unwrap();
    mounted.holds("small/here", &long);

    mounted.mount("remount,ro");
    site.put("here", "third");
    mounted.fails("here", "Read-only file system");
    assert_eq!(
        fs::read_to_string(mounted.path("small/here")).unwrap(),
        long
    );
    mounted.mount("remount,rw");
    mounted.holds("small/here", "third");
}

#[test]
fn without_descriptors_the_old_files_stay_and_with_them_all_is_well() {
    let site = Site::with(&["a", "b"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "a"), secret("b", "b")])).start();
    daemon.wait_ready(SOON);
    let limit = |soft: &str| {
        let status = Command::new("prlimit")
            .args([
                "--pid",
                &daemon.pid().to_string(),
                &format!("--nofile={soft}"),
            ])
            .status();
        status.is_ok_and(|status| status.success())
    };
    // Those that are open stay so; none can be had beside them.
    if !limit("3:") {
        skip!("the limits of another process cannot be set here");
    }
    let mark = daemon.mark();
    site.put("a", "second");
    site.put("b", "second");
    for name in ["a", "b"] {
        // The status file cannot be replaced either.
        let line = daemon.wait_for_log_after(mark, SOON, |line| {
            line.json["secret"] == name && !line.json["error_type"].is_null()
        });
        let error = line.json["error"].as_str().unwrap();
        assert!(error.contains("oo many open files"), "{error}");
        assert_eq!(
            fs::read_to_string(daemon.path(name).join(name)).unwrap(),
            name
        );
    }
    assert!(limit("1024:"));
    for name in ["a", "b"] {
        daemon.wait_file(daemon.path(name).join(name), "second", SOON);
        daemon.wait_secret(name, SOON, |secret| secret["state"] == "in_sync");
    }
}
