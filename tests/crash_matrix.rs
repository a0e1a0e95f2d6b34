//! The real binary, killed at each system call that changes its files, or met by an error there: its
//! files are wholly old or wholly new, the next run heals, and nothing is left over. `strace` does it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use support::{Daemon, OpenBao, SOON, Shared, poll};

/// Every call by which the writer changes something (`strace` knows the names of both C libraries'
/// wrappers), with how many times a commit of two files makes it at least (the switch of a directory is
/// one rename).
const CALLS: &[(&str, usize)] = &[
    ("openat", 0),
    ("flock", 2),
    ("fchmod", 2),
    ("fallocate", 0),
    ("pwrite64", 2),
    ("fsync", 3),
    ("rename,renameat,renameat2", 1),
];

const ERRORS: &[(&str, &str)] = &[
    ("pwrite64", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("pwrite64", "EDQUOT"),
    ("fsync", "EIO"),
    ("fsync", "ENOSPC"),
    ("fchmod", "EPERM"),
    ("fchmod", "EROFS"),
    ("rename,renameat,renameat2", "EROFS"),
    ("rename,renameat,renameat2", "EACCES"),
    ("rename,renameat,renameat2", "ENOSPC"),
];

const INTERRUPTED: &[&str] = &["pwrite64", "fsync", "fchmod", "rename,renameat,renameat2"];

/// A mount with one secret of two fields, and a directory that holds its files.
struct Scene {
    bao: Shared,
    mount: String,
    dir: tempfile::TempDir,
    layout: &'static str,
}

impl Scene {
    fn new(layout: &'static str) -> Self {
        let bao = OpenBao::shared();
        let mount = bao.fresh_kv(2);
        let scene = Self {
            bao,
            mount,
            dir: tempfile::tempdir().unwrap(),
            layout,
        };
        scene.put("old");
        scene.run(&[], 0);
        assert_eq!(scene.seen(), ["old", "old"]);
        scene
    }

    /// Long enough for more than one page.
    fn value(word: &str, field: &str) -> String {
        format!("{word} {field} ").repeat(1000)
    }

    fn put(&self, word: &str) {
        let fields = json!({ "a": Self::value(word, "a"), "b": Self::value(word, "b") });
        self.bao.kv2_put(&self.mount, "s", &fields);
    }

    /// Runs `--once` under `strace` with these arguments, or alone without; what it said.
    fn run(&self, inject: &[&str], expected: i32) -> String {
        let (code, text) = self.run_any(inject);
        assert_eq!(code, Some(expected), "{inject:?}: {text}");
        text
    }

    fn run_any(&self, inject: &[&str]) -> (Option<i32>, String) {
        let dir = self.dir.path().display();
        let setup = Daemon::new(&format!(
            "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {} }}\n\
             secrets:\n\
             - name: s\n\
             \x20 key: s\n\
             \x20 layout: {}\n\
             \x20 files:\n\
             \x20   - {{ path: {dir}/files/a, field: a }}\n\
             \x20   - {{ path: {dir}/files/b, field: b, mode: '0640' }}\n",
            self.bao.address(),
            self.mount,
            self.layout,
        ));
        let binary = env!("CARGO_BIN_EXE_secrets-sync");
        let mut command = if inject.is_empty() {
            Command::new(binary)
        } else {
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o"]).arg(setup.path("trace"));
            command.args(inject).arg(binary);
            command
        };
        let done = command
            .args(["run", "--once", "--timeout", "1s", "--config"])
            .arg(setup.path("config.yaml"))
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code(), text)
    }

    /// The word that each file is full of; a file that is not whole fails.
    #[track_caller]
    fn seen(&self) -> Vec<String> {
        [("a", 0o600), ("b", 0o640)]
            .iter()
            .map(|(field, mode)| {
                let path = self.dir.path().join("files").join(field);
                let text = fs::read_to_string(&path).unwrap();
                let word = text.split(' ').next().unwrap().to_owned();
                assert_eq!(text, Self::value(&word, field), "{path:?} is not whole");
                let found = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                assert_eq!(found, *mode, "{path:?}");
                word
            })
            .collect()
    }

    /// Names that only a writer at work may leave there.
    fn left_over(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path().join("files"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["a", "b", "..data"].contains(&name.as_str()))
            .collect();
        if self.layout == "directory" {
            let current = fs::read_link(self.dir.path().join("files/..data")).unwrap();
            names.retain(|name| Path::new(name) != current);
        }
        names
    }

    /// A daemon starts, cleans up, and heals.
    #[track_caller]
    fn heal(&self, about: &str) {
        let daemon = Daemon::new(&format!(
            "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {} }}\n\
             secrets: [{{ name: s, key: s, layout: {}, files: [\
             {{ path: {dir}/files/a, field: a }}, {{ path: {dir}/files/b, field: b, mode: '0640' }}] }}]\n",
            self.bao.address(),
            self.mount,
            self.layout,
            dir = self.dir.path().display(),
        ))
        .start();
        daemon.wait_ready(SOON);
        assert_eq!(self.seen(), ["new", "new"], "{about}");
        // What a directory's switch replaced stays a second for its readers.
        let clean = poll(SOON, || self.left_over().is_empty().then_some(()));
        assert!(clean.is_some(), "{about}: {:?}", self.left_over());
    }
}

