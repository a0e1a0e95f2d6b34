//! Files that no piece names any more and that cannot have a second name: they lie in one
//! generation alone, and follow into the next one after the switch. Until they have, a link in the
//! one in use says where they are, so that neither a crash nor a failure in between loses them.

use std::ffi::OsStr;

use rustix::io::Errno;

use super::error::{Step, WriteError};
use super::walk::Directory;
use super::{name, sys};

/// The link to the generation that has some of this one's files.
pub(super) const BEHIND: &str = "..behind";

/// Notes in `new`, before it is switched to, that files of `old` are to follow.
pub(super) fn note(new: &Directory, old: &Directory) -> Result<(), WriteError> {
    let name = old.path.file_name().unwrap_or_default();
    sys::make_link(name, &new.fd, OsStr::new(BEHIND))
        .map_err(|errno| WriteError::os(Step::Link, &new.path.join(BEHIND), errno))
}

/// Moves what is noted in `current`, the generation in use, if there is such a note. Whose files are
/// not to be trusted takes none, and gives none.
pub(super) fn follow(base: &Directory, current: &Directory) -> Result<(), WriteError> {
    let path = current.path.join(BEHIND);
    let looked = |errno| WriteError::os(Step::LookAt, &path, errno);
    if !is_trusted(current)? {
        return Ok(());
    }
    let link = match sys::open_node(&current.fd, OsStr::new(BEHIND)) {
        Err(Errno::NOENT) => return Ok(()),
        result => result.map_err(looked)?,
    };
    let text = sys::read_link(&link).map_err(looked)?;
    if name::is_generation(&text)
        && let Some(old) = base.child(&text)?
        && is_trusted(&old)?
    {
        bring(&old, current)?;
        // They have arrived for good before the note goes.
        current.sync()?;
    }
    sys::unlink(&current.fd, OsStr::new(BEHIND))
        .map_err(|errno| WriteError::os(Step::Remove, &path, errno))
}

/// Whether it was made by us, or by root: where others may write, too, it may be theirs.
pub(super) fn is_trusted(generation: &Directory) -> Result<bool, WriteError> {
    let owner = generation.node()?.uid;
    Ok(owner == 0 || owner == sys::euid())
}

/// Moves the files of `old` whose names `current` does not have.
fn bring(old: &Directory, current: &Directory) -> Result<(), WriteError> {
    let names = old
        .readable()
        .and_then(|fd| sys::names(&fd))
        .map_err(|errno| WriteError::os(Step::Read, &old.path, errno))?;
    for name in names {
        let path = current.path.join(&name);
        match sys::open_node(&current.fd, &name) {
            Ok(_) => {}
            Err(Errno::NOENT) => sys::rename(&old.fd, &name, &current.fd, &name)
                .map_err(|errno| WriteError::os(Step::Replace, &path, errno))?,
            Err(errno) => return Err(WriteError::os(Step::LookAt, &path, errno)),
        }
    }
    Ok(())
}
