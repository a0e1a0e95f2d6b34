//! Clean-up of what a killed daemon left behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::{Step, WriteError};
use super::sys::{self, Node};
use super::walk::Directory;
use super::{Target, behind, generation, name};

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub struct Swept {
    /// Temporaries (and stale generations) removed.
    pub removed: Vec<PathBuf>,
    /// One line for each that could not be removed.
    pub warnings: Vec<String>,
}

/// Removes left-over temporaries beside the targets, and the generations of `layout: directory`
/// that `..data` does not name, with the link that was to name one; nothing else, ever. For the start of the daemon, before the first
/// worker. Each secret is its targets, and whether its layout is `directory`.
#[must_use]
pub fn sweep<'a>(secrets: impl IntoIterator<Item = (&'a [Target], bool)>) -> Swept {
    let mut directories: BTreeMap<&Path, bool> = BTreeMap::new();
    for (targets, switched) in secrets {
        for target in targets {
            *directories.entry(target.directory()).or_default() |= switched;
        }
    }
    let mut swept = Swept::default();
    for (path, switched) in directories {
        match Directory::existing(path) {
            Ok(Some(dir)) => {
                swept.temporaries(&dir);
                if switched {
                    swept.generations(&dir);
                    swept.each(&dir, name::is_switch, remove_switch);
                }
            }
            Ok(None) => {}
            Err(error) => swept.warnings.push(error.to_string()),
        }
    }
    swept
}

impl Swept {
    fn temporaries(&mut self, dir: &Directory) {
        self.each(dir, name::is_temporary, remove_temporary);
    }

    /// Removes the generations in `dir` that `..data` does not name, once nothing is left in them
    /// that the one in use lacks.
    pub(super) fn generations(&mut self, dir: &Directory) {
        let followed = generation::current(dir).and_then(|current| match current {
            Some(current) => behind::follow(dir, &current),
            None => Ok(()),
        });
        if let Err(error) = followed {
            self.warnings.push(error.to_string());
            return;
        }
        self.each(dir, name::is_generation, remove_generation);
    }

    fn each(
        &mut self,
        dir: &Directory,
        is_ours: fn(&OsStr) -> bool,
        remove: fn(&Directory, &OsStr, &Path) -> Result<bool, WriteError>,
    ) {
        let names = match dir.readable().and_then(|fd| sys::names(&fd)) {
            Ok(names) => names,
            Err(errno) => {
                let error = WriteError::os(Step::Read, &dir.path, errno);
                self.warnings.push(error.to_string());
                return;
            }
        };
        for name in names.into_iter().filter(|name| is_ours(name)) {
            let path = dir.path.join(&name);
            match remove(dir, &name, &path) {
                Ok(true) => self.removed.push(path),
                Ok(false) => {}
                Err(error) => self.warnings.push(error.to_string()),
            }
        }
    }
}

/// Removes a regular file with one link that nobody has locked; `false` when it is not such.
fn remove_temporary(dir: &Directory, name: &OsStr, path: &Path) -> Result<bool, WriteError> {
    let error = |errno| WriteError::os(Step::Remove, path, errno);
    let Some((handle, node)) = node_of(dir, name).map_err(error)? else {
        return Ok(false);
    };
    if node.kind != FileType::RegularFile || node.links != 1 {
        return Ok(false);
    }
    // It was given to another user before the crash: taken back, to be opened and tried for its
    // lock; returned if somebody has it.
    let mut taken = false;
    let fd = match sys::open_to_read(&dir.fd, name) {
        Err(Errno::ACCESS | Errno::PERM) => {
            sys::set_owner(&handle, Some(sys::euid()), None)
                .map_err(|errno| WriteError::os(Step::SetOwner, path, errno))?;
            taken = true;
            sys::open_to_read(&dir.fd, name)
        }
        result => result,
    };
    let free = fd.and_then(|fd| {
        // The very file that was looked at, and still under that name.
        Ok(sys::node(&fd)?.id == node.id && sys::try_lock(&fd)? && is_still(dir, name, &node)?)
    });
    match free {
        Ok(true) => sys::unlink(&dir.fd, name).map_err(error).map(|()| true),
        other => {
            if taken {
                let _ = sys::set_owner(&handle, Some(node.uid), None);
            }
            other.map_err(error)
        }
    }
}

/// Removes the link that was to become `..data`.
fn remove_switch(dir: &Directory, name: &OsStr, path: &Path) -> Result<bool, WriteError> {
    let error = |errno| WriteError::os(Step::Remove, path, errno);
    match node_of(dir, name).map_err(error)? {
        Some((_, node)) if node.kind == FileType::Symlink => {
            sys::unlink(&dir.fd, name).map(|()| true).map_err(error)
        }
        _ => Ok(false),
    }
}

/// Removes a generation that is not in use and that nobody is making.
fn remove_generation(dir: &Directory, name: &OsStr, path: &Path) -> Result<bool, WriteError> {
    let error = |errno| WriteError::os(Step::Remove, path, errno);
    let Some(stale) = dir.child(name)? else {
        return Ok(false);
    };
    let lock = stale.readable().map_err(error)?;
    if !sys::try_lock(&lock).map_err(error)? {
        return Ok(false);
    }
    // Asked after the lock is ours: who made it holds it until `..data` names it.
    if let Some(current) = generation::current(dir)?
        && current.node()?.id == stale.node()?.id
    {
        return Ok(false);
    }
    generation::remove(dir, &stale)?;
    Ok(true)
}

fn node_of(dir: &Directory, name: &OsStr) -> sys::Result<Option<(OwnedFd, Node)>> {
    match sys::open_node(&dir.fd, name) {
        Ok(handle) => {
            let node = sys::node(&handle)?;
            Ok(Some((handle, node)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn is_still(dir: &Directory, name: &OsStr, node: &Node) -> sys::Result<bool> {
    let now = node_of(dir, name)?;
    Ok(now.is_some_and(|(_, now)| now.id == node.id && now.links == 1))
}
