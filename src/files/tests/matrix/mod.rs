//! The crash matrix: a start or a cycle that is killed at, or meets an error in, each of its system
//! calls in turn. Afterwards every file is wholly old or wholly new, the next cycle heals, and the
//! next start leaves no temporary.

mod errors;
mod kills;

use rustix::io::Errno;

use super::faults::{self, Fault, Faults};
use super::*;
use crate::files::{Swept, name, sweep};

const NAMES: [&str; 2] = ["a", "b"];
const OLD: [&str; 2] = ["old content of a", "old content of b"];
const NEW: [&str; 2] = ["the new content of a", "the new content of b, longer"];
const MODES: [u32; 2] = [0o600, 0o640];
/// A file that its secret does not name any more, and what it holds.
const KEPT: &str = "c";
const KEPT_CONTENT: &str = "the content of c, which stays";
/// Who gets `b`, where owners can be set.
const OTHER: u32 = 12345;
/// Left behind by an earlier crash.
const TEMPORARY: &str = ".secrets-sync-0123456789ab.tmp";
const GENERATION: &str = "..2026_01_02_03_04_05.abcdefABCD09";

/// What the daemon finds, and does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scene {
    /// Two files beside each other are replaced.
    Files,
    /// They and their directories are made.
    FirstFiles,
    /// A start: left-overs of a crash are removed, two files in two directories replaced.
    Start,
    /// A generation is replaced.
    Directory,
    /// The first generation is made.
    FirstGeneration,
    /// Plain files become links into the first generation.
    FirstDirectory,
    /// A generation is replaced, and a file that is named no more taken over.
    Narrowed,
    /// The same, where files cannot have a second name.
    Moved,
    /// A start: left-overs of crashes are removed, and a generation replaced.
    StartDirectory,
    /// Files are written in place, and get their mode back.
    InPlace,
}

const SCENES: [Scene; 10] = [
    Scene::Files,
    Scene::FirstFiles,
    Scene::Start,
    Scene::Directory,
    Scene::FirstGeneration,
    Scene::FirstDirectory,
    Scene::Narrowed,
    Scene::Moved,
    Scene::StartDirectory,
    Scene::InPlace,
];

impl Scene {
    fn named(name: &str) -> Self {
        SCENES
            .into_iter()
            .find(|scene| format!("{scene:?}") == name)
            .unwrap()
    }

    /// Whether its layout is `directory`.
    fn is_switched(self) -> bool {
        !matches!(
            self,
            Self::Files | Self::FirstFiles | Self::Start | Self::InPlace
        )
    }

    /// Whether there are no files before it.
    fn is_first(self) -> bool {
        matches!(self, Self::FirstFiles | Self::FirstGeneration)
    }

    fn is_start(self) -> bool {
        matches!(self, Self::Start | Self::StartDirectory)
    }

    /// Whether a generation with one more file is replaced.
    fn is_narrowed(self) -> bool {
        matches!(self, Self::Narrowed | Self::Moved)
    }

    fn faults(self, at: Option<(usize, Fault)>) -> Faults {
        Faults {
            at,
            never: (self == Self::Moved).then_some(("share", Errno::PERM)),
            ..Faults::default()
        }
    }

    fn path(self, home: &Path, index: usize) -> PathBuf {
        let dir = match (self, index) {
            (Self::FirstFiles | Self::FirstGeneration, _) => "made/deep",
            (Self::Start, 1) => "other",
            _ => "there",
        };
        home.join(dir).join(NAMES[index])
    }

    /// The directories of its files.
    fn dirs(self, home: &Path) -> Vec<PathBuf> {
        let mut dirs: Vec<_> = (0..2)
            .map(|index| self.path(home, index).parent().unwrap().to_owned())
            .collect();
        dirs.dedup();
        dirs
    }

    fn targets(self, home: &Path) -> Vec<Target> {
        let mut targets = vec![
            with_mode(self.path(home, 0), "0600"),
            with_mode(self.path(home, 1), "0640"),
        ];
        targets[1].owner = rustix::process::geteuid().is_root().then_some(OTHER);
        for target in &mut targets {
            target.in_place = self == Self::InPlace;
        }
        targets
    }

