//! The daemon's side of the status file.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, fchmod, futimens, openat,
    renameat, unlinkat,
};

use crate::clock::Tick;
use crate::observe::StatusDocument;

/// Between two writes, at least, however much changes; and before the first, unless that says ready.
/// So a daemon that is ready at once can say so at once.
pub(crate) const BETWEEN: Duration = Duration::from_secs(1);

/// A document that does not change is touched as often as this; readers count on it.
const TOUCH: Duration = Duration::from_secs(30);

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// World-readable: it holds no values.
const MODE: Mode = Mode::from_raw_mode(0o644);

/// Writes the document whenever it has changed, whole or not at all.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    last: Option<Written>,
    /// The first tick.
    begun: Option<Tick>,
    not_before: Tick,
}

#[derive(Debug)]
struct Written {
    document: Arc<StatusDocument>,
    touched: Tick,
    /// Kept open, so that its inode's number cannot become another file's.
    file: File,
}

/// What a tick did.
#[derive(Debug)]
pub struct Ticked {
    /// When to tick again at the latest; earlier when the document changes.
    pub next: Tick,
    /// Why the file could not be written or touched: told, never fatal.
    pub error: Option<io::Error>,
}

impl StatusFile {
    /// Nothing is written before the first [`tick`](Self::tick).
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: None,
            begun: None,
            not_before: Tick::default(),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what was written last says ready.
    #[must_use]
    pub fn says_ready(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.document.ready)
    }

    /// Writes or touches what is due. Cheap when nothing is, and where the document is the very one of
    /// last time, which is not compared.
    pub fn tick(&mut self, now: Tick, document: &Arc<StatusDocument>) -> Ticked {
        let begun = *self.begun.get_or_insert_with(|| {
            // Of a daemon that was killed: with our lock it would count as ours.
            let _ = std::fs::remove_file(&self.path);
            self.not_before = now + BETWEEN;
            now
        });
        if document.ready && self.last.is_none() && self.not_before == begun + BETWEEN {
            self.not_before = begun;
        }
        let fresh = self.last.as_ref().is_some_and(|last| {
            Arc::ptr_eq(&last.document, document) || last.document == *document
        });
        let due = match &self.last {
            Some(last) if fresh => (last.touched + TOUCH).max(self.not_before),
            _ => self.not_before,
        };
        if now < due {
            return Ticked {
                next: due,
                error: None,
            };
        }
        let done = if fresh && self.touch(now) {
            Ok(())
        } else {
            self.replace(now, document)
        };
        match done {
            Ok(()) => {
                self.not_before = now + BETWEEN;
                Ticked {
                    next: now + TOUCH,
                    error: None,
                }
            }
            Err(error) => {
                self.not_before = now + RETRY;
                Ticked {
                    next: self.not_before,
                    error: Some(error),
                }
            }
        }
    }

    /// Takes the file away, at a clean exit.
    pub fn remove(self) {
        if self.lies_at_path() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Whether what we wrote last is still what lies there.
    fn lies_at_path(&self) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| lies_at(&last.file, &self.path))
    }

    /// A new time on what lies there: it works on a full disk, too.
    fn touch(&mut self, now: Tick) -> bool {
        const NOW: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: NOW,
            last_modification: NOW,
        };
        if !self.lies_at_path() {
            return false;
        }
        let Some(last) = &mut self.last else {
            return false;
        };
        let touched = futimens(&last.file, &times).is_ok();
        if touched {
            last.touched = now;
        }
        touched
    }

    fn replace(&mut self, now: Tick, document: &Arc<StatusDocument>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(&**document)?;
        bytes.push(b'\n');
        self.last = Some(Written {
            file: put(&self.path, &bytes)?,
            document: Arc::clone(document),
            touched: now,
        });
        Ok(())
    }
}

/// Whether the open file is what lies at the path.
pub(crate) fn lies_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Puts a world-readable file there, whole or not at all, in the place of whatever lies there. The
/// handle is at its end, and reads it as well.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    // One handle for both names, so that nobody can move the directory away between them.
    let directory: OwnedFd = openat(
        CWD,
        super::directory(path),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let temporary = temporary_name()?;
    let mut file = File::from(openat(
        &directory,
        &temporary,
        OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )?);
    fill(&mut file, bytes)
        .and_then(|()| Ok(renameat(&directory, &temporary, &directory, name)?))
        .inspect_err(|_| {
            let _ = unlinkat(&directory, &temporary, AtFlags::empty());
        })?;
    Ok(file)
}

/// The content and the final mode.
fn fill(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    Ok(fchmod(&*file, MODE)?)
}

