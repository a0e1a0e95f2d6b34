//! The daemon's side of the file.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::record::{
    Attempt, DAEMON, DaemonFacts, DaemonLine, SECRET, SecretFacts, SecretLine, name_of,
};
use super::{ATTEMPTS, details_path};
use crate::clock::Tick;
use crate::observe::status::TIMES_MOVE;
use crate::observe::status_file::{BETWEEN, lies_at, owner, put};

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// So much may stand in the file when it has just been written anew: with more, fewer attempts of
/// each secret are kept.
const MOST: usize = 16 << 20;

/// It is written anew when half as much is appended as it held then, and so much at least.
const APPENDED: usize = 256 << 10;

/// What waits to be written, while it cannot be: later attempts are left out.
const PENDING: usize = 1 << 20;

/// Writes the file: see the [module](super).
#[derive(Debug)]
pub struct Details {
    path: PathBuf,
    file: Option<File>,
    /// What it held when it was written anew, and what it holds.
    whole: usize,
    size: usize,
    /// The lines of daemon and secrets that are to be written.
    facts: Option<String>,
    /// Attempts that are to be appended.
    pending: String,
    /// Somebody waits for one of them.
    is_awaited: bool,
    not_before: Tick,
    /// The same, while nobody waits.
    calm_before: Tick,
}

