//! Follows the content of files: the configuration, credentials, certificates.
//!
//! Looks when inotify says that something in a file's directory changed (in-place writes, editors'
//! renames, the `..data` swap of a ConfigMap), and every few seconds besides, since inotify is
//! silent on bind mounts and network file systems. What counts is content: a hash.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::clock::{Clock, Tick, wait};

/// Time from the first sign of a change to the look at it: editors and swaps take several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// Time between looks where no sign comes.
const POLL: Duration = Duration::from_secs(5);

/// More than this is not read: no file that is followed is as large.
const LARGEST: u64 = 64 << 20;

/// The files that changed, as they were named to [`Watch::follow`].
pub type Watched = Vec<PathBuf>;

/// The thread that follows; it ends when this is dropped.
pub struct Watch {
    clock: Arc<dyn Clock>,
    files: Sender<(Vec<PathBuf>, Sender<()>)>,
}

/// The first look at a file may take this long (it may lie on a network); then it goes on behind
/// the caller's back.
const FIRST_LOOK: Duration = Duration::from_secs(1);

type Wanted = Receiver<(Vec<PathBuf>, Sender<()>)>;

impl Watch {
    /// Starts the thread. It takes what it sees first as known.
    ///
    /// # Errors
    ///
    /// When the system refuses the thread.
    pub fn start(clock: Arc<dyn Clock>, changed: Sender<Watched>) -> io::Result<Self> {
        let (files, wanted) = unbounded();
        thread::Builder::new()
            .name("watch".into())
            .stack_size(128 * 1024)
            .spawn({
                let clock = Arc::clone(&clock);
                move || follow(&*clock, &wanted, &changed)
            })?;
        Ok(Self { clock, files })
    }

    /// Follows these files from now on, in place of those before: what changes after this has
    /// returned is told.
    pub fn follow(&self, files: Vec<PathBuf>) {
        let (looked, look) = bounded(1);
        if self.files.send((files, looked)).is_ok() {
            let until = self.clock.now() + FIRST_LOOK;
            let _ = wait(&*self.clock, &look, Some(until));
        }
    }
}

fn follow(clock: &dyn Clock, wanted: &Wanted, changed: &Sender<Watched>) {
    let (signs, sign) = bounded(1);
    let mut notices = Notices::new(signs);
    let mut known = HashMap::new();
    let mut look_at: Tick = clock.now() + POLL;
    loop {
        let alarm = if known.is_empty() {
            never()
        } else {
            clock.alarm(look_at)
        };
        select! {
            recv(wanted) -> files => {
                let Ok((files, looked)) = files else { return };
                notices.watch(&files);
                known = files
                    .into_iter()
                    .map(|file| {
                        let seen = known.remove(&file).unwrap_or_else(|| Seen::look(&file));
                        (file, seen)
                    })
                    .collect();
                let _ = looked.try_send(());
                // What changed while nobody looked is seen by the next look.
                look_at = clock.now() + SETTLE;
            }
            recv(sign) -> _ => look_at = look_at.min(clock.now() + SETTLE),
            recv(alarm) -> _ => {
                if clock.now() < look_at {
                    continue;
                }
                look_at = clock.now() + POLL;
                let files = look(&mut known);
                if !files.is_empty() && changed.send(files).is_err() {
                    return;
                }
            }
        }
    }
}

fn look(known: &mut HashMap<PathBuf, Seen>) -> Watched {
    let mut changed: Watched = known
        .iter_mut()
        .filter_map(|(file, seen)| seen.differs(file).then(|| file.clone()))
        .collect();
    changed.sort();
    changed
}

/// What a file was when last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    stamp: Option<Stamp>,
    content: Option<[u8; 32]>,
}