fn strace_works() -> bool {
    Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn killed_at_every_call(layout: &'static str) {
    let mut kills = 0;
    for (calls, at_least) in CALLS {
        let mut when = 1;
        loop {
            let about = format!("{layout}: killed at {calls} number {when}");
            let scene = Scene::new(layout);
            scene.put("new");
            let trace = format!("trace={calls}");
            let inject = format!("inject={calls}:signal=SIGKILL:when={when}");
            let (code, _) = scene.run_any(&["-e", &trace, "-e", &inject]);
            let seen = scene.seen();
            if layout == "directory" {
                assert_eq!(seen[0], seen[1], "{about}");
            }
            if code == Some(0) {
                assert_eq!(seen, ["new", "new"], "{about}");
                assert!(
                    when > *at_least,
                    "{about}: it was made {} times only",
                    when - 1
                );
                break;
            }
            kills += 1;
            scene.heal(&about);
            // Of the openings, most come before the first file is touched.
            when += if *calls == "openat" { 9 } else { 1 };
        }
    }
    assert!(kills > 15, "{kills} kills");
}

#[test]
fn files_survive_a_kill_at_every_call_that_changes_them() {
    if !strace_works() {
        skip!("strace cannot trace here");
    }
    killed_at_every_call("files");
}

#[test]
fn a_directory_survives_a_kill_at_every_call_that_changes_it() {
    if !strace_works() {
        skip!("strace cannot trace here");
    }
    killed_at_every_call("directory");
}

#[test]
fn an_error_in_a_call_leaves_the_old_files_says_so_and_passes() {
    if !strace_works() {
        skip!("strace cannot trace here");
    }
    for layout in ["files", "directory"] {
        for (calls, errno) in ERRORS {
            let about = format!("{layout}: {calls} fails with {errno}");
            let scene = Scene::new(layout);
            scene.put("new");
            let trace = format!("trace={calls}");
            let inject = format!("inject={calls}:error={errno}");
            let said = scene.run(&["-e", &trace, "-e", &inject], 1);
            assert_eq!(scene.seen(), ["old", "old"], "{about}: {said}");
            assert_eq!(scene.left_over(), Vec::<String>::new(), "{about}: {said}");
            let dir = scene.dir.path().display().to_string();
            assert!(
                said.contains("`s`: ") && said.contains(&dir),
                "{about}: {said}"
            );
            assert!(said.contains("help: "), "{about}: {said}");
            scene.run(&[], 0);
            assert_eq!(scene.seen(), ["new", "new"], "{about}");
        }
    }
}

#[test]
fn calls_that_signals_interrupt_are_made_again() {
    if !strace_works() {
        skip!("strace cannot trace here");
    }
    for calls in INTERRUPTED {
        let scene = Scene::new("files");
        scene.put("new");
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:error=EINTR:when=1+2");
        scene.run(&["-e", &trace, "-e", &inject], 0);
        assert_eq!(scene.seen(), ["new", "new"], "{calls}");
        assert_eq!(scene.left_over(), Vec::<String>::new());
    }
}
