//! Why a file could not be written, and what would help.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::sys;
use crate::failure::{ErrorType, Failure, Retry};
use crate::printable::printable;

/// A step that failed, on which path, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteError {
    /// The path the step was about.
    pub path: PathBuf,
    /// The step, as in "create a temporary in": lower case.
    pub step: &'static str,
    /// Why: the system's error or a rule.
    pub cause: String,
    /// What would help (`CAP_CHOWN`, `SupplementaryGroups`, "mount the directory", …).
    pub help: Option<String>,
    /// Whether files with new content are in place already; the cause says which.
    pub is_halfway: bool,
}

/// What was being done: it decides what an error number means, and what would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Enter,
    CreateDirectory,
    LookAt,
    Read,
    CreateIn,
    Lock,
    SetMode,
    SetOwner,
    Write,
    WriteInPlace,
    Sync,
    Replace,
    Link,
    Remove,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Enter => "enter the directory",
            Self::CreateDirectory => "create the directory",
            Self::LookAt => "look at",
            Self::Read => "read",
            Self::CreateIn => "create a temporary in",
            Self::Lock => "lock",
            Self::SetMode => "set the mode of",
            Self::SetOwner => "set the owner of",
            Self::Write => "write",
            Self::WriteInPlace => "write in place",
            Self::Sync => "sync",
            Self::Replace => "replace",
            Self::Link => "link",
            Self::Remove => "remove",
        }
    }
}

/// The advice for a target that is a mount point of its own.
pub(super) const MOUNT_THE_DIRECTORY: &str = "mount its directory instead of the file, so that \
     the file can be replaced by a rename; or set `inPlace: true`, which gives up atomicity";

impl WriteError {
    /// A system call that failed.
    pub(super) fn os(step: Step, path: &Path, errno: Errno) -> Self {
        Self {
            path: path.to_owned(),
            step: step.as_str(),
            cause: errno.to_string(),
            help: help(step, path, errno),
            is_halfway: false,
        }
    }

    /// A rule that was broken.
    pub(super) fn rule(step: Step, path: &Path, cause: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            step: step.as_str(),
            cause: cause.into(),
            help: None,
            is_halfway: false,
        }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same after new content came into place: what has, and what happens next.
    pub(super) fn halfway(mut self, done: &str) -> Self {
        self.cause += &format!("; {done}; the next cycle tries again");
        self.is_halfway = true;
        self
    }

    /// As the failure of a secret: class `write`, tried again each cycle.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let mut failure = Failure::new(ErrorType::Write, Retry::Settled, self.to_string());
        failure.is_halfway = self.is_halfway;
        match &self.help {
            Some(help) => failure.with_remedy(help),
            None => failure.with_remedy(format!(
                "look at `{}` and at the kernel's log (`dmesg`)",
                shown(&self.path)
            )),
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} `{}`: {}",
            self.step,
            shown(&self.path),
            self.cause
        )
    }
}

impl std::error::Error for WriteError {}

