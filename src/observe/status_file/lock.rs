//! The lock beside the status file: held exclusively by the daemon for as long as it lives.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::owner;
use crate::clock::Tick;

/// How long a daemon tries before it decides.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries of these.
const BETWEEN: Duration = Duration::from_millis(200);

/// Between two tries of a daemon that runs on without, and between two looks at a lock held.
const AGAIN: Duration = Duration::from_secs(30);

/// World-readable: readers of any user ask it with a shared try.
const MODE: u32 = 0o644;

/// The daemon's side of `STATUS_FILE.lock`. Let go when dropped, or by the kernel when the process
/// ends in whatever way.
#[derive(Debug)]
pub struct StatusLock {
    path: PathBuf,
    held: Option<File>,
}

/// What one try found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAttempt {
    /// It is ours.
    Held,
    /// Another daemon lives: a shared try is refused, too.
    HeldByDaemon,
    /// Readers alone hold it, which pass.
    HeldByReaders,
    /// It cannot be opened or created, or is not to be believed; why.
    CannotCreate(String),
}

impl StatusLock {
    /// The lock of that status file, not yet held.
    #[must_use]
    pub fn new(status_file: &Path) -> Self {
        Self {
            path: super::lock_path(status_file),
            held: None,
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was ours at the last try.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Tries once, without waiting. Of a lock that is held already, it makes sure that it still
    /// lies where readers look, and takes it anew where somebody has removed it.
    pub fn try_acquire(&mut self) -> LockAttempt {
        if let Some(held) = &self.held {
            if self.lies_at_path(held) {
                return LockAttempt::Held;
            }
            self.held = None;
        }
        match self.attempt() {
            Ok(attempt) => attempt,
            Err(error) => LockAttempt::CannotCreate(error.to_string()),
        }
    }

    fn attempt(&mut self) -> io::Result<LockAttempt> {
        let file = self.open()?;
        if let Some(why) = owner::distrust(&file, &self.path)? {
            return Ok(LockAttempt::CannotCreate(why));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return match flock(&file, FlockOperation::NonBlockingLockShared) {
                    Ok(()) => {
                        let_go(&file);
                        Ok(LockAttempt::HeldByReaders)
                    }
                    Err(Errno::WOULDBLOCK) => Ok(LockAttempt::HeldByDaemon),
                    Err(error) => Err(error.into()),
                };
            }
            Err(error) => return Err(error.into()),
        }
        if !self.lies_at_path(&file) {
            return Ok(LockAttempt::CannotCreate(
                "it was removed while it was taken".to_owned(),
            ));
        }
        self.held = Some(file);
        Ok(LockAttempt::Held)
    }

    /// Opens it as it is, or creates it. Never with plain `O_CREAT`, which the kernel refuses for
    /// others' files in sticky directories.
    fn open(&self) -> io::Result<File> {
        let open = |flags| owner::open(&self.path, flags, Mode::from_raw_mode(MODE));
        let file = match open(OFlags::RDWR) {
            Ok(file) => file,
            // Another user's, left behind: a lock needs no write permission.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OFlags::RDONLY)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?
            }
            Err(error) => return Err(error),
        };
        if file.metadata()?.mode() & 0o7777 != MODE {
            // The umask took bits from it. Not being its owner is no reason to fail.
            let _ = file.set_permissions(std::fs::Permissions::from_mode(MODE));
        }
        Ok(file)
    }

    fn lies_at_path(&self, file: &File) -> bool {
        match (file.metadata(), std::fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) => ours.dev() == there.dev() && ours.ino() == there.ino(),
            _ => false,
        }
    }
}

impl Drop for StatusLock {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            let_go(held);
        }
    }
}

/// Outright, whoever else holds the descriptor: a process that is just being started does.
fn let_go(file: &File) {
    let _ = flock(file, FlockOperation::Unlock);
}

/// When to try again, and when to give up: for five seconds every try is waited for; then the
/// daemon ends if another one lives, and runs on with a notice if not.
#[derive(Clone, Debug)]
pub struct LockPolicy {
    until: Tick,
    running: bool,
}

/// What to do after a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockStep {
    /// It is ours: look again at this time.
    Held(Tick),
    /// Do not start yet: try again at this time.
    Wait(Tick),
    /// Another daemon lives: end with exit code 2.
    GiveUp,
    /// Run on without, tell why, and try again at this time.
    RunOn(String, Tick),
}

impl LockPolicy {
    /// From the first try on.
    #[must_use]
    pub fn new(now: Tick) -> Self {
        Self {
            until: now + PATIENCE,
            running: false,
        }
    }

