//! The crash matrix: a commit that is killed at, or meets an error in, each of its system calls in
//! turn. Afterwards every file is wholly old or wholly new, the next start leaves no temporary, and
//! the next commit heals.

use rustix::io::Errno;

use super::faults::{self, Fault};
use super::*;
use crate::files::sweep;

/// Set for the process that is to be killed: scene, directory and number of the call.
const VICTIM: &str = "SECRETS_SYNC_TEST_MATRIX";

const OLD: [&str; 2] = ["old content of a", "old content of b"];
const NEW: [&str; 2] = ["the new content of a", "the new content of b, longer"];
const MODES: [u32; 2] = [0o600, 0o640];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scene {
    /// Two files beside each other are replaced.
    Files,
    /// They and their directories are made.
    FirstFiles,
    /// A generation is replaced.
    Directory,
    /// Plain files become links into the first generation.
    FirstDirectory,
    /// A file is written in place.
    InPlace,
}

const SCENES: [Scene; 5] = [
    Scene::Files,
    Scene::FirstFiles,
    Scene::Directory,
    Scene::FirstDirectory,
    Scene::InPlace,
];

impl Scene {
    fn named(name: &str) -> Self {
        SCENES
            .into_iter()
            .find(|scene| format!("{scene:?}") == name)
            .unwrap()
    }

    fn switched(self) -> bool {
        matches!(self, Self::Directory | Self::FirstDirectory)
    }

    fn dir(self, home: &Path) -> PathBuf {
        if self == Self::FirstFiles {
            home.join("made/deep")
        } else {
            home.join("there")
        }
    }

    fn targets(self, home: &Path) -> Vec<Target> {
        let dir = self.dir(home);
        let mut targets = vec![
            with_mode(dir.join("a"), "0600"),
            with_mode(dir.join("b"), "0640"),
        ];
        for target in &mut targets {
            target.in_place = self == Self::InPlace;
        }
        targets
    }

    /// What was there before the commit.
    fn prepare(self, home: &Path) {
        if self == Self::FirstFiles {
            return;
        }
        fs::create_dir(self.dir(home)).unwrap();
        let switched = self == Self::Directory;
        Writer::new(self.targets(home), switched)
            .commit(&files(&OLD))
            .unwrap();
    }

    fn commit(self, home: &Path) -> Result<Committed, WriteError> {
        Writer::new(self.targets(home), self.switched()).commit(&files(&NEW))
    }

    /// The calls of an undisturbed commit.
    fn calls(self) -> Vec<&'static str> {
        let home = Home::quick();
        self.prepare(home.dir.path());
        let (done, calls) = faults::with(None, || self.commit(home.dir.path()));
        assert_eq!(done.unwrap().written.len(), 2);
        assert!(calls.len() > 10, "{self:?}: {calls:?}");
        calls
    }

    /// Whole and with its mode, old or new: which of them are new.
    #[track_caller]
    fn check(self, home: &Path, about: &str) -> Vec<bool> {
        (0..2)
            .map(|index| {
                let path = self.dir(home).join(["a", "b"][index]);
                let text = match fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) => {
                        assert_eq!(self, Self::FirstFiles, "{about}: {error}");
                        return false;
                    }
                };
                if self != Self::InPlace {
                    let whole = [OLD[index], NEW[index]].contains(&text.as_str());
                    assert!(whole, "{about}: {path:?} holds `{text}`");
                    let mode = fs::metadata(&path).unwrap().permissions().mode();
                    assert_eq!(mode & 0o7777, MODES[index], "{about}");
                }
                text == NEW[index]
            })
            .collect()
    }

    /// The next start and its first cycle.
    #[track_caller]
    fn heal(self, home: &Path, about: &str) {
        let targets = self.targets(home);
        let swept = sweep([(targets.as_slice(), self.switched())]);
        assert_eq!(swept.warnings, Vec::<String>::new(), "{about}");
        assert_eq!(temporaries(&self.dir(home)), 0, "{about}");
        let mut writer = Writer::new(self.targets(home), self.switched());
        writer
            .commit(&files(&NEW))
            .unwrap_or_else(|error| panic!("{about}: {error}"));
        assert_eq!(self.check(home, about), [true, true], "{about}");
        assert_eq!(
            writer.remove_old().unwrap(),
            Vec::<String>::new(),
            "{about}"
        );
        let left = if self.switched() { 4 } else { 2 };
        assert_eq!(names(&self.dir(home)).len(), left, "{about}");
    }
}

/// Files that only a writer at work may have there.
fn temporaries(dir: &Path) -> usize {
    if !dir.exists() {
        return 0;
    }
    let names = names(dir);
    let is_ours = |name: &&String| name.ends_with(".tmp") || *name == "..data_tmp";
    names.iter().filter(is_ours).count()
}

/// Does nothing in an ordinary run: it is the process that is killed.
#[test]
fn victim() {
    let Ok(words) = std::env::var(VICTIM) else {
        return;
    };
    let words: Vec<&str> = words.split('\n').collect();
    let (scene, home) = (Scene::named(words[0]), Path::new(words[1]));
    let at = words[2].parse().unwrap();
    let _ = faults::with(Some((at, Fault::Kill)), || scene.commit(home));
}

