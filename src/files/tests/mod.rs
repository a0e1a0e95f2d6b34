//! Tests of the whole room on real file systems, by what people would see: bytes, modes, owners,
//! names. Threads stand in for other users: credentials, umask and mounts are a thread's own.

mod attacks;
mod commit;
mod crash;
pub(super) mod faults;
mod filesystems;
mod generation;
mod in_place;
mod matrix;
mod privileges;
mod proofs;
mod readers;
mod sweep;
mod syncs;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{Gid, Uid};
use rustix::thread::{self, CapabilitySet};

use super::{Committed, Mode, NewFile, Target, TargetPath, WriteError, Writer};
use crate::children::{self, nobody_starts, succeeds};
use crate::secret::SecretBytes;

fn start(command: &mut Command) -> Child {
    children::spawn(command).unwrap()
}

/// A directory that everyone may enter, with its path.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o755);
        Self { dir }
    }

    /// In memory where that can be had: for tests of very many commits.
    fn quick() -> Self {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return Self::new();
        };
        chmod(dir.path(), 0o755);
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The names in it, but those of other directories.
    fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A target with the defaults of the configuration.
fn target(path: impl AsRef<Path>) -> Target {
    let text = path.as_ref().to_str().unwrap();
    Target {
        path: TargetPath::parse(text, Path::new("/")).unwrap(),
        is_dir: false,
        mode: Mode::PRIVATE,
        owner: None,
        group: None,
        in_place: false,
        allow_empty: false,
    }
}

fn with_mode(path: impl AsRef<Path>, mode: &str) -> Target {
    Target {
        mode: Mode::parse(mode).unwrap(),
        ..target(path)
    }
}

fn bytes(content: &str) -> SecretBytes {
    SecretBytes::new(content.as_bytes().to_vec())
}

/// One content for each target, in order.
fn files(contents: &[&str]) -> Vec<NewFile> {
    contents
        .iter()
        .enumerate()
        .map(|(target, content)| NewFile {
            target,
            name: None,
            bytes: bytes(content),
        })
        .collect()
}

/// Fields of the `dir` that is the only target.
fn fields(contents: &[(&str, &str)]) -> Vec<NewFile> {
    contents
        .iter()
        .map(|(name, content)| NewFile {
            target: 0,
            name: Some((*name).to_owned()),
            bytes: bytes(content),
        })
        .collect()
}

/// Proves and commits with a new writer.
fn write(targets: Vec<Target>, contents: &[&str]) -> Result<Committed, WriteError> {
    let mut writer = Writer::new(targets, false);
    writer.prove()?;
    writer.commit(&files(contents))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Mode, owner and group.
fn look(path: impl AsRef<Path>) -> (u32, u32, u32) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.mode() & 0o7777, stat.uid(), stat.gid())
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// Every file below a directory, with content, mode and inode: to see that nothing has changed.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, Option<String>)> {
    let mut all = BTreeMap::new();
    for name in names(dir) {
        let path = dir.join(name);
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            all.extend(picture(&path));
        }
        let text = stat
            .is_file()
            .then(|| fs::read_to_string(&path).unwrap_or_default());
        all.insert(path, (stat.mode(), stat.ino(), stat.ctime_nsec(), text));
    }
    all
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        eprintln!("{test}: not run, for it needs root");
    }
    root
}

/// Runs `body` on a thread of its own.
fn on_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(body).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Runs `body` as another user with these groups; needs root.
fn as_user<T: Send>(uid: u32, groups: &[u32], body: impl FnOnce() -> T + Send) -> T {
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    on_thread(move || {
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
        thread::set_thread_groups(&groups).unwrap();
        thread::set_thread_res_gid(group, group, group).unwrap();
        thread::set_thread_res_uid(user, user, user).unwrap();
        body()
    })
}

/// Runs `body` as root without these capabilities; needs root.
fn without<T: Send>(capabilities: CapabilitySet, body: impl FnOnce() -> T + Send) -> T {
    on_thread(move || {
        let mut sets = thread::capabilities(None).unwrap();
        sets.effective.remove(capabilities);
        sets.permitted.remove(capabilities);
        thread::set_capabilities(None, sets).unwrap();
        body()
    })
}

/// Runs `body` with this umask.
fn with_umask<T: Send>(mask: u32, body: impl FnOnce() -> T + Send) -> T {
    on_thread(move || {
        unshare(thread::UnshareFlags::FS).unwrap();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
        body()
    })
}

/// Runs `body` in a home where mounts are its own, and end with it; says so and does nothing where
/// that cannot be had.
fn with_mounts(body: impl FnOnce(&Home) + Send) {
    if !is_root() {
        return;
    }
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let home = Home::new();
    on_thread(|| {
        if let Err(errno) = unshare(thread::UnshareFlags::NEWNS) {
            eprintln!("{test}: not run, for it needs a mount namespace: {errno}");
            return;
        }
        if succeeds(Command::new("mount").args(["--make-rprivate", "/"])) {
            body(&home);
        } else {
            eprintln!("{test}: not run, for it needs mount(8) and the right to mount");
        }
    });
}

fn mount(arguments: &[&str]) {
    let mut command = Command::new("mount");
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = start(&mut command).wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mount {arguments:?}: {message}");
}

/// The safe function is deprecated, for one flag of it (shared file descriptors) is not safe; it
/// is not used here.
#[allow(deprecated)]
fn unshare(flags: thread::UnshareFlags) -> rustix::io::Result<()> {
    thread::unshare(flags)
}
