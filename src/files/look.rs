//! What is there already, and whether it is right.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ring::hmac;
use ring::rand::SystemRandom;
use rustix::fs::FileType;
use rustix::io::Errno;
use zeroize::Zeroize;

use super::Target;
use super::error::{MOUNT_THE_DIRECTORY, Step, WriteError, shown};
use super::sys::{self, Node};
use super::walk::{self, Directory};
use super::writer::Piece;

/// How a file shall look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Look {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Look {
    /// That of a target's files.
    pub(super) fn of(target: &Target) -> Self {
        Self {
            mode: target.mode.bits(),
            uid: target.owner.unwrap_or_else(sys::euid),
            gid: target.group.unwrap_or_else(sys::egid),
        }
    }

    pub(super) fn is_that_of(self, node: &Node) -> bool {
        (self.mode, self.uid, self.gid) == (node.mode, node.uid, node.gid)
    }

    /// Whether its owner is the daemon, and may read it.
    fn is_our_own(self) -> bool {
        self.uid == sys::euid() && self.mode & 0o400 != 0
    }
}

/// What has to change about one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub exists: bool,
    pub content: bool,
    pub attributes: bool,
    /// `None` where it is not there or may not be read.
    pub old_size: Option<u64>,
}

impl Verdict {
    pub(super) const ABSENT: Self = Self {
        exists: false,
        content: true,
        attributes: false,
        old_size: None,
    };

    pub(super) fn is_right(self) -> bool {
        !self.content && !self.attributes
    }
}

/// The regular file of that name, or `None`; anything else is refused. Opens nothing.
pub(super) fn look(dir: &Directory, name: &OsStr, path: &Path) -> Result<Option<Node>, WriteError> {
    let error = |errno| WriteError::os(Step::LookAt, path, errno);
    let node = match sys::named_node(&dir.fd, name) {
        Err(Errno::NOENT) => return Ok(None),
        result => result.map_err(error)?,
    };
    if node.kind == FileType::RegularFile {
        return Ok(Some(node));
    }
    let refused = WriteError::rule(
        Step::Replace,
        path,
        format!("it is {}, not a regular file", walk::kind(node.kind)),
    );
    let left_over = node.kind == FileType::Symlink
        && sys::open_node(&dir.fd, name)
            .and_then(|fd| sys::read_link(&fd))
            .is_ok_and(|text| Path::new(&text).starts_with(super::name::DATA));
    let shown = shown(path);
    Err(refused.with_help(if left_over {
        format!("it is a link of `layout: directory`: remove it (`rm {shown}`), or set that layout")
    } else {
        format!("remove it (`rm -r {shown}`), or name another path")
    }))
}

/// The refusal of such a target.
pub(super) fn mounted(path: &Path) -> WriteError {
    WriteError::rule(
        Step::Replace,
        path,
        "it is a mount point of its own, which no rename can replace",
    )
    .with_help(MOUNT_THE_DIRECTORY)
}

/// What was written where the daemon may not read it back: how the file looked then, and a digest
/// of its content under a key that nobody else has.
#[derive(Debug, Default)]
pub(super) struct Memory {
    key: Option<hmac::Key>,
    files: HashMap<PathBuf, (Node, hmac::Tag)>,
    /// Whether even the daemon's own was refused: then all are remembered.
    refused: Cell<bool>,
}

impl Memory {
    /// Remembers what was just written and has its name, where it may not be possible to read it back.
    pub(super) fn keep(&mut self, piece: &Piece<'_>, fd: &OwnedFd) {
        if piece.look.is_our_own() && !self.refused.get() {
            return;
        }
        if self.key.is_none() {
            self.key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        }
        // Where it cannot be remembered, it is written again.
        if let (Some(key), Ok(node)) = (&self.key, sys::node(fd)) {
            self.files.insert(
                piece.path.to_path_buf(),
                (node, hmac::sign(key, piece.bytes)),
            );
        }
    }

    /// Whether `bytes` were written there and nobody has touched the file since.
    fn has(&self, path: &Path, node: &Node, bytes: &[u8]) -> bool {
        let (Some(key), Some((then, tag))) = (&self.key, self.files.get(path)) else {
            return false;
        };
        let same = |node: &Node| {
            let Node {
                mode,
                uid,
                gid,
                size,
                id,
                ctime,
                ..
            } = *node;
            (mode, uid, gid, size, id, ctime)
        };
        same(then) == same(node) && hmac::verify(key, bytes, tag.as_ref()).is_ok()
    }
}

/// Compares the file of that name with what it shall be.
pub(super) fn judge(
    dir: &Directory,
    name: &OsStr,
    path: &Path,
    node: &Node,
    want: (Look, &[u8]),
    memory: &Memory,
) -> Result<Verdict, WriteError> {
    let (look, bytes) = want;
    let attributes = !look.is_that_of(node);
    let differs = Verdict {
        exists: true,
        content: true,
        attributes,
        old_size: Some(node.size),
    };
    if node.size != bytes.len() as u64 {
        return Ok(differs);
    }
    let fd = match sys::open_to_read(&dir.fd, name) {
        Ok(fd) => fd,
        Err(Errno::ACCESS | Errno::PERM) => {
            memory.refused.set(true);
            return Ok(Verdict {
                exists: true,
                content: !memory.has(path, node, bytes),
                attributes,
                old_size: None,
            });
        }
        // Gone or replaced since we looked.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(differs),
        Err(errno) => return Err(WriteError::os(Step::Read, path, errno)),
    };
    // Who puts another file there between the look and this changes it after the look: whatever of the two is
    // seen here, the next cycle sees the other one whole.
    match reads_as(&fd, bytes) {
        Ok(same) => Ok(Verdict {
            content: !same,
            ..differs
        }),
        // Something that is no file.
        Err(Errno::ISDIR | Errno::SPIPE) => Ok(differs),
        Err(errno) => Err(WriteError::os(Step::Read, path, errno)),
    }
}

fn reads_as(fd: &OwnedFd, bytes: &[u8]) -> sys::Result<bool> {
    // As large as the content and one byte more, which tells that the file is longer.
    let size = (bytes.len() + 1).min(16 * 1024);
    let mut small = [0; 512];
    let mut large;
    let buffer = match small.get_mut(..size) {
        Some(small) => small,
        None => {
            large = vec![0; size];
            &mut large[..]
        }
    };
    let same = reads_through(fd, bytes, buffer);
    buffer.zeroize();
    same
}

fn reads_through(fd: &OwnedFd, bytes: &[u8], buffer: &mut [u8]) -> sys::Result<bool> {
    let mut done = 0;
    loop {
        let count = sys::read_at(fd, buffer, done as u64)?;
        let Some(expected) = bytes.get(done..done + count) else {
            return Ok(false);
        };
        if count == 0 {
            return Ok(done == bytes.len());
        }
        if buffer[..count] != *expected {
            return Ok(false);
        }
        done += count;
        // There was room for more, so that this was the end.
        if done == bytes.len() && count < buffer.len() {
            return Ok(true);
        }
    }
}
