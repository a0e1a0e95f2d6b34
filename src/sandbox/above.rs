//! The directories above the targets', so far as they hold nothing else: one that is allowed lets a
//! target directory that was removed, or mounted anew, be made again.
//!
//! A rule is bound to the directory that stands there when the sandbox closes, not to its name. One
//! directory up it holds for what takes that name later; but what else lies there would be open to
//! the daemon, too. So it is allowed only where there is nothing else.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, fstat, openat, statat};

/// Device and inode number.
type Id = (u64, u64);

/// The directories above `targets`, and those of `nearest` (which stand where a target's could not be
/// opened), that hold nothing but directories allowed already; by their real paths.
pub(super) fn above(
    targets: &[OwnedFd],
    others: &[OwnedFd],
    nearest: Vec<OwnedFd>,
) -> Vec<(PathBuf, OwnedFd)> {
    let given = targets.iter().chain(others);
    let mut allowed: BTreeSet<Id> = given.filter_map(|fd| id(fd).ok()).collect();
    let mut candidates: Vec<OwnedFd> = nearest;
    candidates.extend(targets.iter().filter_map(parent));
    let mut found = Vec::new();
    // One that is let in may be what its neighbour, or the one above, was waiting for.
    loop {
        let mut waiting = Vec::new();
        let mut seen = BTreeSet::new();
        let before = found.len();
        for fd in candidates {
            let Ok(id) = id(&fd) else { continue };
            if allowed.contains(&id) || !seen.insert(id) {
                continue;
            }
            match path(&fd).filter(|path| !is_shared(path)) {
                Some(path) if holds_only(&fd, &allowed) => {
                    allowed.insert(id);
                    waiting.extend(parent(&fd));
                    found.push((path, fd));
                }
                Some(_) => waiting.push(fd),
                None => {}
            }
        }
        if found.len() == before {
            return found;
        }
        candidates = waiting;
    }
}

/// What is the system's, or a person's: other things come to lie there, though there may be none now.
fn is_shared(path: &Path) -> bool {
    const TOP: [&str; 21] = [
        "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt",
        "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
    ];
    let names: Vec<&str> = path
        .iter()
        .skip(1)
        .map(|name| name.to_str().unwrap_or_default())
        .collect();
    match names[..] {
        [] => true,
        [top] => TOP.contains(&top),
        ["home" | "usr" | "var" | "media", _] | ["run", "user", ..] => true,
        ["dev" | "proc" | "sys" | "boot", ..] => true,
        _ => false,
    }
}

fn holds_only(directory: &OwnedFd, allowed: &BTreeSet<Id>) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(entries) = openat(directory, ".", flags, Mode::empty()).and_then(Dir::new) else {
        return false;
    };
    let dots: [&CStr; 2] = [c".", c".."];
    entries.into_iter().all(|entry| {
        entry.is_ok_and(|entry| {
            dots.contains(&entry.file_name())
                || statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| allowed.contains(&(stat.st_dev, stat.st_ino)))
        })
    })
}

fn parent(directory: &OwnedFd) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(directory, "..", flags, Mode::empty()).ok()
}

fn id(fd: impl AsFd) -> rustix::io::Result<Id> {
    fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

fn path(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    fn open(path: PathBuf) -> OwnedFd {
        openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// Makes the entries of a tree below a directory with a neighbour; which of them are allowed when
    /// `given` are.
    fn allowed(entries: &[&str], given: &[&str], nearest: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::write(top.join("neighbour"), "").unwrap();
        for entry in entries {
            match entry.strip_suffix('=') {
                Some(file) => std::fs::write(top.join(file), "").unwrap(),
                None => std::fs::create_dir_all(top.join(entry)).unwrap(),
            }
        }
        let opened = |names: &[&str]| -> Vec<OwnedFd> {
            names.iter().map(|name| open(top.join(name))).collect()
        };
        let mut found: Vec<String> = above(&opened(given), &[], opened(nearest))
            .into_iter()
            .map(|(path, _)| path.strip_prefix(&top).unwrap().display().to_string())
            .collect();
        found.sort();
        found
    }

    #[test]
    fn what_holds_nothing_but_targets_is_allowed_as_far_up_as_that_is_so() {
        assert_eq!(allowed(&["a/b/c"], &["a/b/c"], &[]), ["a", "a/b"]);
        assert_eq!(
            allowed(&["a/b/x", "a/c"], &["a/b/x", "a/c"], &[]),
            ["a", "a/b"]
        );
    }

    #[test]
    fn a_neighbour_of_any_kind_keeps_a_directory_closed() {
        assert_eq!(allowed(&["a/tls", "a/conf="], &["a/tls"], &[]), [""; 0]);
        assert_eq!(allowed(&["a/tls", "a/other"], &["a/tls"], &[]), [""; 0]);
        assert_eq!(allowed(&["a/b/c", "a/conf="], &["a/b/c"], &[]), ["a/b"]);
    }

    #[test]
    fn where_one_could_not_be_made_the_empty_directory_above_stands_for_it() {
        assert_eq!(allowed(&["a/b"], &[], &["a/b"]), ["a", "a/b"]);
        assert_eq!(allowed(&["a/b", "a/conf="], &[], &["a"]), [""; 0]);
    }

    #[test]
    fn what_is_the_systems_or_a_persons_is_shared() {
        for (path, expected) in [
            ("/", true),
            ("/etc", true),
            ("/etc/app", false),
            ("/run", true),
            ("/run/app", false),
            ("/run/user/1000", true),
            ("/run/user/1000/app", true),
            ("/secrets", false),
            ("/var/lib", true),
            ("/var/lib/app", false),
            ("/home/jo", true),
            ("/home/jo/app", false),
            ("/root", true),
            ("/dev/shm/a", true),
            ("/usr/local", true),
        ] {
            assert_eq!(is_shared(Path::new(path)), expected, "{path}");
        }
    }
}