/// A path as text of one line.
pub(super) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// What an operator can do about it; `None` where the cause says it all.
fn help(step: Step, path: &Path, errno: Errno) -> Option<String> {
    let user = sys::euid();
    let path = shown(path);
    Some(match (step, errno) {
        (Step::SetOwner, Errno::PERM | Errno::ACCESS) => {
            "grant `CAP_CHOWN` (systemd: `AmbientCapabilities=CAP_CHOWN`), or leave `owner` out; \
             for `group` alone, make the daemon a member (`SupplementaryGroups=`)"
                .into()
        }
        (Step::SetOwner, Errno::INVAL) => {
            "the ID is not mapped in this user namespace: use one that the container knows".into()
        }
        (Step::SetMode, Errno::PERM | Errno::ACCESS) => {
            "the file belongs to another user: grant `CAP_FOWNER`".into()
        }
        (Step::Replace | Step::Remove, Errno::PERM | Errno::ACCESS) => format!(
            "give the daemon's user (uid {user}) write permission on the directory; in a sticky \
             directory, or where the file belongs to another user, grant `CAP_FOWNER`; take an \
             immutable flag away (`lsattr -d {path}`, `chattr -i {path}`)"
        ),
        (Step::WriteInPlace, Errno::PERM | Errno::ACCESS) => format!(
            "give the daemon's user (uid {user}) write permission on the file (`chown {user} {path}`), or \
             grant `CAP_DAC_OVERRIDE`; take an immutable flag away (`chattr -i {path}`)"
        ),
        (Step::Enter, Errno::ACCESS) => format!(
            "give the daemon's user (uid {user}) search permission on it: `chmod o+x {path}`, or by a \
             group (`SupplementaryGroups=`)"
        ),
        (_, Errno::PERM) => format!(
            "take the immutable or append-only flag away (`lsattr -d {path}`, `chattr -ia {path}`), or give the \
             daemon the capability that it lacks"
        ),
        (_, Errno::ACCESS) => format!(
            "give the daemon's user (uid {user}) write permission on it: `chown {user} {path}`, or by its mode \
             or a group (`SupplementaryGroups=`); under systemd or with the sandbox on, \
             allow the path (`ReadWritePaths=`, `SANDBOX_WRITE_PATHS`); a directory that took the place of \
             another since the start is open after a restart"
        ),
        (_, Errno::ROFS) => format!(
            "mount it read-write (`mount -o remount,rw MOUNTPOINT`, of the file system of {path}), or allow it in the unit \
             (`ReadWritePaths=`)"
        ),
        (_, Errno::NOSPC) => {
            "free space or inodes there (`df`, `df -i`), or give a tmpfs a larger `size=`".into()
        }
        (_, Errno::DQUOT) => "raise the quota of the daemon's user, or free space".into(),
        (Step::Replace, Errno::BUSY | Errno::XDEV) => MOUNT_THE_DIRECTORY.into(),
        (_, Errno::MFILE | Errno::NFILE) => {
            "raise the limit on open files (systemd: `LimitNOFILE=`; of this process: `prlimit --nofile`)".into()
        }
        (_, Errno::FBIG) => "raise the limit on file sizes (systemd: `LimitFSIZE=`)".into(),
        (_, Errno::IO) => "look at the kernel's log for errors of the device".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_one_line_and_says_what_would_help() {
        let error = WriteError::os(Step::SetOwner, Path::new("/s/key"), Errno::PERM);
        assert_eq!(
            error.to_string(),
            "cannot set the owner of `/s/key`: Operation not permitted (os error 1)"
        );
        let failure = error.failure();
        assert_eq!(failure.error_type, ErrorType::Write);
        assert!(failure.remedy.unwrap().contains("CAP_CHOWN"));
    }

    #[test]
    fn a_path_cannot_break_the_line() {
        assert_eq!(shown(Path::new("/a\nb\x1b[1mü")), "/a\\nb\\u{1b}[1mü");
    }

    #[test]
    fn each_error_people_meet_has_its_own_advice() {
        for (step, errno, part) in [
            (Step::CreateIn, Errno::ACCESS, "SupplementaryGroups="),
            (Step::CreateIn, Errno::ROFS, "read-write"),
            (Step::Write, Errno::NOSPC, "free space"),
            (Step::Write, Errno::DQUOT, "quota"),
            (Step::Replace, Errno::BUSY, "mount its directory"),
            (Step::Replace, Errno::XDEV, "mount its directory"),
            (Step::Replace, Errno::PERM, "CAP_FOWNER"),
            (Step::SetMode, Errno::PERM, "CAP_FOWNER"),
            (Step::SetOwner, Errno::INVAL, "user namespace"),
            (Step::Enter, Errno::ACCESS, "search permission"),
            (Step::CreateIn, Errno::MFILE, "LimitNOFILE="),
            (Step::WriteInPlace, Errno::ACCESS, "on the file"),
        ] {
            let text = help(step, Path::new("/d/x"), errno).unwrap();
            assert!(text.contains(part), "{step:?} {errno}: {text}");
            assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
        }
    }
}
