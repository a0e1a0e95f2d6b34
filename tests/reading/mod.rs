//! Secrets of two files each, and readers that look at those files all the time: whatever they open
//! is whole, not empty, has its mode and its owner, and is never older than what they saw before.

#![allow(
    dead_code,
    reason = "each test program uses its own part of this module"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what is for the tests; a test program exports nothing"
)]

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde_json::{Value, json};

/// Stands in every value, so that the harness finds any of them where it does not belong.
pub const CANARY: &str = "canary-of-the-readers";

/// The two fields, and files, of each secret: name, mode, repetitions of its line. The first is
/// longer than a page.
const FILES: [(&str, u32, usize); 2] = [("crt", 0o644, 100), ("key", 0o600, 20)];

/// The fields of a secret in this generation.
pub fn fields(secret: &str, generation: usize) -> Value {
    let text = |index: usize| content(secret, FILES[index], generation);
    json!({ "crt": text(0), "key": text(1) })
}

fn content(secret: &str, (field, _, lines): (&str, u32, usize), generation: usize) -> String {
    // Of a length that changes with the generation.
    format!("{generation:08} {secret} {field} {CANARY}\n").repeat(lines + generation % 10)
}

/// The files of a secret in the configuration, all in a directory of its own; `more` stands at the
/// end of each entry, such as `, owner: "1000"`.
pub fn files(secret: &str, more: &str) -> String {
    let entry = |(field, mode, _): (&str, u32, usize)| {
        format!(
            "    - {{ path: '@DIR@/out/{secret}/{field}', field: {field}, mode: 0{mode:o}{more} }}\n"
        )
    };
    format!("    files:\n{}", FILES.map(entry).concat())
}

/// Reads files of secrets below one directory, again and again.
pub struct Reader {
    out: PathBuf,
    owner: (u32, u32),
    newest: HashMap<(String, &'static str), usize>,
    /// Files opened and found right.
    pub reads: usize,
    since: HashMap<String, Instant>,
    /// How long the two files of a secret differed, as this reader saw it.
    pub differed: Vec<Duration>,
}

impl Reader {
    /// Of secrets below `out`, whose files belong to this user and group.
    pub fn new(out: &Path, owner: (u32, u32)) -> Self {
        Self {
            out: out.to_owned(),
            owner,
            newest: HashMap::new(),
            reads: 0,
            since: HashMap::new(),
            differed: Vec::new(),
        }
    }

    /// Looks at and opens both files by their paths, as everybody does; gives their generations.
    #[track_caller]
    pub fn by_path(&mut self, secret: &str) -> [usize; 2] {
        let found = FILES.map(|file| {
            let path = self.out.join(secret).join(file.0);
            let met = fs::metadata(&path).unwrap_or_else(|error| gone(&path, &error));
            self.assert_attributes(&met, file, &path);
            let open = File::open(&path).unwrap_or_else(|error| gone(&path, &error));
            self.whole(open, secret, file)
        });
        if found[0] == found[1] {
            let begun = self.since.remove(secret);
            self.differed.extend(begun.map(|begun| begun.elapsed()));
        } else {
            self.since
                .entry(secret.to_owned())
                .or_insert_with(Instant::now);
        }
        found
    }

    /// Opens the directory behind `..data` once, and both files in it, as the documentation says
    /// for `layout: directory`: they belong together. `None` where they had a second and more to
    /// be taken away meanwhile.
    #[track_caller]
    pub fn pinned(&mut self, secret: &str) -> Option<usize> {
        let path = self.out.join(secret).join("..data");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let data = openat(CWD, &path, flags, Mode::empty())
            .unwrap_or_else(|error| gone(&path, &error.into()));
        let mut found = Vec::new();
        for file in FILES {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            match openat(&data, file.0, flags, Mode::empty()) {
                Ok(open) => found.push(self.whole(open.into(), secret, file)),
                Err(error) => {
                    let error = std::io::Error::from(error);
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", path.display());
                    return None;
                }
            }
        }
        assert_eq!(found[0], found[1], "`{secret}`: files of two generations");
        Some(found[0])
    }

    /// The generation of an open file, once it is found to be right.
    #[track_caller]
    fn whole(&mut self, mut open: File, secret: &str, file: (&'static str, u32, usize)) -> usize {
        let path = self.out.join(secret).join(file.0);
        self.assert_attributes(&open.metadata().unwrap(), file, &path);
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        let generation = text.get(..8).and_then(|number| number.parse().ok());
        let Some(generation) = generation else {
            panic!("`{}` is {text:?}", path.display());
        };
        assert!(
            text == content(secret, file, generation),
            "`{}` is not whole: {text}",
            path.display()
        );
        let newest = self.newest.entry((secret.to_owned(), file.0)).or_default();
        assert!(
            *newest <= generation,
            "`{}` went back from {newest} to {generation}",
            path.display()
        );
        *newest = generation;
        self.reads += 1;
        generation
    }

    #[track_caller]
    fn assert_attributes(&self, met: &Metadata, file: (&str, u32, usize), path: &Path) {
        let is = (met.mode() & 0o7777, met.uid(), met.gid());
        assert_eq!(
            is,
            (file.1, self.owner.0, self.owner.1),
            "{}",
            path.display()
        );
        assert!(met.len() > 0, "`{}` is empty", path.display());
    }
}

fn gone(path: &Path, error: &std::io::Error) -> ! {
    panic!("`{}`: {error}", path.display())
}

/// Ends what runs beside a thread that panics: what it found is not to be waited for.
pub struct EndsAll<'a>(pub &'a AtomicBool);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Median, 99th percentile and longest, in milliseconds.
pub fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: f64| {
        let index = (times.len().saturating_sub(1) as f64 * share).round() as usize;
        times
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    format!(
        "{:.2} ms (median), {:.2} ms (p99), {:.2} ms (longest)",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