    /// Decides. Once the daemon runs it is never ended.
    pub fn step(&mut self, now: Tick, attempt: LockAttempt) -> LockStep {
        let why = match attempt {
            LockAttempt::Held => {
                self.running = true;
                return LockStep::Held(now + AGAIN);
            }
            LockAttempt::HeldByDaemon | LockAttempt::HeldByReaders
                if !self.running && now < self.until =>
            {
                return LockStep::Wait((now + BETWEEN).min(self.until));
            }
            LockAttempt::HeldByDaemon if !self.running => return LockStep::GiveUp,
            LockAttempt::HeldByDaemon => "another daemon holds it".to_owned(),
            LockAttempt::HeldByReaders => "a reader holds it".to_owned(),
            LockAttempt::CannotCreate(why) => why,
        };
        self.running = true;
        LockStep::RunOn(why, now + AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> (tempfile::TempDir, StatusLock) {
        let directory = tempfile::tempdir().unwrap();
        let lock = StatusLock::new(&directory.path().join("status.json"));
        (directory, lock)
    }

    #[test]
    fn it_is_created_world_readable_and_held_once() {
        let (directory, mut lock) = lock();
        assert_eq!(lock.try_acquire(), LockAttempt::Held);
        assert_eq!(lock.try_acquire(), LockAttempt::Held);
        let path = directory.path().join("status.json.lock");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        let mut second = StatusLock::new(&directory.path().join("status.json"));
        assert_eq!(second.try_acquire(), LockAttempt::HeldByDaemon);
        drop(lock);
        assert_eq!(second.try_acquire(), LockAttempt::Held);
    }

    #[test]
    fn readers_are_told_from_daemons() {
        let (_directory, mut lock) = lock();
        std::fs::write(&lock.path, "").unwrap();
        let reader = File::open(&lock.path).unwrap();
        flock(&reader, FlockOperation::LockShared).unwrap();
        assert_eq!(lock.try_acquire(), LockAttempt::HeldByReaders);
        assert!(!lock.is_held());
        let_go(&reader);
        assert_eq!(lock.try_acquire(), LockAttempt::Held);
    }

    #[test]
    fn a_file_that_is_there_is_locked_and_never_replaced() {
        let (_directory, mut lock) = lock();
        std::fs::write(&lock.path, "kept").unwrap();
        let before = std::fs::metadata(&lock.path).unwrap().ino();
        assert_eq!(lock.try_acquire(), LockAttempt::Held);
        assert_eq!(std::fs::metadata(&lock.path).unwrap().ino(), before);
        assert_eq!(std::fs::read_to_string(&lock.path).unwrap(), "kept");
    }

    #[test]
    fn a_link_is_not_followed() {
        let (directory, mut lock) = lock();
        let victim = directory.path().join("victim");
        std::os::unix::fs::symlink(&victim, &lock.path).unwrap();
        assert!(matches!(lock.try_acquire(), LockAttempt::CannotCreate(_)));
        assert!(!victim.exists());
    }

    #[test]
    fn a_directory_that_is_missing_is_told() {
        let mut lock = StatusLock::new(Path::new("/nonexistent/status.json"));
        assert_eq!(
            lock.try_acquire(),
            LockAttempt::CannotCreate("No such file or directory (os error 2)".into())
        );
    }

    #[test]
    fn a_lock_that_somebody_removed_is_taken_anew() {
        let (_directory, mut lock) = lock();
        assert_eq!(lock.try_acquire(), LockAttempt::Held);
        std::fs::remove_file(&lock.path).unwrap();
        assert_eq!(lock.try_acquire(), LockAttempt::Held);
        assert!(lock.path.exists());
    }

    #[test]
    fn the_policy_waits_five_seconds_and_ends_only_for_a_daemon() {
        let at = |ms: u64| Tick::from_start(Duration::from_millis(ms));
        let mut policy = LockPolicy::new(at(0));
        assert_eq!(
            policy.step(at(0), LockAttempt::HeldByDaemon),
            LockStep::Wait(at(200))
        );
        assert_eq!(
            policy.step(at(4_900), LockAttempt::HeldByDaemon),
            LockStep::Wait(at(5_000))
        );
        assert_eq!(
            policy.clone().step(at(5_000), LockAttempt::HeldByDaemon),
            LockStep::GiveUp
        );
        assert_eq!(
            policy.clone().step(at(5_000), LockAttempt::HeldByReaders),
            LockStep::RunOn("a reader holds it".into(), at(35_000))
        );
        assert_eq!(
            policy
                .clone()
                .step(at(200), LockAttempt::CannotCreate("no".into())),
            LockStep::RunOn("no".into(), at(30_200))
        );
        assert_eq!(
            policy.step(at(4_990), LockAttempt::Held),
            LockStep::Held(at(34_990))
        );
        assert_eq!(
            policy.step(at(34_990), LockAttempt::HeldByDaemon),
            LockStep::RunOn("another daemon holds it".into(), at(64_990))
        );
    }
}