/// A name that nobody can guess and squat on.
fn temporary_name() -> io::Result<String> {
    let mut random = [0; 8];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| io::Error::other("no random numbers"))?;
    Ok(format!(".status-{:016x}.tmp", u64::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_start(Duration::from_millis(ms))
    }

    fn document(count: usize) -> Arc<StatusDocument> {
        Arc::new(StatusDocument {
            schema: 1,
            ready: true,
            secret_count: count,
            ..StatusDocument::default()
        })
    }

    fn count(path: &Path) -> usize {
        let text = std::fs::read(path).unwrap();
        serde_json::from_slice::<StatusDocument>(&text)
            .unwrap()
            .secret_count
    }

    fn fixture() -> (tempfile::TempDir, PathBuf, StatusFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.json");
        (directory, path.clone(), StatusFile::new(path))
    }

    fn identity(path: &Path) -> (u64, i64, i64) {
        let metadata = std::fs::metadata(path).unwrap();
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    }

    #[test]
    fn a_change_is_written_whole_world_readable_and_leaves_nothing_beside() {
        let (directory, path, mut status) = fixture();
        let ticked = status.tick(at(10_000), &document(1));
        assert!(ticked.error.is_none());
        assert_eq!(ticked.next, at(40_000));
        assert_eq!(count(&path), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_is_written_at_most_once_a_second() {
        let (_directory, path, mut status) = fixture();
        status.tick(at(10_000), &document(1));
        assert_eq!(status.tick(at(10_500), &document(2)).next, at(11_000));
        assert_eq!(status.tick(at(10_999), &document(3)).next, at(11_000));
        assert_eq!(count(&path), 1);
        status.tick(at(11_000), &document(3));
        assert_eq!(count(&path), 3);
    }

    #[test]
    fn what_a_killed_daemon_left_goes_at_once_and_ready_is_told_at_once() {
        let (_directory, path, mut status) = fixture();
        std::fs::write(&path, "left").unwrap();
        let pending = Arc::new(StatusDocument {
            ready: false,
            ..(*document(1)).clone()
        });
        assert_eq!(status.tick(at(10_000), &pending).next, at(11_000));
        assert!(!path.exists());
        status.tick(at(10_100), &document(2));
        assert_eq!(count(&path), 2);
        assert!(status.says_ready());
        assert_eq!(status.tick(at(10_200), &document(3)).next, at(11_100));
        assert_eq!(count(&path), 2);

        let (_directory, path, mut status) = fixture();
        status.tick(at(10_000), &pending);
        status.tick(at(10_999), &pending);
        assert!(!path.exists());
        status.tick(at(11_000), &pending);
        assert_eq!(count(&path), 1);
        assert_eq!(status.tick(at(11_100), &document(2)).next, at(12_000));
        assert!(!status.says_ready());
    }

    #[test]
    fn what_does_not_change_is_touched_every_thirty_seconds() {
        let (_directory, path, mut status) = fixture();
        status.tick(at(10_000), &document(1));
        let past = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        File::open(&path).unwrap().set_times(past).unwrap();
        let before = identity(&path);
        assert_eq!(status.tick(at(39_999), &document(1)).next, at(40_000));
        assert_eq!(identity(&path), before);
        assert_eq!(status.tick(at(40_000), &document(1)).next, at(70_000));
        let after = identity(&path);
        assert_eq!(after.0, before.0, "the same file");
        assert!(after.1 > 1_000_000_000, "with a new time");
    }

    #[test]
    fn a_file_that_somebody_removed_comes_back_at_the_next_touch() {
        let (_directory, path, mut status) = fixture();
        status.tick(at(10_000), &document(1));
        std::fs::remove_file(&path).unwrap();
        status.tick(at(40_000), &document(1));
        assert_eq!(count(&path), 1);
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_its_target_untouched() {
        let (directory, path, mut status) = fixture();
        let victim = directory.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        status.tick(at(10_000), &document(1));
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
    }

    #[test]
    fn a_failure_is_told_and_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("later/status.json");
        let mut status = StatusFile::new(path.clone());
        let ticked = status.tick(at(10_000), &document(1));
        assert_eq!(ticked.error.unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(ticked.next, at(15_000));
        std::fs::create_dir(directory.path().join("later")).unwrap();
        assert!(status.tick(at(14_999), &document(1)).error.is_none());
        assert!(!path.exists());
        assert!(status.tick(at(15_000), &document(1)).error.is_none());
        assert_eq!(count(&path), 1);
    }

    #[test]
    fn a_failed_rename_leaves_no_temporary_behind() {
        let (directory, path, mut status) = fixture();
        std::fs::create_dir(&path).unwrap();
        assert!(status.tick(at(10_000), &document(1)).error.is_some());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_clean_exit_removes_only_what_was_written() {
        let (_directory, path, mut status) = fixture();
        status.tick(at(10_000), &document(1));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        status.remove();
        assert!(path.exists());
        let (_directory, path, mut status) = fixture();
        status.tick(at(10_000), &document(1));
        status.remove();
        assert!(!path.exists());
    }
}
