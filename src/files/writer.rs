//! The files of one secret: prove, compare, commit.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Step, shown};
use super::look::{Look, Memory, Verdict};
use super::{Proofs, Target, WriteError, generation, name, separate, target};
use crate::secret::SecretBytes;

/// Writes the files of one secret, as a group. Owned by the secret's worker.
#[derive(Debug)]
pub struct Writer {
    targets: Vec<Target>,
    directory: bool,
    state: State,
    proofs: Arc<Proofs>,
    /// Files of each `dir` that this writer knows a field of.
    known: BTreeSet<(usize, String)>,
}

/// What a writer remembers from one commit to the next.
#[derive(Debug, Default)]
pub(super) struct State {
    pub memory: Memory,
    /// Directories with renames that may not have reached the disk.
    pub unsynced: BTreeSet<PathBuf>,
    /// A generation that was replaced is still there.
    pub old: bool,
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

/// A new file with everything its target says about it.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub path: Cow<'a, Path>,
    pub parent: &'a Path,
    pub name: &'a OsStr,
    pub look: Look,
    pub in_place: bool,
    pub bytes: &'a [u8],
}

impl Writer {
    /// For these targets. `directory` is the `layout: directory`.
    #[must_use]
    pub fn new(targets: Vec<Target>, directory: bool) -> Self {
        Self {
            targets,
            directory,
            state: State::default(),
            proofs: Arc::default(),
            known: BTreeSet::new(),
        }
    }

    /// What others have shown about a directory since it was made holds for this one, too.
    #[must_use]
    pub fn sharing(self, proofs: Arc<Proofs>) -> Self {
        Self { proofs, ..self }
    }

    /// The targets it was made for.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Proves that every directory is writable and every owner settable, creating missing
    /// parents. Once, before the first fetch; again each cycle until it succeeds. Returns what
    /// people should know: one line for each target that is written in place.
    ///
    /// # Errors
    ///
    /// The first target that would fail, with what would help.
    pub fn prove(&mut self) -> Result<Vec<String>, WriteError> {
        if self.directory {
            generation::prove(&self.targets)
        } else {
            separate::prove(&self.targets, &self.proofs)
        }
    }

    /// Makes the files on disk equal to `files`: nothing is written where content, mode and owner
    /// match; all are staged before the first is renamed.
    ///
    /// # Errors
    ///
    /// A failure before the first rename leaves every old file as it was; one after it names the
    /// files that are new and those that are not, and the next commit writes the rest.
    pub fn commit(&mut self, files: &[NewFile]) -> Result<Committed, WriteError> {
        let pieces = pieces(&self.targets, files)?;
        let mut committed = if self.directory {
            generation::commit(&self.targets, &pieces, &mut self.state)?
        } else {
            separate::commit(&pieces, &mut self.state)?
        };
        let warnings = self.vanished(files);
        committed.warnings.extend(warnings);
        Ok(committed)
    }

    /// Whether the last commit left what it replaced for those who are reading it
    /// (`layout: directory`): to be removed by [`remove_old`](Self::remove_old) a little later.
    #[must_use]
    pub fn has_old(&self) -> bool {
        self.state.old
    }

    /// Removes it. Returns what could not be removed; the next commit tries again.
    ///
    /// # Errors
    ///
    /// When the directory cannot be reached.
    pub fn remove_old(&mut self) -> Result<Vec<String>, WriteError> {
        if !self.state.old {
            return Ok(Vec::new());
        }
        generation::remove_old(&self.targets, &mut self.state)
    }

    /// What [`commit`](Self::commit) would do, one entry for each of `files`, in their order;
    /// touches nothing.
    ///
    /// # Errors
    ///
    /// What would fail and can be seen without writing.
    pub fn compare(&self, files: &[NewFile]) -> Result<Vec<Change>, WriteError> {
        let pieces = pieces(&self.targets, files)?;
        let verdicts = if self.directory {
            generation::compare(&self.targets, &pieces, &self.state.memory)?
        } else {
            separate::compare(&pieces, &self.state.memory)?
        };
        let change = |(piece, verdict): (Piece<'_>, Verdict)| Change {
            path: piece.path.into_owned(),
            content: verdict.content,
            attributes: verdict.attributes,
            old_size: verdict.old_size,
            new_size: piece.bytes.len() as u64,
        };
        Ok(pieces.into_iter().zip(verdicts).map(change).collect())
    }

    /// One line for each file whose field was there in an earlier commit and is not any more.
    fn vanished(&mut self, files: &[NewFile]) -> Vec<String> {
        let now: BTreeSet<_> = files
            .iter()
            .filter_map(|file| Some((file.target, file.name.clone()?)))
            .collect();
        let before = std::mem::replace(&mut self.known, now);
        before
            .difference(&self.known)
            .filter_map(|(target, name)| {
                let path = self.targets.get(*target)?.path.as_path().join(name);
                Some(format!(
                    "`{}` stays, though the secret has no field `{name}` any more: remove it \
                     yourself if nobody needs it",
                    shown(&path)
                ))
            })
            .collect()
    }
}

/// Checks the files against their targets.
fn pieces<'a>(targets: &'a [Target], files: &'a [NewFile]) -> Result<Vec<Piece<'a>>, WriteError> {
    let mut pieces = Vec::with_capacity(files.len());
    for file in files {
        pieces.push(piece(targets, file)?);
    }
    let mut paths = BTreeSet::new();
    for piece in &pieces {
        if !paths.insert(&*piece.path) {
            let cause = "two pieces of content have this path";
            return Err(WriteError::rule(Step::Write, &piece.path, cause));
        }
    }
    Ok(pieces)
}

fn piece<'a>(targets: &'a [Target], file: &'a NewFile) -> Result<Piece<'a>, WriteError> {
    let refuse = |path: &Path, cause: &str| Err(WriteError::rule(Step::Write, path, cause));
    let Some(target) = targets.get(file.target) else {
        return refuse(Path::new(""), "no target was planned for this content");
    };
    let path = target.path.as_path();
    let (path, name) = match (target.is_dir, &file.name) {
        (true, Some(name)) => (Cow::Owned(path.join(name)), OsStr::new(name)),
        (false, None) => (Cow::Borrowed(path), path.file_name().unwrap_or_default()),
        (true, None) => return refuse(path, "the content has no field to name its file after"),
        (false, Some(_)) => return refuse(path, "it is a file, not a directory of fields"),
    };
    if let Err(cause) = target::check_name(name) {
        return refuse(path.parent().unwrap_or(&path), &cause);
    }
    if name::is_temporary(name) {
        return refuse(&path, "the name is one of the daemon's own temporary files");
    }
    let bytes = file.bytes.expose();
    if bytes.is_empty() && !target.allow_empty {
        return Err(WriteError::rule(
            Step::Write,
            &path,
            "the content is empty; the old file stays",
        )
        .with_help("set `allowEmpty: true` if an empty file is meant"));
    }
    Ok(Piece {
        path,
        parent: target.directory(),
        name,
        look: Look::of(target),
        in_place: target.in_place && !target.is_dir,
        bytes,
    })
}