/// Changes whenever the content may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn look(file: &Path) -> Self {
        Self {
            stamp: Stamp::of(file),
            content: hash(file),
        }
    }

    /// Looks again; whether the content is another one.
    fn differs(&mut self, file: &Path) -> bool {
        let stamp = Stamp::of(file);
        if stamp == self.stamp {
            return false;
        }
        let content = hash(file);
        let differs = content != self.content;
        *self = Self { stamp, content };
        differs
    }
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let data = std::fs::metadata(file).ok()?;
        Some(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

fn hash(file: &Path) -> Option<[u8; 32]> {
    if !std::fs::metadata(file).ok()?.is_file() {
        return hash_directory(file);
    }
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut content = File::open(file).ok()?.take(LARGEST);
    let mut block = [0; 8 * 1024];
    loop {
        match content.read(&mut block) {
            Ok(0) => return context.finish().as_ref().try_into().ok(),
            Ok(count) => context.update(block.get(..count)?),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// A directory (`tlsCAPath`) is what its files are.
fn hash_directory(directory: &Path) -> Option<[u8; 32]> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for file in files {
        context.update(file.as_os_str().as_encoded_bytes());
        context.update(&hash(&file).unwrap_or_default());
    }
    context.finish().as_ref().try_into().ok()
}

/// inotify on the directories of the files that are followed; where it is not to be had, the
/// regular look has to do.
struct Notices {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Notices {
    fn new(signs: Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| changes(event.kind) || event.need_rescan()) {
                let _ = signs.try_send(());
            }
        });
        Self {
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
        }
    }

    fn watch(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: BTreeSet<PathBuf> = files.iter().filter_map(|file| directory(file)).collect();
        for directory in self.watched.difference(&wanted) {
            let _ = watcher.unwatch(directory);
        }
        self.watched = wanted
            .into_iter()
            .filter(|directory| {
                self.watched.contains(directory)
                    || watcher
                        .watch(directory, RecursiveMode::NonRecursive)
                        .is_ok()
            })
            .collect();
    }
}

/// The directory in which a change of the file shows; a followed directory is its own.
fn directory(file: &Path) -> Option<PathBuf> {
    if file.is_dir() {
        return Some(file.to_owned());
    }
    match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(".".into()),
        parent => parent.map(Path::to_owned),
    }
}

/// Reading a file makes events, too: only what can change it counts.
fn changes(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
        EventKind::Any | EventKind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::os::unix::fs::symlink;

    fn seen_change(file: &Path, change: impl FnOnce()) -> bool {
        let (sender, changed) = unbounded();
        let watch = Watch::start(Arc::new(SystemClock), sender).unwrap();
        watch.follow(vec![file.to_owned()]);
        change();
        changed
            .recv_timeout(Duration::from_secs(10))
            .is_ok_and(|files| files == [file])
    }

    #[test]
    fn a_write_in_place_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, "a").unwrap();
        assert!(seen_change(&file, || std::fs::write(&file, "b").unwrap()));
    }

    #[test]
    fn an_editor_that_renames_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, "a").unwrap();
        assert!(seen_change(&file, || {
            let new = dir.path().join("new");
            std::fs::write(&new, "b").unwrap();
            std::fs::rename(&new, &file).unwrap();
        }));
    }

    #[test]
    fn a_config_map_swap_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (generation, text) in [("..1", "a"), ("..2", "b")] {
            std::fs::create_dir(path(generation)).unwrap();
            std::fs::write(path(generation).join("config.yaml"), text).unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/config.yaml", path("config.yaml")).unwrap();
        assert!(seen_change(&path("config.yaml"), || {
            symlink("..2", path("..data_tmp")).unwrap();
            std::fs::rename(path("..data_tmp"), path("..data")).unwrap();
        }));
    }

    #[test]
    fn a_touch_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut known = HashMap::from([(file.clone(), Seen::look(&file))]);
        std::fs::write(&file, "a").unwrap();
        assert!(look(&mut known).is_empty());
        std::fs::write(&file, "b").unwrap();
        assert_eq!(look(&mut known), [file]);
    }

    #[test]
    fn a_file_that_comes_or_goes_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let mut known = HashMap::from([(file.clone(), Seen::look(&file))]);
        assert!(look(&mut known).is_empty());
        std::fs::write(&file, "t").unwrap();
        assert_eq!(look(&mut known).len(), 1);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(look(&mut known).len(), 1);
    }
}