fn kill_at_each_call(scene: Scene) {
    let calls = scene.calls();
    let mut half_new = 0;
    for (at, call) in calls.iter().enumerate() {
        let about = format!("{scene:?} killed at call {at}, `{call}`");
        let home = Home::quick();
        scene.prepare(home.dir.path());
        let mut victim = start(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "files::tests::matrix::victim"])
                .env(
                    VICTIM,
                    format!("{scene:?}\n{}\n{at}", home.dir.path().display()),
                )
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let status = victim.wait().unwrap();
        let _nobody = nobody_starts();
        assert!(!status.success(), "{about}: it lived");
        let new = scene.check(home.dir.path(), &about);
        half_new += usize::from(new[0] != new[1]);
        scene.heal(home.dir.path(), &about);
    }
    // Plain files become links one after the other; from then on all are switched at once.
    if scene == Scene::Directory {
        assert_eq!(half_new, 0, "{scene:?}: a mixed pair");
    }
}

#[test]
fn files_survive_a_kill_at_each_system_call() {
    kill_at_each_call(Scene::Files);
}

#[test]
fn first_files_survive_a_kill_at_each_system_call() {
    kill_at_each_call(Scene::FirstFiles);
}

#[test]
fn a_generation_survives_a_kill_at_each_system_call() {
    kill_at_each_call(Scene::Directory);
}

#[test]
fn the_change_to_a_directory_survives_a_kill_at_each_system_call() {
    kill_at_each_call(Scene::FirstDirectory);
}

#[test]
fn a_file_in_place_is_repaired_after_a_kill_at_each_system_call() {
    kill_at_each_call(Scene::InPlace);
}

#[test]
fn an_error_in_any_system_call_leaves_whole_files_says_where_and_heals() {
    let errors = [
        Errno::NOSPC,
        Errno::IO,
        Errno::ROFS,
        Errno::ACCESS,
        Errno::MFILE,
        Errno::DQUOT,
    ];
    for scene in SCENES {
        let calls = scene.calls();
        let shown = calls
            .iter()
            .position(|call| matches!(*call, "rename" | "write_all" if scene == Scene::InPlace || *call == "rename"))
            .unwrap();
        for errno in errors {
            for (at, call) in calls.iter().enumerate() {
                let _nobody = nobody_starts();
                let about = format!("{scene:?}, {errno:?} at call {at}, `{call}`");
                let home = Home::quick();
                scene.prepare(home.dir.path());
                let fault = Some((at, Fault::Error(errno)));
                let (done, made) = faults::with(fault, || scene.commit(home.dir.path()));
                let new = scene.check(home.dir.path(), &about);
                match done {
                    Ok(_) => assert_eq!(new, [true, true], "{about}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(
                            text.contains("`/") && text.contains(": "),
                            "{about}: {text}"
                        );
                        if at < shown && scene != Scene::InPlace {
                            assert_eq!(new, [false, false], "{about}");
                        }
                        let cleaned = !matches!(*call, "unlink" | "remove_directory");
                        if cleaned && scene.dir(home.dir.path()).exists() {
                            let left = temporaries(&scene.dir(home.dir.path()));
                            assert_eq!(left, 0, "{about}: {made:?}");
                        }
                    }
                }
                scene.heal(home.dir.path(), &about);
            }
        }
    }
}

#[test]
fn interrupts_and_short_writes_are_not_noticed() {
    for scene in SCENES {
        let calls = scene.calls();
        let interrupts = (0..calls.len()).map(|at| (at, Fault::Error(Errno::INTR)));
        for fault in interrupts.chain([(0, Fault::ShortWrites)]) {
            let _nobody = nobody_starts();
            let about = format!("{scene:?} {fault:?}");
            let home = Home::quick();
            scene.prepare(home.dir.path());
            let (done, _) = faults::with(Some(fault), || scene.commit(home.dir.path()));
            assert_eq!(done.expect(&about).written.len(), 2, "{about}");
            assert_eq!(
                scene.check(home.dir.path(), &about),
                [true, true],
                "{about}"
            );
            assert_eq!(temporaries(&scene.dir(home.dir.path())), 0, "{about}");
        }
    }
}

#[test]
fn an_error_in_any_system_call_of_the_sweep_is_named_and_the_next_sweep_finishes() {
    let prepare = || {
        let home = Home::quick();
        Scene::Directory.prepare(home.dir.path());
        let dir = Scene::Directory.dir(home.dir.path());
        fs::write(dir.join(".secrets-sync-0123456789ab.tmp"), "x").unwrap();
        let stale = dir.join(fs::read_link(dir.join("..data")).unwrap());
        let name = stale.file_name().unwrap().to_str().unwrap().to_owned();
        let other: String = name
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        if other != name {
            fs::create_dir(dir.join(&other)).unwrap();
            fs::write(dir.join(other).join("a"), "x").unwrap();
        }
        home
    };
    let run = |home: &Home| {
        let targets = Scene::Directory.targets(home.dir.path());
        sweep([(targets.as_slice(), true)])
    };
    let home = prepare();
    let (swept, calls) = faults::with(None, || run(&home));
    assert!(!swept.removed.is_empty() && swept.warnings.is_empty());
    for errno in [Errno::IO, Errno::ACCESS, Errno::MFILE, Errno::INTR] {
        for at in 0..calls.len() {
            let _nobody = nobody_starts();
            let home = prepare();
            let (first, _) = faults::with(Some((at, Fault::Error(errno))), || run(&home));
            assert!(
                first.warnings.is_empty() || errno != Errno::INTR,
                "{first:?}"
            );
            let again = run(&home);
            assert_eq!(again.warnings, Vec::<String>::new());
            let dir = Scene::Directory.dir(home.dir.path());
            assert_eq!(names(&dir).len(), 4, "{errno:?} at {at}: {:?}", names(&dir));
            assert_eq!(read(dir.join("a")), OLD[0]);
        }
    }
}
