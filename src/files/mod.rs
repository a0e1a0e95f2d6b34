//! Bytes in, files on disk: path rules, staging, commit, comparison and clean-up.
//!
//! Walks by directory handles, creates exclusively, syncs, renames; never follows a link it does
//! not trust. Knows nothing of servers, templates or schedules, and never logs.
//!
//! A [`Writer`] has two ways to lay files out: `separate` (each at its path) and `generation`
//! (all switched by one link). Both `walk` to their directories, `look` at what is there, and
//! `stage` what is new; every system call is in `sys`.

mod behind;
mod error;
mod generation;
mod in_place;
mod look;
mod name;
mod owner;
mod proofs;
mod separate;
mod stage;
mod sweep;
mod syncs;
mod sys;
mod target;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

pub use error::WriteError;
pub use owner::{parse_group, parse_user};
pub use proofs::Proofs;
pub use sweep::{Swept, sweep};
pub use target::{Mode, Target, TargetPath};
/// The directory, reached by a trusted way, as a handle that only names it; what is missing is
/// made as the writer makes it. It has been asked what it is: where its file system hangs, so does this, and
/// whoever uses the handle afterwards does not.
///
/// # Errors
///
/// [`WriteError`] when a component cannot be entered or made.
pub fn make_directory(path: &std::path::Path) -> Result<std::os::fd::OwnedFd, WriteError> {
    let directory = walk::Directory::ensured(path)?;
    directory.node()?;
    Ok(directory.fd)
}

pub use writer::{Change, Committed, NewFile, Writer};
