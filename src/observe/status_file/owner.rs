//! Whom an entry must belong to before it is believed.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::geteuid;

/// Write permission of group or others.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Opens an entry to read it; a symbolic link is refused, and nothing that is no file can make it
/// wait.
pub(crate) fn open(path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    let safe = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(openat(CWD, path, flags | safe, mode)?))
}

/// Why an open file is not to be believed: it is no regular file, or others could have put it
/// there. It is the handle that is looked at, not the path.
pub(crate) fn distrust(file: &File, path: &Path) -> io::Result<Option<String>> {
    let entry = file.metadata()?;
    if !entry.is_file() {
        return Ok(Some("it is not a regular file".to_owned()));
    }
    let directory = std::fs::metadata(super::directory(path))?;
    Ok(foreign(&entry, &directory, geteuid().as_raw()))
}

fn foreign(entry: &Metadata, directory: &Metadata, me: u32) -> Option<String> {
    let owner = entry.uid();
    (directory.mode() & OTHERS_MAY_WRITE != 0 && owner != 0 && owner != me).then(|| {
        format!("it belongs to user {owner}, neither root nor this user, in a directory that others may write")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_foreign_file_counts_only_where_others_cannot_have_made_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status");
        std::fs::write(&path, "").unwrap();
        let verdict = |mode: u32, owner: u32, me: u32| {
            std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(mode)).unwrap();
            rustix::fs::chown(
                &path,
                Some(rustix::fs::Uid::from_raw(owner)),
                None::<rustix::fs::Gid>,
            )
            .unwrap();
            let of = |path: &Path| std::fs::metadata(path).unwrap();
            foreign(&of(&path), &of(directory.path()), me).is_some()
        };
        if !geteuid().is_root() {
            return; // nobody else can give files away
        }
        assert!(verdict(0o1777, 1000, 1001));
        assert!(verdict(0o1777, 1000, 0), "not even root trusts it");
        assert!(verdict(0o775, 1000, 0));
        assert!(!verdict(0o1777, 1001, 1001));
        assert!(!verdict(0o1777, 0, 1001));
        assert!(!verdict(0o755, 1000, 1001));
    }

    #[test]
    fn links_and_pipes_are_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        let link = directory.path().join("link");
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(open(&link, OFlags::RDONLY, Mode::empty()).is_err());
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let file = open(&pipe, OFlags::RDONLY, Mode::empty()).unwrap();
        assert!(distrust(&file, &pipe).unwrap().is_some());
    }
}
