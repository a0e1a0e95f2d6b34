//! The real binary, killed at each system call by which it changes its files, or met by an error
//! there: its files are wholly old or wholly new, the next run heals, and nothing is left over.
//! `strace` does it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails; what was covered is printed

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Daemon, OpenBao, SOON, Setup, Shared, poll};

/// Who gets `b`, where owners can be set.
const OTHER: u32 = 12345;

/// How the files lie, and what is there before.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Files,
    /// Neither the files nor their directories are there.
    FirstFiles,
    Directory,
    /// `layout: directory`, and the secret does not name the file `c` any more.
    Narrowed,
    InPlace,
}

/// The calls by which the writer changes something; `strace` knows the names of both C libraries'
/// wrappers. Of the openings those in the directory of the files: of the others most come before.
const CALLS: &[&str] = &[
    "openat",
    "flock",
    "mkdirat",
    "fchmod",
    "fchownat",
    "fallocate",
    "pwrite64",
    "ftruncate",
    "fsync",
    "symlinkat",
    "linkat",
    "rename,renameat,renameat2",
    "unlink,unlinkat",
];

impl Kind {
    /// How many times at least a start and a cycle make the call: else the test would not reach
    /// what it is about.
    fn at_least(self, call: &str) -> usize {
        let switched = matches!(self, Self::Directory | Self::Narrowed);
        let in_place = self == Self::InPlace;
        match call {
            // By path: only root may see which descriptors the daemon, not dumpable, has.
            // The way to a directory that is there is one call (`openat2`), and stays as it was where that fails.
            "openat" => usize::from(is_root()) * 5,
            "flock" => usize::from(!in_place) * 4,
            "fchmod" => usize::from(!in_place),
            "fchownat" => usize::from(!in_place && is_root()),
            "fallocate" | "ftruncate" => usize::from(in_place) * 2,
            "pwrite64" => 2,
            "fsync" => 2 + usize::from(!in_place),
            "mkdirat" => usize::from(switched || self == Self::FirstFiles),
            "symlinkat" => usize::from(switched),
            "linkat" => usize::from(self == Self::Narrowed),
            "unlink,unlinkat" => usize::from(!in_place) * 2,
            _ => usize::from(!in_place) + usize::from(!in_place && !switched),
        }
    }
}

/// What `strace` does: to which call, from which number on.
struct Injection<'a> {
    call: &'a str,
    what: String,
    /// A further one.
    also: &'a [&'a str],
}

/// A mount with one secret of two fields, and a directory that holds its files.
struct Scene {
    bao: Shared,
    mount: String,
    dir: tempfile::TempDir,
    kind: Kind,
    /// The words that its files are full of.
    old: String,
    new: String,
    round: usize,
}

/// How a run under `strace` ended.
struct Ended {
    /// `None`: killed.
    code: Option<i32>,
    /// What it said.
    said: String,
    /// Whether an error was injected; one that is killed writes no trace of it.
    injected: bool,
}

impl Scene {
    fn new(kind: Kind) -> Self {
        let bao = OpenBao::shared();
        let mount = bao.fresh_kv(2);
        let mut scene = Self {
            bao,
            mount,
            dir: tempfile::tempdir().unwrap(),
            kind,
            old: String::new(),
            new: String::new(),
            round: 0,
        };
        scene.turn();
        scene.heal_once();
        scene
    }

    /// What is on disk is the old value from now on, and the server gets a new one.
    fn turn(&mut self) {
        self.round += 1;
        self.old = std::mem::take(&mut self.new);
        self.new = format!("word{}", self.round);
        let value = |field: &str| Value::from(Self::value(&self.new, field));
        let fields = json!({ "a": value("a"), "b": value("b"), "c": "kept" });
        self.bao.kv2_put(&self.mount, "s", &fields);
        match self.kind {
            Kind::FirstFiles if self.round > 1 => fs::remove_dir_all(self.files()).unwrap(),
            Kind::Narrowed => {
                // The one before names it.
                let done = self.command(&self.setup(true), &[]).output().unwrap();
                assert!(done.status.success());
                self.old = self.new.clone();
                self.new = format!("word{}-new", self.round);
                let value = |field: &str| Value::from(Self::value(&self.new, field));
                let fields = json!({ "a": value("a"), "b": value("b") });
                self.bao.kv2_put(&self.mount, "s", &fields);
            }
            _ => {}
        }
    }

