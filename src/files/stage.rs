//! A new file on its way: made with its final mode and owner before the first byte, locked,
//! written, synced, and renamed; or removed.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use super::error::{Step, WriteError};
use super::look::Look;
use super::name::Names;
use super::sys::{self, Node};
use super::walk::Directory;

/// A temporary beside its target. Dropped before its rename, it is removed.
#[derive(Debug)]
pub(super) struct Staged<'dir> {
    dir: &'dir Directory,
    name: OsString,
    fd: OwnedFd,
    renamed: bool,
}

impl<'dir> Staged<'dir> {
    /// An empty temporary that looks right, for the target at `path`.
    pub(super) fn create(
        dir: &'dir Directory,
        look: Look,
        path: &Path,
        names: &mut Names,
    ) -> Result<Self, WriteError> {
        let error = |errno| WriteError::os(Step::CreateIn, &dir.path, errno);
        let mut tries = 0;
        let (name, fd) = loop {
            let name = names.temporary().map_err(error)?;
            match sys::create(&dir.fd, &name) {
                Ok(fd) => break (name, fd),
                Err(Errno::EXIST) if tries < 8 => tries += 1,
                Err(errno) => return Err(error(errno)),
            }
        };
        let staged = Self {
            dir,
            name,
            fd,
            renamed: false,
        };
        match sys::try_lock(&staged.fd) {
            // Where a file system has no locks, nobody can take it for left over either.
            Ok(true) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Ok(false) => return Err(WriteError::os(Step::Lock, path, Errno::WOULDBLOCK)),
            Err(errno) => return Err(WriteError::os(Step::Lock, path, errno)),
        }
        dress(&staged.fd, look, path)?;
        Ok(staged)
    }

    /// Writes the content.
    pub(super) fn write(&self, bytes: &[u8], path: &Path) -> Result<(), WriteError> {
        write(&self.fd, bytes, path)
    }

    /// Syncs it.
    pub(super) fn sync(&self, path: &Path) -> Result<(), WriteError> {
        sync(&self.fd, path)
    }

    /// The file.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Renames it over `name`.
    pub(super) fn rename(&mut self, name: &OsStr, path: &Path) -> Result<(), WriteError> {
        sys::rename(&self.dir.fd, &self.name, &self.dir.fd, name)
            .map_err(|errno| WriteError::os(Step::Replace, path, errno))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // Best effort: what stays is swept at the next start.
            let _ = sys::unlink(&self.dir.fd, &self.name);
        }
    }
}

/// Gives an open file its mode and owner, and makes sure that the file system keeps them.
pub(super) fn dress(fd: &OwnedFd, look: Look, path: &Path) -> Result<(), WriteError> {
    let looked = |errno| WriteError::os(Step::LookAt, path, errno);
    let node = sys::node(fd).map_err(looked)?;
    if look.is_that_of(&node) {
        return Ok(());
    }
    // The mode first: whoever gives a file away may no longer set it.
    if node.mode != look.mode {
        sys::set_mode(fd, look.mode).map_err(|errno| WriteError::os(Step::SetMode, path, errno))?;
    }
    give(fd, &node, look, path)?;
    let node = sys::node(fd).map_err(looked)?;
    if look.is_that_of(&node) {
        return Ok(());
    }
    Err(WriteError::rule(
        Step::SetMode,
        path,
        format!(
            "the file system made mode {:04o}, owner {}:{} of mode {:04o}, owner {}:{}",
            node.mode, node.uid, node.gid, look.mode, look.uid, look.gid
        ),
    )
    .with_help("write to a file system that keeps modes and owners, such as a tmpfs"))
}

/// Sets what differs of owner and group: what is right needs no privilege.
pub(super) fn give(fd: &OwnedFd, node: &Node, look: Look, path: &Path) -> Result<(), WriteError> {
    let uid = (node.uid != look.uid).then_some(look.uid);
    let gid = (node.gid != look.gid).then_some(look.gid);
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    sys::set_owner(fd, uid, gid).map_err(|errno| WriteError::os(Step::SetOwner, path, errno))
}

/// Writes and syncs the content of a new file.
pub(super) fn fill(fd: &OwnedFd, bytes: &[u8], path: &Path) -> Result<(), WriteError> {
    write(fd, bytes, path)?;
    sync(fd, path)
}

fn write(fd: &OwnedFd, bytes: &[u8], path: &Path) -> Result<(), WriteError> {
    sys::write_all(fd, bytes).map_err(|errno| WriteError::os(Step::Write, path, errno))
}

fn sync(fd: &OwnedFd, path: &Path) -> Result<(), WriteError> {
    sys::sync(fd).map_err(|errno| WriteError::os(Step::Sync, path, errno))
}