impl Details {
    /// Beside that status file. Nothing is written before [`Details::describe`].
    #[must_use]
    pub fn new(status_file: &Path) -> Self {
        Self {
            path: details_path(status_file),
            file: None,
            whole: 0,
            size: 0,
            facts: None,
            pending: String::new(),
            is_awaited: false,
            not_before: Tick::default(),
            calm_before: Tick::default(),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration that runs from now on. What is known of secrets that it does not have is
    /// forgotten.
    pub fn describe(&mut self, daemon: &DaemonFacts, secrets: &[SecretFacts]) {
        let mut text = String::new();
        // Plain data cannot fail to be written.
        let line = serde_json::to_string(&DaemonLine { daemon }).unwrap_or_default();
        let _ = writeln!(text, "{line}");
        for secret in secrets {
            let line = serde_json::to_string(&SecretLine { secret }).unwrap_or_default();
            let _ = writeln!(text, "{line}");
        }
        self.facts = Some(text);
    }

    /// An attempt of that secret has ended; a calm one can wait, unless there are very many.
    pub fn attempt(&mut self, name: &str, attempt: &Attempt, is_calm: bool) {
        if self.pending.len() < PENDING {
            self.pending.push_str(&attempt.line(name));
        }
        self.is_awaited |= !is_calm || self.pending.len() >= PENDING / 4;
    }

    /// Writes what is due: at most once a second, and every five where nobody waits for it. When to tick
    /// again, while something waits.
    ///
    /// # Errors
    ///
    /// Why it could not be written: told, never fatal, tried again.
    pub fn tick(&mut self, now: Tick) -> io::Result<Option<Tick>> {
        if self.facts.is_none() && (self.pending.is_empty() || self.file.is_none()) {
            return Ok(None);
        }
        let due = if self.facts.is_some() || self.is_awaited {
            self.not_before
        } else {
            self.calm_before
        };
        if now < due {
            return Ok(Some(due));
        }
        self.not_before = now + BETWEEN;
        self.calm_before = now + TIMES_MOVE;
        self.write().map(|()| None).inspect_err(|_| {
            self.not_before = now + RETRY;
        })
    }

    /// Writes what waits, at a clean exit. The file stays.
    pub fn close(mut self) {
        let _ = self.write();
    }

    fn write(&mut self) -> io::Result<()> {
        let grown = self.size + self.pending.len();
        let is_there = self
            .file
            .as_ref()
            .is_some_and(|file| lies_at(file, &self.path));
        if self.facts.is_some() || !is_there || grown > self.whole + (self.whole / 2).max(APPENDED)
        {
            return self.renew();
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if let Err(error) = file.write_all(self.pending.as_bytes()) {
            // Half of it may stand there, and all of it comes again.
            let _ = file.set_len(self.size as u64);
            let _ = file.seek(SeekFrom::End(0));
            return Err(error);
        }
        self.size = grown;
        self.written();
        Ok(())
    }

    /// Writes it anew, with the last attempts of each secret only.
    fn renew(&mut self) -> io::Result<()> {
        let mut text = match &mut self.file {
            Some(file) => content(file),
            None => old(&self.path),
        };
        text.push_str(&self.pending);
        let Some(facts) = self.facts.clone().or_else(|| facts_of(&text)) else {
            return Ok(());
        };
        let mut most = ATTEMPTS;
        let mut bytes = compact(&facts, &text, most);
        while bytes.len() > MOST && most > 1 {
            most /= 2;
            bytes = compact(&facts, &text, most);
        }
        self.file = Some(put(&self.path, bytes.as_bytes())?);
        self.whole = bytes.len();
        self.size = bytes.len();
        self.facts = None;
        self.written();
        Ok(())
    }

    fn written(&mut self) {
        self.pending.clear();
        self.is_awaited = false;
    }
}

/// The lines of daemon and secrets.
fn facts_of(text: &str) -> Option<String> {
    let lines = text
        .lines()
        .filter(|line| line.starts_with(DAEMON) || line.starts_with(SECRET));
    let facts: String = lines.flat_map(|line| [line, "\n"]).collect();
    (!facts.is_empty()).then_some(facts)
}

/// The facts, and behind them the last `most` attempts of the secrets that they tell of.
fn compact(facts: &str, text: &str, most: usize) -> String {
    let names: HashSet<String> = facts
        .lines()
        .filter_map(|line| serde_json::from_str::<SecretLine<Name>>(line).ok())
        .map(|line| line.secret.name)
        .collect();
    let mut attempts: HashMap<&str, VecDeque<&str>> = HashMap::with_capacity(names.len());
    for line in text.lines() {
        let Some(name) = name_of(line).filter(|name| names.contains(*name)) else {
            continue;
        };
        // Half a line would be one for ever.
        if !line.ends_with(']') {
            continue;
        }
        let lines = attempts.entry(name).or_default();
        if lines.len() >= most {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    let mut bytes = facts.to_owned();
    for line in attempts.values().flatten() {
        bytes.push_str(line);
        bytes.push('\n');
    }
    bytes
}

#[derive(serde::Deserialize)]
struct Name {
    name: String,
}

/// The whole of our own file.
fn content(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.take(2 * MOST as u64).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// What another daemon left there, if it is to be believed.
fn old(path: &Path) -> String {
    let Ok(mut file) = owner::open(path, OFlags::RDONLY, Mode::empty()) else {
        return String::new();
    };
    match owner::distrust(&file, path) {
        Ok(None) => content(&mut file),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Known, read};
    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
        details: Details,
        now: Tick,
    }

    fn facts(names: &[&str]) -> Vec<SecretFacts> {
        let facts = |name: &&str| SecretFacts {
            name: (*name).to_owned(),
            ..SecretFacts::default()
        };
        names.iter().map(facts).collect()
    }

    impl Bench {
        fn start(names: &[&str]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self::again(directory, names)
        }

        fn again(directory: tempfile::TempDir, names: &[&str]) -> Self {
            let mut details = Details::new(&directory.path().join("status.json"));
            details.describe(&DaemonFacts::default(), &facts(names));
            let now = Tick::from_start(Duration::from_secs(10));
            assert_eq!(details.tick(now).unwrap(), None);
            Self {
                directory,
                details,
                now,
            }
        }

        /// Attempts of that secret, each told by its time, a second apart.
        fn attempts(&mut self, name: &str, times: std::ops::Range<u64>) {
            for at_ms in times {
                let attempt = Attempt {
                    at_ms,
                    reason: "interval".into(),
                    ..Attempt::default()
                };
                self.details.attempt(name, &attempt, false);
                self.now = self.now + BETWEEN;
                self.details.tick(self.now).unwrap();
            }
        }

        fn read(&self, name: &str) -> Known {
            let status = self.directory.path().join("status.json");
            read(&status, name).unwrap().unwrap()
        }

        fn times(&self, name: &str) -> Vec<u64> {
            let known = self.read(name);
            known.attempts.iter().map(|attempt| attempt.at_ms).collect()
        }

        fn size(&self) -> usize {
            usize::try_from(self.details.path().metadata().unwrap().len()).unwrap()
        }
    }

    #[test]
    fn the_last_twenty_attempts_of_each_secret_are_there() {
        let mut bench = Bench::start(&["a", "b"]);
        bench.attempts("a", 0..3);
        bench.attempts("b", 10..40);
        assert_eq!(bench.times("a"), [0, 1, 2]);
        assert_eq!(bench.times("b"), (20..40).collect::<Vec<_>>());
        assert!(bench.times("c").is_empty());
        let mode = std::os::unix::fs::MetadataExt::mode(&bench.details.path().metadata().unwrap());
        assert_eq!(mode & 0o7777, 0o644);
    }

    #[test]
    fn it_is_written_at_most_once_a_second() {
        let mut bench = Bench::start(&["a"]);
        bench.details.attempt("a", &Attempt::default(), false);
        let soon = bench.now + Duration::from_millis(999);
        assert_eq!(bench.details.tick(soon).unwrap(), Some(bench.now + BETWEEN));
        assert!(bench.times("a").is_empty());
        assert_eq!(bench.details.tick(bench.now + BETWEEN).unwrap(), None);
        assert_eq!(bench.times("a"), [0]);
    }

    #[test]
    fn calm_attempts_wait_for_five_seconds_or_for_one_that_is_awaited() {
        let mut bench = Bench::start(&["a"]);
        let (start, calm) = (bench.now, bench.now + TIMES_MOVE);
        let attempt = |at_ms| Attempt {
            at_ms,
            ..Attempt::default()
        };
        bench.details.attempt("a", &attempt(1), true);
        assert_eq!(bench.details.tick(start + BETWEEN).unwrap(), Some(calm));
        assert_eq!(bench.details.tick(calm).unwrap(), None);
        assert_eq!(bench.times("a"), [1]);
        bench.details.attempt("a", &attempt(2), true);
        bench.details.attempt("a", &attempt(3), false);
        assert_eq!(bench.details.tick(calm + BETWEEN).unwrap(), None);
        assert_eq!(bench.times("a"), [1, 2, 3]);
        for at_ms in 10_000..20_000 {
            bench.details.attempt("a", &attempt(at_ms), true);
        }
        let soon = calm + BETWEEN + BETWEEN;
        assert_eq!(bench.details.tick(soon).unwrap(), None, "too many to wait");
        assert_eq!(bench.times("a").last(), Some(&19_999));
        bench.details.attempt("a", &attempt(20_000), true);
        bench.details.close();
        let status = bench.directory.path().join("status.json");
        let known = read(&status, "a").unwrap().unwrap();
        assert_eq!(known.attempts.last().unwrap().at_ms, 20_000);
    }

    #[test]
    fn it_does_not_grow_and_loses_nothing_on_the_way() {
        let mut bench = Bench::start(&["a", "b"]);
        bench.attempts("b", 0..5);
        let mut largest = 0;
        for from in (0..20_000).step_by(100) {
            bench.attempts("a", from..from + 100);
            largest = largest.max(bench.size());
        }
        assert!(largest < APPENDED + 10_000, "{largest}");
        assert_eq!(bench.times("a"), (19_980..20_000).collect::<Vec<_>>());
        assert_eq!(bench.times("b"), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn attempts_outlive_the_daemon_and_those_of_removed_secrets_go() {
        let mut bench = Bench::start(&["a", "b"]);
        bench.attempts("a", 0..2);
        bench.attempts("b", 0..2);
        bench.details.attempt(
            "a",
            &Attempt {
                at_ms: 2,
                ..Attempt::default()
            },
            true,
        );
        bench.details.close();
        let mut bench = Bench::again(bench.directory, &["a", "new"]);
        bench.attempts("a", 3..4);
        assert_eq!(bench.times("a"), [0, 1, 2, 3]);
        assert!(bench.times("b").is_empty());
        assert_eq!(bench.read("a").names, ["a", "new"]);
    }

    #[test]
    fn a_file_that_somebody_removed_or_replaced_comes_back_whole() {
        let mut bench = Bench::start(&["a"]);
        bench.attempts("a", 0..2);
        std::fs::remove_file(bench.details.path()).unwrap();
        bench.attempts("a", 2..3);
        assert_eq!(bench.times("a"), [0, 1, 2]);
        let victim = bench.directory.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        std::fs::remove_file(bench.details.path()).unwrap();
        std::os::unix::fs::symlink(&victim, bench.details.path()).unwrap();
        bench.attempts("a", 3..4);
        assert_eq!(bench.times("a"), [0, 1, 2, 3]);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(bench.read("a").names, ["a"]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_and_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut details = Details::new(&directory.path().join("later/status.json"));
        details.describe(&DaemonFacts::default(), &facts(&["a"]));
        let now = Tick::from_start(Duration::from_secs(10));
        assert!(details.tick(now).is_err());
        details.attempt("a", &Attempt::default(), false);
        std::fs::create_dir(directory.path().join("later")).unwrap();
        assert_eq!(details.tick(now + BETWEEN).unwrap(), Some(now + RETRY));
        assert_eq!(details.tick(now + RETRY).unwrap(), None);
        let known = read(&directory.path().join("later/status.json"), "a").unwrap();
        assert_eq!(known.unwrap().attempts.len(), 1);
    }

    #[test]
    fn with_very_many_secrets_fewer_attempts_are_kept_rather_than_a_file_without_end() {
        let error = "e".repeat(150);
        let mut text = String::new();
        let names: Vec<String> = (0..5_000).map(|n| format!("secret-{n:05}")).collect();
        let mut details = Details::new(Path::new("/nowhere"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        details.describe(&DaemonFacts::default(), &facts(&names));
        for name in &names {
            let attempt = Attempt {
                error: Some(error.clone()),
                ..Attempt::default()
            };
            text.push_str(&attempt.line(name).repeat(ATTEMPTS));
        }
        let facts = details.facts.unwrap();
        assert!(compact(&facts, &text, ATTEMPTS).len() > MOST);
        assert!(compact(&facts, &text, ATTEMPTS / 2).len() < MOST);
    }
}
