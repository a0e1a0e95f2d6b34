//! A disk that is full, read-only, gone or exchanged for a while, and no descriptors: the old files
//! stay, the other secrets go on, and the first cycle after the cause is gone puts all right.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod site;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use site::Site;
use support::{Daemon, Mark, SOON, poll};

/// A daemon, maybe in a mount namespace of its own, of secrets that are read each second.
struct Watched {
    site: Site,
    daemon: Daemon,
    /// Where its files are, as it sees them: `/`, or its own root.
    root: PathBuf,
}

impl Watched {
    fn start(site: Site, secrets: &[String]) -> Self {
        let daemon = Daemon::new(&site.config(secrets)).metrics().start();
        daemon.wait_ready(SOON);
        let root = PathBuf::from("/");
        Self { site, daemon, root }
    }

    /// With small file systems, a tmpfs each: its directory below `@DIR@`, and its options.
    fn with_mounts(site: Site, mounts: &[(&str, &str)], secrets: &[String]) -> Self {
        let setup = Daemon::new(&site.config(secrets))
            .metrics()
            .program(Path::new("/usr/bin/unshare"));
        let mut script = "mount --make-rprivate /".to_owned();
        for (name, options) in mounts {
            fs::create_dir(setup.path(name)).unwrap();
            script += &format!(" && mount -t tmpfs -o {options},mode=755 {name} @DIR@/{name}");
        }
        let daemon = setup
            .arg("-m")
            .arg("/bin/sh")
            .arg("-c")
            .arg(&format!("{script} && exec \"$0\" run"))
            .arg(env!("CARGO_BIN_EXE_secrets-sync"))
            .start();
        daemon.wait_ready(SOON);
        let root = PathBuf::from(format!("/proc/{}/root", daemon.pid()));
        Self { site, daemon, root }
    }

    /// As the daemon sees it.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.daemon.path(name);
        self.root.join(inside.strip_prefix("/").unwrap())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("..2"))
            .collect();
        names.sort();
        names
    }

    fn remount(&self, directory: &str, option: &str) {
        let pid = self.daemon.pid().to_string();
        let status = Command::new("nsenter")
            .args([
                "-m",
                "-t",
                &pid,
                "mount",
                "-o",
                &format!("remount,{option}"),
            ])
            .arg(self.daemon.path(directory))
            .status();
        assert!(status.unwrap().success());
    }

    /// How often this secret could not be written.
    fn failures(&self, secret: &str) -> f64 {
        let mount = &self.site.mount;
        let series = format!(
            "secret_fetch_errors_total{{error_type=\"write\",secret_name=\"{secret}\",\
             store=\"default\",vault_path=\"{mount}/{secret}\"}}"
        );
        self.daemon.metric(&series).unwrap_or(0.0)
    }

    /// Waits until this secret fails as `write`, with these words and this advice.
    #[track_caller]
    fn fails(&self, since: Mark, secret: &str, cause: &str, advice: &str) {
        let line = self.daemon.wait_for_log_after(since, SOON, |line| {
            line.json["secret"] == secret && line.json["error_type"] == "write"
        });
        let (error, remedy) = (line.text("error"), line.text("remedy"));
        assert!(error.contains(cause), "{error}");
        assert!(remedy.contains(advice), "{remedy}");
        self.daemon
            .wait_secret(secret, SOON, |entry| entry["error_type"] == "write");
    }

    /// To be called when the cause is gone: the cycle that is under way may still meet it, the next
    /// one must not.
    #[track_caller]
    fn heals(&self, secret: &str, files: &[&str], content: &str) {
        let before = self.failures(secret);
        for file in files {
            self.daemon.wait_file(self.path(file), content, SOON);
        }
        self.daemon
            .wait_secret(secret, SOON, |entry| entry["state"] == "in_sync");
        let after = self.failures(secret);
        assert!(after <= before + 1.0, "{} more failures", after - before);
    }

    /// The neighbour is written as if nothing were, and has never failed.
    #[track_caller]
    fn neighbour_goes_on(&self, file: &str, content: &str) {
        let secret = file.rsplit('/').next().unwrap();
        self.site.put(secret, content);
        self.daemon.wait_file(self.path(file), content, SOON);
        assert_eq!(self.failures(secret), 0.0, "{secret}");
    }

    /// Fills a file system up.
    fn fill(&self, file: &str) {
        let mut room = vec![0_u8; 64 << 10];
        while fs::write(self.path(file), &room).is_err() {
            room.truncate(room.len() - 4096);
        }
    }
}

