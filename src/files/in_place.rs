//! Writing into the file that is there: for a target that is itself a bind mount, which no rename
//! can replace. Not atomic, and says so.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::FileType;

use super::error::{Step, WriteError, shown};
use super::look::Look;
use super::stage;
use super::sys;
use super::walk::{self, Directory};

/// What people are told about such a target.
pub(super) fn warning(path: &Path) -> String {
    format!(
        "`{}` is written in place: not atomic, a reader may see half of a change, and a crash \
         leaves it so until the next cycle; mounting its directory would avoid that",
        shown(path)
    )
}

/// An existing file, opened and untouched.
#[derive(Debug)]
pub(super) struct Existing {
    fd: OwnedFd,
}

impl Existing {
    /// Opens it and makes sure that it is the one file it seems to be.
    pub(super) fn open(dir: &Directory, name: &OsStr, path: &Path) -> Result<Self, WriteError> {
        let error = |errno| WriteError::os(Step::WriteInPlace, path, errno);
        let fd = sys::open_to_write(&dir.fd, name).map_err(error)?;
        let node = sys::node(&fd).map_err(error)?;
        let refuse = |cause| {
            Err(WriteError::rule(Step::WriteInPlace, path, cause)
                .with_help("remove it, or name another path"))
        };
        if node.kind != FileType::RegularFile {
            return refuse(format!(
                "it is {}, not a regular file",
                walk::kind(node.kind)
            ));
        }
        if node.links > 1 {
            return refuse(format!(
                "it has {} names, and the file behind the others would change, too",
                node.links
            ));
        }
        Ok(Self { fd })
    }

    /// The file.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Shows that it can be given to its owner, by doing so: there is no other file to try on.
    pub(super) fn prove(&self, look: Look, path: &Path) -> Result<(), WriteError> {
        let node =
            sys::node(&self.fd).map_err(|errno| WriteError::os(Step::LookAt, path, errno))?;
        stage::give(&self.fd, &node, look, path)
    }

    /// Makes room, sets mode and owner, writes, truncates, syncs.
    pub(super) fn write(&self, look: Look, bytes: &[u8], path: &Path) -> Result<(), WriteError> {
        let error = |errno| WriteError::os(Step::WriteInPlace, path, errno);
        let length = bytes.len() as u64;
        if length > 0 {
            sys::reserve(&self.fd, length).map_err(error)?;
        }
        stage::dress(&self.fd, look, path)?;
        sys::write_all(&self.fd, bytes)
            .and_then(|()| sys::set_length(&self.fd, length))
            .and_then(|()| sys::sync(&self.fd))
            .map_err(|errno| {
                let mut error = error(errno);
                error.cause += "; it may be half written until the next cycle";
                error.is_halfway = true;
                error
            })
    }
}
