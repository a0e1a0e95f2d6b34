//! `layout: files`: each file at its own path. All are staged before the first is renamed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{WriteError, shown};
use super::in_place::{self, Existing};
use super::look::{self, Look, Memory, Verdict};
use super::name::Names;
use super::proofs::Proofs;
use super::stage::Staged;
use super::walk::Directory;
use super::writer::{Piece, State};
use super::{Committed, Target};

/// Makes every directory, and shows that a file can be made there and given away.
pub(super) fn prove(targets: &[Target], proofs: &Proofs) -> Result<Vec<String>, WriteError> {
    let mut warnings = Vec::new();
    let mut names = Names::default();
    let mut here: Option<Directory> = None;
    for target in targets {
        let path = target.path.as_path();
        // Files of one secret mostly lie beside each other.
        let dir = match here.take() {
            Some(dir) if dir.path == target.directory() => dir,
            _ => Directory::ensured(target.directory())?,
        };
        let dir = &*here.insert(dir);
        if let (false, Some(name)) = (target.is_dir, path.file_name())
            && let Some(node) = look::look(dir, name, path)?
        {
            if target.in_place {
                Existing::open(dir, name, path)?.prove(Look::of(target), path)?;
                warnings.push(in_place::warning(path));
                continue;
            }
            if node.mount_root {
                return Err(look::mounted(path));
            }
        }
        let look = Look::of(target);
        proofs.shown(dir, look, || {
            Staged::create(dir, look, path, &mut names).map(drop)
        })?;
    }
    Ok(warnings)
}

/// What would have to change about each piece.
pub(super) fn compare(pieces: &[Piece<'_>], memory: &Memory) -> Result<Vec<Verdict>, WriteError> {
    pieces
        .iter()
        .map(|piece| match Directory::existing(piece.parent)? {
            Some(dir) => verdict(&dir, piece, memory),
            None => Ok(Verdict::ABSENT),
        })
        .collect()
}

fn verdict(dir: &Directory, piece: &Piece<'_>, memory: &Memory) -> Result<Verdict, WriteError> {
    let Some(node) = look::look(dir, piece.name, &piece.path)? else {
        return Ok(Verdict::ABSENT);
    };
    if !piece.in_place && node.mount_root {
        return Err(look::mounted(&piece.path));
    }
    look::judge(
        dir,
        piece.name,
        &piece.path,
        &node,
        (piece.look, piece.bytes),
        memory,
    )
}

/// Makes the files equal to the pieces.
pub(super) fn commit(pieces: &[Piece<'_>], state: &mut State) -> Result<Committed, WriteError> {
    let mut committed = Committed::default();
    let mut dirs: BTreeMap<&Path, Directory> = BTreeMap::new();
    for piece in pieces {
        if !dirs.contains_key(piece.parent) {
            dirs.insert(piece.parent, Directory::ensured(piece.parent)?);
        }
    }

    let mut names = Names::default();
    let mut staged = Vec::new();
    let mut existing = Vec::new();
    for piece in pieces {
        let Some(dir) = dirs.get(piece.parent) else {
            continue;
        };
        let verdict = verdict(dir, piece, &state.memory)?;
        if verdict.is_right() {
            committed.unchanged += 1;
        } else if piece.in_place && verdict.exists {
            existing.push((piece, Existing::open(dir, piece.name, &piece.path)?));
        } else {
            let file = Staged::create(dir, piece.look, &piece.path, &mut names)?;
            file.write(piece.bytes, &piece.path)?;
            staged.push((piece, file));
        }
    }
    // All are written before the first is synced: what a journal takes then goes in fewer turns.
    for (piece, file) in &staged {
        file.sync(&piece.path)?;
    }

    // Those that can fail half-way first: then at least the others are still as they were.
    let all: Vec<&Path> = existing
        .iter()
        .map(|(piece, _)| piece)
        .chain(staged.iter().map(|(piece, _)| piece))
        .map(|piece| &*piece.path)
        .collect();
    for (piece, file) in &existing {
        file.write(piece.look, piece.bytes, &piece.path)
            .map_err(|error| halfway(error, &committed.written, &all))?;
        state.memory.keep(piece, file.fd());
        committed.written.push(piece.path.to_path_buf());
        committed.warnings.push(in_place::warning(&piece.path));
    }
    for (piece, file) in &mut staged {
        if let Err(error) = file.rename(piece.name, &piece.path) {
            // The cause stays the rename; what has been renamed shall last all the same, and
            // is tried again in the next cycle.
            let _ = state.sync(&dirs);
            return Err(halfway(error, &committed.written, &all));
        }
        if !state.unsynced.contains(piece.parent) {
            state.unsynced.insert(piece.parent.to_owned());
        }
        state.memory.keep(piece, file.fd());
        committed.written.push(piece.path.to_path_buf());
    }
    state
        .sync(&dirs)
        .map_err(|error| halfway(error, &committed.written, &all))?;
    Ok(committed)
}

/// The error with what is new already and what is not.
fn halfway(error: WriteError, new: &[PathBuf], all: &[&Path]) -> WriteError {
    if new.is_empty() {
        return error;
    }
    let list = |paths: &mut dyn Iterator<Item = &Path>| {
        let names: Vec<_> = paths.map(|path| format!("`{}`", shown(path))).collect();
        names.join(", ")
    };
    let done = list(&mut new.iter().map(PathBuf::as_path));
    let old = list(&mut all.iter().copied().skip(new.len()));
    let rest = if old.is_empty() { "none" } else { &old };
    error.halfway(&format!("new already: {done}; not yet: {rest}"))
}

impl State {
    /// Syncs the directories that had renames since their last sync.
    fn sync(&mut self, dirs: &BTreeMap<&Path, Directory>) -> Result<(), WriteError> {
        while let Some(path) = self.unsynced.first().cloned() {
            match dirs.get(path.as_path()) {
                Some(dir) => dir.sync()?,
                None => {
                    if let Some(dir) = Directory::existing(&path)? {
                        dir.sync()?;
                    }
                }
            }
            self.unsynced.remove(&path);
        }
        Ok(())
    }
}