/// A secret whose file of its name is in that directory, each second.
fn secret(name: &str, directory: &str) -> String {
    format!(
        "  - {{ name: {name}, key: {name}, refreshInterval: 1s, \
         files: [{{ path: '@DIR@/{directory}/{name}', field: x }}] }}\n"
    )
}

/// One whose two files, `a` and `b`, are switched together.
fn pair(name: &str, directory: &str) -> String {
    format!(
        "  - {{ name: {name}, key: {name}, refreshInterval: 1s, layout: directory, \
         files: [{{ path: '@DIR@/{directory}/a', field: x }}, {{ path: '@DIR@/{directory}/b', field: x }}] }}\n"
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
fn a_full_file_system_keeps_the_old_files_and_the_first_cycle_with_room_writes_the_new_ones() {
    if !may_mount() {
        skip!("mounts cannot be made here");
    }
    let watched = Watched::with_mounts(
        Site::with(&["here", "pair", "there"]),
        &[("small", "size=64k")],
        &[
            secret("here", "small"),
            pair("pair", "small/pair"),
            secret("there", "big"),
        ],
    );
    watched.heals("here", &["small/here"], "here");
    watched.heals("pair", &["small/pair/a", "small/pair/b"], "pair");
    watched.neighbour_goes_on("big/there", "there");

    // There is no room for the new ones beside the old ones.
    watched.fill("small/filler");
    let mark = watched.daemon.mark();
    let long = "long ".repeat(1000);
    watched.site.put("here", &long);
    watched.site.put("pair", &long);
    for name in ["here", "pair"] {
        watched.fails(
            mark,
            name,
            "No space left on device",
            "free space or inodes",
        );
    }
    watched.neighbour_goes_on("big/there", "second");
    assert_eq!(watched.read("small/here"), "here");
    assert_eq!(watched.read("small/pair/a"), "pair");
    assert_eq!(watched.read("small/pair/b"), "pair");
    // A cycle may be under way: what it makes is taken away by the cycle itself.
    let clean = || (watched.names("small") == ["filler", "here", "pair"]).then_some(());
    assert!(poll(SOON, clean).is_some(), "{:?}", watched.names("small"));
    let clean = || (watched.names("small/pair") == ["..data", "a", "b"]).then_some(());
    assert!(
        poll(SOON, clean).is_some(),
        "{:?}",
        watched.names("small/pair")
    );

    fs::remove_file(watched.path("small/filler")).unwrap();
    watched.heals("here", &["small/here"], &long);
    watched.heals("pair", &["small/pair/a", "small/pair/b"], &long);
    watched.neighbour_goes_on("big/there", "third");
}

#[test]
fn without_inodes_the_old_file_stays_and_the_first_cycle_with_some_writes_the_new_one() {
    if !may_mount() {
        skip!("mounts cannot be made here");
    }
    let watched = Watched::with_mounts(
        Site::with(&["here", "there"]),
        &[("few", "nr_inodes=6")],
        &[secret("here", "few"), secret("there", "big")],
    );
    watched.heals("here", &["few/here"], "here");
    watched.neighbour_goes_on("big/there", "there");

    let empty = |number: usize| watched.path(&format!("few/{number}"));
    let full = (0..10).find_map(|number| fs::File::create_new(empty(number)).err());
    assert_eq!(full.and_then(|error| error.raw_os_error()), Some(28));
    let mark = watched.daemon.mark();
    watched.site.put("here", "second");
    watched.fails(mark, "here", "No space left on device", "df -i");
    assert_eq!(watched.read("few/here"), "here");
    watched.neighbour_goes_on("big/there", "second");

    fs::remove_file(empty(0)).unwrap();
    watched.heals("here", &["few/here"], "second");
}

#[test]
fn a_read_only_mount_keeps_the_old_files_and_the_first_cycle_that_may_write_does() {
    if !may_mount() {
        skip!("mounts cannot be made here");
    }
    let watched = Watched::with_mounts(
        Site::with(&["here", "pair", "there"]),
        &[("small", "size=1m")],
        &[
            secret("here", "small"),
            pair("pair", "small/pair"),
            secret("there", "big"),
        ],
    );
    watched.heals("here", &["small/here"], "here");
    watched.heals("pair", &["small/pair/a", "small/pair/b"], "pair");
    watched.neighbour_goes_on("big/there", "there");

    watched.remount("small", "ro");
    let mark = watched.daemon.mark();
    watched.site.put("here", "second");
    watched.site.put("pair", "second");
    for name in ["here", "pair"] {
        watched.fails(mark, name, "Read-only file system", "ReadWritePaths=");
    }
    assert_eq!(watched.read("small/here"), "here");
    assert_eq!(watched.read("small/pair/b"), "pair");
    watched.neighbour_goes_on("big/there", "second");

    watched.remount("small", "rw");
    watched.heals("here", &["small/here"], "second");
    watched.heals("pair", &["small/pair/a", "small/pair/b"], "second");
}

#[test]
fn a_directory_that_is_removed_while_it_runs_is_made_again_by_the_next_cycle() {
    let watched = Watched::start(
        Site::with(&["here", "pair", "there"]),
        &[
            secret("here", "gone/deep"),
            pair("pair", "gone/pair"),
            secret("there", "big"),
        ],
    );
    let files = ["gone/pair/a", "gone/pair/b"];
    watched.heals("here", &["gone/deep/here"], "here");
    watched.heals("pair", &files, "pair");
    for directory in ["gone/deep", "gone/pair", "gone"] {
        // Where something is made just now, not all goes at once.
        let removed = || fs::remove_dir_all(watched.path(directory)).ok();
        assert!(poll(SOON, removed).is_some(), "{directory}");
        watched.heals("here", &["gone/deep/here"], "here");
        watched.heals("pair", &files, "pair");
        assert_eq!(
            fs::metadata(watched.path("gone")).unwrap().mode() & 0o777,
            0o755
        );
        let mode = fs::metadata(watched.path("gone/deep/here")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    watched.neighbour_goes_on("big/there", "second");
}

#[test]
fn a_directory_that_becomes_a_link_while_it_runs_leads_nowhere_and_heals_when_it_is_back() {
    if !rustix::process::geteuid().is_root() {
        skip!("a link of another user needs root");
    }
    let watched = Watched::start(
        Site::with(&["here", "pair", "there"]),
        &[
            secret("here", "files"),
            pair("pair", "switched"),
            secret("there", "big"),
        ],
    );
    watched.heals("here", &["files/here"], "here");
    watched.heals("pair", &["switched/a", "switched/b"], "pair");
    fs::create_dir(watched.path("elsewhere")).unwrap();
    for name in ["files", "switched"] {
        fs::rename(watched.path(name), watched.path(&format!("{name}.real"))).unwrap();
        // Between the two renames the daemon may have made it anew.
        let put = || {
            let _ = fs::remove_dir_all(watched.path(name));
            symlink(watched.path("elsewhere"), watched.path(name)).ok()
        };
        assert!(poll(SOON, put).is_some(), "{name}");
        lchown(watched.path(name), Some(12345), Some(12345)).unwrap();
    }
    // While the link still belonged to root, it may have been followed as far as the sandbox goes.
    fs::remove_dir_all(watched.path("elsewhere")).unwrap();
    fs::create_dir(watched.path("elsewhere")).unwrap();
    watched.site.put("here", "second");
    watched.site.put("pair", "second");
    for name in ["here", "pair"] {
        let secret = |entry: &serde_json::Value| {
            let error = entry["error"].as_str().unwrap_or("");
            entry["error_type"] == "write" && error.contains("symbolic link of uid 12345")
        };
        watched.daemon.wait_secret(name, SOON, secret);
        let since = watched.failures(name);
        let again = || (watched.failures(name) > since).then_some(());
        assert!(poll(SOON, again).is_some(), "it is tried each cycle");
    }
    assert_eq!(watched.names("elsewhere"), Vec::<String>::new());
    assert_eq!(watched.read("files.real/here"), "here");
    assert_eq!(watched.read("switched.real/b"), "pair");
    watched.neighbour_goes_on("big/there", "second");

    for name in ["files", "switched"] {
        fs::remove_file(watched.path(name)).unwrap();
        let back = || {
            let _ = fs::remove_dir_all(watched.path(name));
            fs::rename(watched.path(&format!("{name}.real")), watched.path(name)).ok()
        };
        assert!(poll(SOON, back).is_some(), "{name}");
    }
    watched.heals("here", &["files/here"], "second");
    watched.heals("pair", &["switched/a", "switched/b"], "second");
    assert_eq!(watched.names("elsewhere"), Vec::<String>::new());
}

/// Limits the descriptors of the daemon; `false` where that cannot be done.
fn limit_descriptors(daemon: &Daemon, soft: usize) -> bool {
    let status = Command::new("prlimit")
        .args(["--pid", &daemon.pid().to_string()])
        .arg(format!("--nofile={soft}:"))
        .status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn with_too_few_descriptors_for_all_its_files_a_secret_changes_none_of_them() {
    if !rustix::process::geteuid().is_root() {
        skip!("its descriptors can be counted by root only");
    }
    // While they are staged, each holds one.
    let mut many = "  - { name: many, key: many, refreshInterval: 1s, files: [".to_owned();
    for number in 0..60 {
        many += &format!("{{ path: '@DIR@/many/{number}', field: x }}, ");
    }
    many += "] }\n";
    let watched = Watched::start(Site::with(&["many", "one"]), &[many, secret("one", "one")]);
    watched.heals("many", &["many/0", "many/59"], "many");
    watched.heals("one", &["one/one"], "one");
    if !limit_descriptors(&watched.daemon, watched.daemon.fds() + 30) {
        skip!("the limits of another process cannot be set here");
    }
    let mark = watched.daemon.mark();
    watched.site.put("many", "second");
    watched.fails(mark, "many", "oo many open files", "LimitNOFILE=");
    for number in 0..60 {
        assert_eq!(watched.read(&format!("many/{number}")), "many");
    }
    // In the moment of the shortage it may be hit, too; its next cycle is well.
    watched.site.put("one", "second");
    watched.daemon.wait_file("one/one", "second", SOON);

    assert!(limit_descriptors(&watched.daemon, 1024));
    watched.heals("many", &["many/0", "many/59"], "second");
    assert_eq!(watched.names("many").len(), 60);
}

#[test]
fn without_descriptors_the_old_files_stay_and_with_them_all_is_well() {
    let site = Site::with(&["a", "b"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "a"), secret("b", "b")])).start();
    daemon.wait_ready(SOON);
    // Those that are open stay so; none can be had beside them.
    if !limit_descriptors(&daemon, 3) {
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
    assert!(limit_descriptors(&daemon, 1024));
    for name in ["a", "b"] {
        daemon.wait_file(daemon.path(name).join(name), "second", SOON);
        daemon.wait_secret(name, SOON, |secret| secret["state"] == "in_sync");
    }
}
