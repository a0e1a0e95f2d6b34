//! Every system call that the room makes, each in one small function: close-on-exec always,
//! links never followed, tried again when a signal interrupts.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    self, AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Gid, Mode, OFlags, ResolveFlags,
    Statx, StatxAttributes, StatxFlags, Uid,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::process;

pub(super) type Result<T> = std::result::Result<T, Errno>;

/// What the kernel says about one inode, on a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub kind: FileType,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub links: u32,
    pub id: NodeId,
    pub ctime: (i64, u32),
    /// Whether it is where a mount begins: not told before Linux 5.8.
    pub mount_root: bool,
}

/// Device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32, u32, u64);

impl From<Statx> for Node {
    fn from(stat: Statx) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            links: stat.stx_nlink,
            id: NodeId(stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }
}

thread_local! {
    /// User and group. To the kernel they are a thread's own; nothing here ever changes them.
    static USER: (u32, u32) = (process::geteuid().as_raw(), process::getegid().as_raw());
}

/// The user that files are created as.
pub(super) fn euid() -> u32 {
    USER.with(|(user, _)| *user)
}

/// The group that files are created as.
pub(super) fn egid() -> u32 {
    USER.with(|(_, group)| *group)
}

/// One system call; tried again when a signal interrupts it. Tests make it fail, or be the last.
fn call<T>(name: &'static str, mut make: impl FnMut() -> Result<T>) -> Result<T> {
    retry_on_intr(|| {
        #[cfg(test)]
        super::tests::faults::meet(name)?;
        #[cfg(not(test))]
        let _ = name;
        make()
    })
}

fn open(dir: &OwnedFd, name: &OsStr, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    call("open", || {
        fs::openat(dir, name, flags, Mode::from_raw_mode(mode))
    })
}

/// `/`, as a place to walk from.
pub(super) fn open_root() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    call("open_root", || fs::open("/", flags, Mode::empty()))
}

/// The same of a directory that is reached by no link. What fails may go well in single steps: with a link
/// that may be followed, before Linux 5.6, or where a filter of system calls does not know the call.
pub(super) fn open_way(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    call("open_way", || {
        fs::openat2(
            fs::CWD,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        )
    })
}

/// A directory as a place: needs no read permission, cannot be read or synced. `NOTDIR` for a
/// link.
pub(super) fn open_place(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    open(dir, name, OFlags::PATH | OFlags::DIRECTORY, 0)
}

/// A directory to read, sync or lock.
pub(super) fn open_directory(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    open(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, 0)
}

/// Whatever has that name, without any effect on it: a link itself, a device unopened.
pub(super) fn open_node(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    open(dir, name, OFlags::PATH, 0)
}

/// A file to read; does not wait for the writer of a FIFO.
pub(super) fn open_to_read(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    open(
        dir,
        name,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        0,
    )
}

/// A file to write into, as it is: not truncated.
pub(super) fn open_to_write(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    open(
        dir,
        name,
        OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        0,
    )
}

/// A new file, 0600 at most.
pub(super) fn create(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    open(
        dir,
        name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        0o600,
    )
}

/// A new directory, of `mode` at most.
pub(super) fn make_directory(dir: &OwnedFd, name: &OsStr, mode: u32) -> Result<()> {
    call("make_directory", || {
        fs::mkdirat(dir, name, Mode::from_raw_mode(mode))
    })
}

/// What a handle is.
pub(super) fn node(fd: &OwnedFd) -> Result<Node> {
    call("node", || {
        fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
    })
    .map(Node::from)
}

/// What has that name: a link itself.
pub(super) fn named_node(dir: &OwnedFd, name: &OsStr) -> Result<Node> {
    call("named_node", || {
        fs::statx(
            dir,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::BASIC_STATS,
        )
    })
    .map(Node::from)
}

/// What the link behind a handle of [`open_node`] says.
pub(super) fn read_link(fd: &OwnedFd) -> Result<OsString> {
    let text: CString = call("read_link", || fs::readlinkat(fd, c"", Vec::new()))?;
    Ok(OsStr::from_bytes(text.as_bytes()).to_owned())
}

pub(super) fn make_link(text: &OsStr, dir: &OwnedFd, name: &OsStr) -> Result<()> {
    call("make_link", || fs::symlinkat(text, dir, name))
}

/// A second name for the file `name` of `from`, in `to`.
pub(super) fn share(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> Result<()> {
    call("share", || {
        fs::linkat(from, name, to, name, AtFlags::empty())
    })
}

pub(super) fn rename(from: &OwnedFd, old: &OsStr, to: &OwnedFd, new: &OsStr) -> Result<()> {
    call("rename", || fs::renameat(from, old, to, new))
}

pub(super) fn unlink(dir: &OwnedFd, name: &OsStr) -> Result<()> {
    call("unlink", || fs::unlinkat(dir, name, AtFlags::empty()))
}

pub(super) fn remove_directory(dir: &OwnedFd, name: &OsStr) -> Result<()> {
    call("remove_directory", || {
        fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
    })
}

/// Sets the mode, exactly: no umask.
pub(super) fn set_mode(fd: &OwnedFd, mode: u32) -> Result<()> {
    call("set_mode", || fs::fchmod(fd, Mode::from_raw_mode(mode)))
}

/// Sets owner and group of any handle, those of [`open_node`] included; `None` leaves it.
pub(super) fn set_owner(fd: &OwnedFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    call("set_owner", || {
        fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH)
    })
}

/// Takes the lock of a file or directory; `false` when another has it.
pub(super) fn try_lock(fd: &OwnedFd) -> Result<bool> {
    match call("try_lock", || {
        fs::flock(fd, FlockOperation::NonBlockingLockExclusive)
    }) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Reads at `offset`; 0 at the end.
pub(super) fn read_at(fd: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize> {
    call("read_at", || rustix::io::pread(fd, &mut *buffer, offset))
}

/// Writes all of `bytes` from the file's beginning: one call, where the kernel takes it whole.
pub(super) fn write_all(fd: &OwnedFd, bytes: &[u8]) -> Result<()> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        #[cfg(test)]
        let rest = super::tests::faults::shortened(rest);
        match call("write_all", || rustix::io::pwrite(fd, rest, done as u64))? {
            0 => return Err(Errno::IO),
            count => done += count,
        }
    }
    Ok(())
}

/// Makes sure that `length` bytes from the beginning have room, where the file system can say.
pub(super) fn reserve(fd: &OwnedFd, length: u64) -> Result<()> {
    match call("reserve", || {
        fs::fallocate(fd, FallocateFlags::KEEP_SIZE, 0, length)
    }) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(()),
        result => result,
    }
}

pub(super) fn set_length(fd: &OwnedFd, length: u64) -> Result<()> {
    call("set_length", || fs::ftruncate(fd, length))
}

pub(super) fn sync(fd: &OwnedFd) -> Result<()> {
    call("sync", || fs::fsync(fd))
}

/// The names in a directory of [`open_directory`], but `.` and `..`.
pub(super) fn names(dir: &OwnedFd) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    let mut entries = call("open_names", || Dir::read_from(dir))?;
    while let Some(entry) = call("read_names", || entries.next().transpose())? {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
