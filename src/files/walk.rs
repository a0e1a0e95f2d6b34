//! The way to a directory: from `/`, one component at a time, on handles; so that what was
//! checked is what is used, whoever renames things meanwhile.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::{Step, WriteError};
use super::syncs::SYNCS;
use super::sys::{self, Node};

/// Links followed on one way, as in the kernel.
const MAX_LINKS: usize = 40;

/// One thread makes a directory at a time, until its mode is right: the next one looks at it.
static MAKING: Mutex<()> = Mutex::new(());

/// A directory that was reached by a trusted way.
#[derive(Debug)]
pub(super) struct Directory {
    /// A place: not readable.
    pub fd: OwnedFd,
    /// What it was when somebody first asked.
    node: OnceCell<Node>,
    /// As written.
    pub path: PathBuf,
}

impl Directory {
    fn at(fd: OwnedFd, path: PathBuf) -> Self {
        Self {
            fd,
            node: OnceCell::new(),
            path,
        }
    }

    /// The directory, or `None` where a component is missing.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, WriteError> {
        walk(path, false)
    }

    /// The directory, missing components made 0755 (0700 below one that is 0700).
    pub(super) fn ensured(path: &Path) -> Result<Self, WriteError> {
        walk(path, true)?.ok_or_else(|| WriteError::os(Step::Enter, path, Errno::NOENT))
    }

    /// A directory in it, no link; `None` where it is not there or something else.
    pub(super) fn child(&self, name: &OsStr) -> Result<Option<Self>, WriteError> {
        let path = self.path.join(name);
        match sys::open_place(&self.fd, name) {
            Ok(fd) => Ok(Some(Self::at(fd, path))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(WriteError::os(Step::Enter, &path, errno)),
        }
    }

    /// What the directory is: asked once, and only where somebody wants to know.
    pub(super) fn node(&self) -> Result<Node, WriteError> {
        match self.node.get() {
            Some(node) => Ok(*node),
            None => {
                let node = sys::node(&self.fd)
                    .map_err(|errno| WriteError::os(Step::Enter, &self.path, errno))?;
                Ok(*self.node.get_or_init(|| node))
            }
        }
    }

    /// A handle that can be read, synced and locked.
    pub(super) fn readable(&self) -> sys::Result<OwnedFd> {
        sys::open_directory(&self.fd, OsStr::new("."))
    }

    /// Makes renames in it last through a crash.
    pub(super) fn sync(&self) -> Result<(), WriteError> {
        let sync = || self.readable().and_then(|fd| sys::sync(&fd));
        match SYNCS.share(self.node()?.id, sync) {
            // Some file systems have nothing to sync here; a directory that we may write but not
            // read cannot be asked.
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS) => Ok(()),
            Err(errno) => Err(WriteError::os(Step::Sync, &self.path, errno)),
        }
    }
}

/// All in one call where no link is on the way and nothing is to be made, which is nearly always; what fails is
/// done, or explained, step by step.
fn walk(path: &Path, make: bool) -> Result<Option<Directory>, WriteError> {
    if let Ok(fd) = sys::open_way(path) {
        return Ok(Some(Directory::at(fd, path.to_owned())));
    }
    let mut at = root()?;
    let mut todo = components(path);
    let mut links = 0;
    while let Some(name) = todo.pop() {
        let next = at.path.join(&name);
        let error = |errno| WriteError::os(Step::Enter, &next, errno);
        match sys::open_place(&at.fd, &name) {
            Ok(fd) => {
                // `..` stands in a link's text only.
                let path = match name.to_str() {
                    Some("..") => at.path.parent().unwrap_or(&at.path).to_owned(),
                    _ => next,
                };
                at = Directory::at(fd, path);
            }
            Err(Errno::NOENT) if make => at = make_directory(&at, &name, next)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(error(Errno::LOOP));
                }
                let text = trusted_link(&at, &name, &next)?;
                let text = Path::new(&text);
                todo.extend(components(text));
                if text.is_absolute() {
                    at = root()?;
                }
            }
            Err(errno) => return Err(error(errno)),
        }
    }
    at.path = path.to_owned();
    Ok(Some(at))
}

fn root() -> Result<Directory, WriteError> {
    let path = PathBuf::from("/");
    match sys::open_root() {
        Ok(fd) => Ok(Directory::at(fd, path)),
        Err(errno) => Err(WriteError::os(Step::Enter, &path, errno)),
    }
}

/// The components still to go, the next one last.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

/// The text of a link that may be followed: it and its directory belong to root or to us, and
/// nobody else may write that directory (a sticky one excepted). Checked and read on one handle.
fn trusted_link(at: &Directory, name: &OsStr, path: &Path) -> Result<OsString, WriteError> {
    let error = |errno| WriteError::os(Step::Enter, path, errno);
    let fd = sys::open_node(&at.fd, name).map_err(error)?;
    let node = sys::node(&fd).map_err(error)?;
    if node.kind != FileType::Symlink {
        return Err(
            WriteError::rule(Step::Enter, path, format!("it is {}", kind(node.kind)))
                .with_help("remove it, or write to another directory"),
        );
    }
    let ours = |uid| uid == 0 || uid == sys::euid();
    let refuse = |why: String| {
        Err(WriteError::rule(Step::Enter, path, why).with_help(
            "write the path without the link, or let the link and its directory belong to root \
             with nobody else allowed to write there",
        ))
    };
    if !ours(node.uid) {
        return refuse(format!(
            "it is a symbolic link of uid {}, who is neither root nor the daemon's user",
            node.uid
        ));
    }
    let place = at.node()?;
    if !ours(place.uid) {
        return refuse(format!(
            "it is a symbolic link in a directory of uid {}, who is neither root nor the daemon's \
             user",
            place.uid
        ));
    }
    if place.mode & 0o022 != 0 && place.mode & 0o1000 == 0 {
        return refuse(format!(
            "it is a symbolic link in a directory that others may write (mode {:04o})",
            place.mode
        ));
    }
    sys::read_link(&fd).map_err(error)
}

fn make_directory(at: &Directory, name: &OsStr, path: PathBuf) -> Result<Directory, WriteError> {
    let error = |errno| WriteError::os(Step::CreateDirectory, &path, errno);
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    // Under the lock, for another thread may just have made the one we stand in.
    let mode = made_mode(sys::node(&at.fd).map_err(error)?);
    let made = match sys::make_directory(&at.fd, name, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(error(errno)),
    };
    let fd = sys::open_directory(&at.fd, name).map_err(error)?;
    if made {
        sys::set_mode(&fd, mode).map_err(error)?;
        at.sync()?;
    }
    Ok(Directory::at(fd, path))
}

/// The mode of a directory that is made in `parent`.
pub(super) fn made_mode(parent: Node) -> u32 {
    if parent.mode & 0o777 == 0o700 {
        0o700
    } else {
        0o755
    }
}

/// As in "it is a directory".
pub(super) fn kind(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}