    /// Long enough for more than one page.
    fn value(word: &str, field: &str) -> String {
        format!("{word} {field} ").repeat(1000)
    }

    fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    fn setup(&self, with_c: bool) -> Setup {
        let dir = self.files();
        let dir = dir.display();
        let layout = match self.kind {
            Kind::Directory | Kind::Narrowed => "directory",
            _ => "files",
        };
        let in_place = self.kind == Kind::InPlace;
        let owner = if is_root() {
            format!(", owner: {OTHER}")
        } else {
            String::new()
        };
        let c = if with_c {
            format!("  - {{ path: {dir}/c, field: c }}\n")
        } else {
            String::new()
        };
        Daemon::new(&format!(
            "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {} }}\n\
             secrets:\n\
             - name: s\n\
             \x20 key: s\n\
             \x20 layout: {layout}\n\
             \x20 files:\n\
             \x20 - {{ path: {dir}/a, field: a, inPlace: {in_place} }}\n\
             \x20 - {{ path: {dir}/b, field: b, inPlace: {in_place}, mode: '0640'{owner} }}\n{c}",
            self.bao.address(),
            self.mount,
        ))
    }

    fn command(&self, setup: &Setup, strace: &[String]) -> Command {
        let binary = env!("CARGO_BIN_EXE_secrets-sync");
        let mut command = if strace.is_empty() {
            Command::new(binary)
        } else {
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o"]).arg(setup.path("trace"));
            command.args(strace).arg(binary);
            command
        };
        command
            .args(["run", "--once", "--timeout", "1s", "--config"])
            .arg(setup.path("config.yaml"))
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    /// Runs `--once` under `strace`.
    fn disturbed(&self, injection: &Injection<'_>) -> Ended {
        let setup = self.setup(false);
        let Injection { call, what, also } = injection;
        let mut strace = Vec::new();
        if *call == "openat" {
            strace.extend(["-P".to_owned(), self.files().display().to_string()]);
        }
        let main = format!("{call}:{what}");
        let all: Vec<&str> = std::iter::once(main.as_str())
            .chain(also.iter().copied())
            .collect();
        let calls: Vec<&str> = all
            .iter()
            .map(|one| one.split_once(':').unwrap().0)
            .collect();
        strace.extend(["-e".to_owned(), format!("trace={}", calls.join(","))]);
        for one in all {
            strace.extend(["-e".to_owned(), format!("inject={one}")]);
        }
        let done = self.command(&setup, &strace).output().unwrap();
        let trace = fs::read_to_string(setup.path("trace")).unwrap_or_default();
        Ended {
            code: done.status.code(),
            said: String::from_utf8_lossy(&done.stderr).into_owned(),
            injected: trace.contains("(INJECTED)"),
        }
    }

    /// Which files are new; one that is not whole fails.
    #[track_caller]
    fn seen(&self, about: &str) -> Vec<bool> {
        [
            ("a", 0o600, own()),
            ("b", 0o640, if is_root() { OTHER } else { own() }),
        ]
        .into_iter()
        .map(|(field, mode, owner)| {
            let path = self.files().join(field);
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) => {
                    assert_eq!(self.kind, Kind::FirstFiles, "{about}: {path:?}: {error}");
                    return false;
                }
            };
            let is_new = text == Self::value(&self.new, field);
            if self.kind != Kind::InPlace {
                let is_old = text == Self::value(&self.old, field);
                assert!(is_new || is_old, "{about}: {path:?} is not whole");
                let found = fs::metadata(&path).unwrap();
                let found = (found.permissions().mode() & 0o7777, found.uid());
                assert_eq!(found, (mode, owner), "{about}: {path:?}");
            }
            is_new
        })
        .collect()
    }

    #[track_caller]
    fn assert_new(&self, about: &str) {
        assert_eq!(self.seen(about), [true, true], "{about}");
        if self.kind == Kind::Narrowed {
            let kept = fs::read_to_string(self.files().join("c"));
            assert_eq!(kept.ok().as_deref(), Some("kept"), "{about}");
        }
    }

    /// Names that only a writer at work may leave there.
    fn left_over(&self) -> Vec<String> {
        let names = |dir: PathBuf| -> Vec<String> {
            let Ok(entries) = fs::read_dir(dir) else {
                return Vec::new();
            };
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| !["a", "b", "c", "..data"].contains(&name.as_str()))
                .collect()
        };
        let current = fs::read_link(self.files().join("..data")).unwrap_or_default();
        let mut left = names(self.files());
        left.retain(|name| Path::new(name) != current);
        if self.files().join("..data").exists() {
            left.extend(names(self.files().join("..data")));
        }
        left
    }

    /// A daemon starts, cleans up, and heals.
    #[track_caller]
    fn heal(&self, about: &str) {
        let daemon = self.setup(false).start();
        daemon.wait_ready(SOON);
        self.assert_new(about);
        // What a directory's switch replaced stays a second for its readers.
        let clean = poll(SOON, || self.left_over().is_empty().then_some(()));
        assert!(clean.is_some(), "{about}: {:?}", self.left_over());
    }

    /// The next run, whose start cleans up and whose only cycle heals.
    #[track_caller]
    fn heal_once(&self) {
        let done = self.command(&self.setup(false), &[]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        self.assert_new(&said);
        assert_eq!(self.left_over(), Vec::<String>::new(), "{said}");
    }
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn is_root() -> bool {
    own() == 0
}

fn strace_works() -> bool {
    Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Kills at every number of every call, until it is not made so often.
fn kill_at_every_call(kind: Kind) {
    let mut scene = Scene::new(kind);
    let mut kills = Vec::new();
    let mut mixed = 0;
    for call in CALLS {
        let mut when = 1;
        loop {
            let about = format!("{kind:?}: killed at {call} number {when}");
            scene.turn();
            let ended = scene.disturbed(&Injection {
                call,
                what: format!("signal=SIGKILL:when={when}"),
                also: &[],
            });
            let seen = scene.seen(&about);
            mixed += usize::from(seen[0] != seen[1]);
            if ended.code == Some(0) {
                scene.assert_new(&about);
                break;
            }
            assert_eq!(ended.code, None, "{about}: {}", ended.said);
            scene.heal(&about);
            when += 1;
        }
        assert!(
            when > kind.at_least(call),
            "{kind:?}: {call} made {} times",
            when - 1
        );
        kills.push(format!("{call} {}", when - 1));
    }
    println!("{kind:?}: killed at {}", kills.join(", "));
    match kind {
        Kind::Directory | Kind::Narrowed => assert_eq!(mixed, 0, "a mixed pair"),
        Kind::Files => assert!(mixed > 0, "no kill between two renames"),
        Kind::FirstFiles | Kind::InPlace => {}
    }
}

/// The errors that such a call meets in life.
fn errors_of(call: &str) -> &'static [&'static str] {
    match call {
        "openat" => &["EMFILE", "EACCES", "ENOSPC", "EROFS", "EIO"],
        "mkdirat" | "symlinkat" => &["ENOSPC", "EROFS", "EACCES", "EIO"],
        "fchmod" | "fchownat" => &["EPERM", "EROFS", "EIO"],
        "fallocate" | "pwrite64" | "ftruncate" => &["ENOSPC", "EIO", "EDQUOT"],
        "fsync" => &["EIO", "ENOSPC"],
        "linkat" => &["EPERM", "ENOSPC"],
        "unlink,unlinkat" => &["EACCES", "EROFS"],
        "flock" => &["ENOLCK"],
        _ => &["EROFS", "EACCES", "ENOSPC", "EIO"],
    }
}

/// From every number of every call on it fails, each time with the next of its errors.
fn fail_from_every_call(kind: Kind) {
    let mut scene = Scene::new(kind);
    let mut failures = Vec::new();
    for call in CALLS {
        let mut count = 0;
        loop {
            let errors = errors_of(call);
            let errno = errors[count % errors.len()];
            let when = count + 1;
            let about = format!("{kind:?}: {call} fails with {errno} from number {when} on");
            scene.turn();
            let ended = scene.disturbed(&Injection {
                call,
                what: format!("error={errno}:when={when}+"),
                also: &[],
            });
            let seen = scene.seen(&about);
            if ended.code == Some(0) {
                scene.assert_new(&about);
            } else {
                assert_eq!(ended.code, Some(1), "{about}: {}", ended.said);
                let said = &ended.said;
                let dir = scene.dir.path().display().to_string();
                assert!(said.contains("`s`: cannot "), "{about}: {said}");
                assert!(
                    said.contains(&dir) && said.contains("help: "),
                    "{about}: {said}"
                );
                // Only then may something be new: the first rename went well.
                let early = !["fsync", "rename,renameat,renameat2", "openat"].contains(call);
                if kind != Kind::InPlace && (early || *call != "fsync" && when == 1) {
                    assert_eq!(seen, [false, false], "{about}: {said}");
                }
                if !call.starts_with("unlink") {
                    let mut left = scene.left_over();
                    // What was replaced before the error goes with the next cycle.
                    left.retain(|name| {
                        !["openat", "fsync"].contains(call) || !name.starts_with("..")
                    });
                    assert_eq!(left, Vec::<String>::new(), "{about}: {said}");
                }
            }
            scene.heal_once();
            if !ended.injected {
                break;
            }
            count += 1;
        }
        assert!(
            count >= kind.at_least(call),
            "{kind:?}: {call} made {count} times"
        );
        failures.push(format!("{call} {count}"));
    }
    println!("{kind:?}: failed from {}", failures.join(", "));
}

macro_rules! matrix {
    ($($kind:ident: $killed:ident, $failed:ident;)+) => {$(
        #[test]
        fn $killed() {
            if !strace_works() {
                skip!("strace cannot trace here");
            }
            kill_at_every_call(Kind::$kind);
        }

        #[test]
        fn $failed() {
            if !strace_works() {
                skip!("strace cannot trace here");
            }
            fail_from_every_call(Kind::$kind);
        }
    )+};
}

matrix! {
    Files: files_survive_a_kill_at_every_call_that_changes_them,
        files_survive_an_error_from_every_call_on_and_the_next_run_heals;
    FirstFiles: first_files_survive_a_kill_at_every_call_that_makes_them,
        first_files_survive_an_error_from_every_call_on_and_the_next_run_heals;
    Directory: a_directory_survives_a_kill_at_every_call_that_changes_it,
        a_directory_survives_an_error_from_every_call_on_and_the_next_run_heals;
    InPlace: files_in_place_are_repaired_after_a_kill_at_every_call_that_changes_them,
        files_in_place_are_repaired_after_an_error_from_every_call_on;
}

#[test]
fn a_file_that_is_named_no_more_survives_a_kill_while_it_follows_its_directory() {
    if !strace_works() {
        skip!("strace cannot trace here");
    }
    // As for a file of another user under `fs.protected_hardlinks`: it is moved, after the switch.
    let refused = ["linkat:error=EPERM"];
    let mut scene = Scene::new(Kind::Narrowed);
    let cases: [(&str, usize, &[&str]); 6] = [
        ("linkat", 1, &[]),
        ("rename,renameat,renameat2", 1, &refused),
        ("rename,renameat,renameat2", 2, &refused),
        ("symlinkat", 1, &refused),
        ("symlinkat", 2, &refused),
        ("unlink,unlinkat", 3, &refused),
    ];
    for (call, when, also) in cases {
        for (what, killed) in [("signal=SIGKILL", true), ("error=EIO", false)] {
            let about = format!("{what} at {call} number {when}, {also:?}");
            scene.turn();
            let what = format!("{what}:when={when}");
            let ended = scene.disturbed(&Injection { call, what, also });
            assert_eq!(ended.code.is_none(), killed, "{about}: {}", ended.said);
            let seen = scene.seen(&about);
            assert_eq!(seen[0], seen[1], "{about}: a mixed pair");
            scene.heal(&about);
        }
    }
}

#[test]
fn calls_that_signals_interrupt_are_made_again() {
    if !strace_works() {
        skip!("strace cannot trace here");
    }
    for kind in [Kind::Files, Kind::Directory, Kind::InPlace] {
        let mut scene = Scene::new(kind);
        for call in CALLS.iter().filter(|call| kind.at_least(call) > 0) {
            scene.turn();
            let ended = scene.disturbed(&Injection {
                call,
                what: "error=EINTR:when=1+2".to_owned(),
                also: &[],
            });
            assert_eq!(ended.code, Some(0), "{kind:?}, {call}: {}", ended.said);
            assert!(ended.injected, "{kind:?}, {call}");
            scene.assert_new(call);
            assert_eq!(scene.left_over(), Vec::<String>::new(), "{kind:?}, {call}");
        }
    }
}