    /// What was there before.
    fn prepare(self, home: &Path) {
        if self.is_first() {
            return;
        }
        let dirs = self.dirs(home);
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
        }
        let mut targets = self.targets(home);
        let mut contents = OLD.to_vec();
        if self.is_narrowed() {
            targets.push(with_mode(dirs[0].join(KEPT), "0600"));
            contents.push(KEPT_CONTENT);
        }
        let switched = self.is_switched() && self != Self::FirstDirectory;
        Writer::new(targets, switched)
            .commit(&files(&contents))
            .unwrap();
        match self {
            Self::InPlace => chmod(&self.path(home, 0), 0o644),
            Self::Start => {
                for dir in &dirs {
                    fs::write(dir.join(TEMPORARY), "half a secr").unwrap();
                }
            }
            Self::StartDirectory => {
                let dir = &dirs[0];
                fs::write(dir.join(TEMPORARY), "half a secr").unwrap();
                fs::create_dir(dir.join(GENERATION)).unwrap();
                fs::write(dir.join(GENERATION).join("a"), "half a secr").unwrap();
                std::os::unix::fs::symlink(GENERATION, dir.join("..data_tmp")).unwrap();
            }
            _ => {}
        }
    }

    fn sweep(self, home: &Path) -> Swept {
        let targets = self.targets(home);
        sweep([(targets.as_slice(), self.is_switched())])
    }

    /// What is killed or disturbed: the clean-up of a start, and a cycle.
    fn run(self, worker: &mut Worker) -> Result<Committed, WriteError> {
        if self.is_start() {
            for warning in self.sweep(&worker.home).warnings {
                assert!(says_step_and_path(&warning, &worker.home), "{warning}");
            }
        }
        worker.cycle()
    }

    /// The calls of an undisturbed run.
    fn calls(self, halves: bool) -> Vec<&'static str> {
        let home = Home::quick();
        self.prepare(home.dir.path());
        let mut worker = Worker::new(self, home.dir.path());
        let faults = Faults {
            halves,
            ..self.faults(None)
        };
        let (done, calls) = faults::with(faults, || self.run(&mut worker));
        assert_eq!(done.unwrap().written.len(), 2);
        assert!(calls.len() > 20, "{self:?}: {calls:?}");
        calls
    }

    /// Whole, with its mode and owner, old or new: which of them are new.
    #[track_caller]
    fn check(self, home: &Path, about: &str) -> Vec<bool> {
        (0..2)
            .map(|index| {
                let path = self.path(home, index);
                let text = match fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) => {
                        assert!(self.is_first(), "{about}: {error}");
                        return false;
                    }
                };
                if self != Self::InPlace {
                    let whole = [OLD[index], NEW[index]].contains(&text.as_str());
                    assert!(whole, "{about}: {path:?} holds `{text}`");
                    let targets = self.targets(home);
                    let owner = targets[index].owner.unwrap_or(look(home).1);
                    let (mode, uid, _) = look(fs::canonicalize(&path).unwrap());
                    assert_eq!((mode, uid), (MODES[index], owner), "{about}");
                }
                text == NEW[index]
            })
            .collect()
    }

    /// After a cycle that went well: all is new, and what is named no more is there.
    #[track_caller]
    fn check_new(self, home: &Path, about: &str) {
        assert_eq!(self.check(home, about), [true, true], "{about}");
        for (index, mode) in MODES.into_iter().enumerate() {
            let found = look(fs::canonicalize(self.path(home, index)).unwrap()).0;
            assert_eq!(found, mode, "{about}");
        }
        if self.is_narrowed() {
            let kept = fs::read_to_string(self.dirs(home)[0].join(KEPT));
            assert_eq!(kept.ok().as_deref(), Some(KEPT_CONTENT), "{about}");
        }
    }

    /// The next start and its first cycle.
    #[track_caller]
    fn start_again(self, home: &Path, about: &str) {
        let swept = self.sweep(home);
        assert_eq!(swept.warnings, Vec::<String>::new(), "{about}");
        assert_eq!(self.left_over(home), Vec::<String>::new(), "{about}");
        let done = Worker::new(self, home).cycle();
        done.unwrap_or_else(|error| panic!("{about}: {error}"));
        self.check_new(home, about);
        assert_eq!(self.left_over(home), Vec::<String>::new(), "{about}");
    }

    /// What only a writer at work may have there: temporaries, and generations that are not in use.
    fn left_over(self, home: &Path) -> Vec<String> {
        let mut left = Vec::new();
        for dir in self.dirs(home) {
            if !dir.exists() {
                continue;
            }
            let current = fs::read_link(dir.join("..data")).unwrap_or_default();
            let is_left = |name: &String| {
                !NAMES.contains(&name.as_str())
                    && ![KEPT, "..data"].contains(&name.as_str())
                    && Path::new(name) != current
            };
            left.extend(names(&dir).into_iter().filter(is_left));
            let allowed = |name: &String| NAMES.contains(&name.as_str()) || name == KEPT;
            if dir.join("..data").exists() {
                let inside = names(&dir.join("..data"));
                left.extend(inside.into_iter().filter(|name| !allowed(name)));
            }
        }
        left
    }
}

/// The worker of the secret: it proves once, commits each cycle, and clears up after its readers.
struct Worker {
    home: PathBuf,
    writer: Writer,
    proved: bool,
}

impl Worker {
    fn new(scene: Scene, home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            writer: Writer::new(scene.targets(home), scene.is_switched()),
            proved: false,
        }
    }

    fn cycle(&mut self) -> Result<Committed, WriteError> {
        if !self.proved {
            self.writer.prove()?;
            self.proved = true;
        }
        let committed = self.writer.commit(&files(&NEW))?;
        // What cannot be removed is no failure: the next commit or start removes it.
        let _ = self.writer.remove_old();
        Ok(committed)
    }
}

/// As in "cannot rename `/s/a`: …", of a path in `home` or above it.
fn says_step_and_path(text: &str, home: &Path) -> bool {
    let Some((step, rest)) = text
        .strip_prefix("cannot ")
        .and_then(|text| text.split_once(" `"))
    else {
        return false;
    };
    let Some((path, cause)) = rest.split_once("`: ") else {
        return false;
    };
    let related = Path::new(path).starts_with(home) || home.starts_with(path);
    !step.is_empty() && related && !cause.is_empty()
}
