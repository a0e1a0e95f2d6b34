//! `layout: directory`: all files of a secret lie in one generation, a directory of its own, and
//! one rename of the `..data` link switches them together, as in a Kubernetes volume:
//!
//! ```text
//! tls.crt -> ..data/tls.crt
//! tls.key -> ..data/tls.key
//! ..data  -> ..2026_01_02_03_04_05.XXXXXXXXXXXX
//! ..2026_01_02_03_04_05.XXXXXXXXXXXX/
//! ```

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::behind;
use super::error::{Step, WriteError};
use super::look::{self, Look, Memory, Verdict};
use super::name::{self, DATA, DATA_TMP, Names};
use super::stage::{self, Staged};
use super::sweep::Swept;
use super::sys;
use super::walk::{self, Directory};
use super::writer::{Piece, State};
use super::{Committed, Target};
use crate::clock::{Clock, SystemClock};

/// What a file's visible name is now.
enum Visible {
    Missing,
    /// The link to it through `..data`.
    Link,
    /// A file of `layout: files`, to be replaced by the link.
    File,
}

/// The directory, and that files can be made in it and given away.
pub(super) fn prove(targets: &[Target]) -> Result<Vec<String>, WriteError> {
    let Some(path) = common_directory(targets)? else {
        return Ok(Vec::new());
    };
    let base = Directory::ensured(path)?;
    current(&base)?;
    let mut names = Names::default();
    for target in targets {
        let path = target.path.as_path();
        if let (false, Some(name)) = (target.is_dir, path.file_name()) {
            visible(&base, name, path)?;
        }
        drop(Staged::create(&base, Look::of(target), path, &mut names)?);
    }
    Ok(Vec::new())
}

/// What would have to change about each piece.
pub(super) fn compare(
    targets: &[Target],
    pieces: &[Piece<'_>],
    memory: &Memory,
) -> Result<Vec<Verdict>, WriteError> {
    let base = match common_directory(targets)? {
        Some(path) => Directory::existing(path)?,
        None => None,
    };
    match base {
        Some(base) => verdicts(&base, current(&base)?.as_ref(), pieces, memory),
        None => Ok(vec![Verdict::ABSENT; pieces.len()]),
    }
}

/// Makes the files equal to the pieces, in one step.
pub(super) fn commit(
    targets: &[Target],
    pieces: &[Piece<'_>],
    state: &mut State,
) -> Result<Committed, WriteError> {
    let mut committed = Committed::default();
    let Some(path) = common_directory(targets)? else {
        return Ok(committed);
    };
    let base = Directory::ensured(path)?;
    let old = current(&base)?;
    if let Some(old) = &old {
        behind::follow(&base, old)?;
    }
    let verdicts = verdicts(&base, old.as_ref(), pieces, &state.memory)?;
    let sound = match &old {
        Some(old) => {
            let node = old.node()?;
            node.mode == walk::made_mode(base.node()?) && node.uid == sys::euid()
        }
        None => false,
    };
    if sound && verdicts.iter().all(|verdict| verdict.is_right()) {
        committed.unchanged = pieces.len();
        if state.unsynced.contains(path) {
            base.sync()?;
            state.unsynced.remove(path);
        }
        return Ok(committed);
    }

    // What earlier failures left, and the one before the last, whose readers had their time.
    committed.warnings.extend(sweep_old(&base, state));
    let mut new = Generation::create(&base)?;
    let mut written = Vec::new();
    for piece in pieces {
        written.push(new.add(piece)?);
    }
    let some_stay = match &old {
        Some(old) if behind::is_trusted(old)? => new.carry_over(old, pieces)?,
        _ => false,
    };
    sys::sync(&new.fd).map_err(|errno| WriteError::os(Step::Sync, &new.path, errno))?;
    let files = new.link_missing(pieces)?;
    switch(&base, &new.name, DATA)?;
    new.in_use = true;
    state.unsynced.insert(path.to_owned());
    // Readers may stand between its link and its files: it stays for a while. Whatever fails from
    // here on, it goes after the next cycle that finds all right.
    state.old |= old.is_some();

    for ((piece, fd), verdict) in pieces.iter().zip(&written).zip(&verdicts) {
        state.memory.keep(piece, fd);
        if verdict.is_right() && sound {
            committed.unchanged += 1;
        } else {
            committed.written.push(piece.path.to_path_buf());
        }
    }
    let finish = || -> Result<(), WriteError> {
        for name in files {
            switch(&base, &through_data(name), name)?;
        }
        if some_stay {
            behind::follow(&base, &new.place()?)?;
        }
        base.sync()
    };
    finish().map_err(|error| error.halfway("`..data` names the new files already"))?;
    state.unsynced.remove(path);
    Ok(committed)
}

/// Removes the generation that the last commit replaced.
pub(super) fn remove_old(targets: &[Target], state: &mut State) -> Result<Vec<String>, WriteError> {
    let Some(path) = common_directory(targets)? else {
        return Ok(Vec::new());
    };
    Ok(match Directory::existing(path)? {
        Some(base) => sweep_old(&base, state),
        None => Vec::new(),
    })
}

fn sweep_old(base: &Directory, state: &mut State) -> Vec<String> {
    let mut swept = Swept::default();
    swept.generations(base);
    state.old = !swept.warnings.is_empty();
    swept.warnings
}

/// The one directory of all targets.
fn common_directory(targets: &[Target]) -> Result<Option<&Path>, WriteError> {
    let mut directory = None;
    for target in targets {
        let path = target.directory();
        let refuse = |why: &str| Err(WriteError::rule(Step::Write, target.path.as_path(), why));
        if target.in_place {
            return refuse("`inPlace` and `layout: directory` exclude each other");
        }
        if *directory.get_or_insert(path) != path {
            return refuse("with `layout: directory` all files lie in one directory");
        }
    }
    Ok(directory)
}

/// The generation that `..data` names, if it is one of ours.
pub(super) fn current(base: &Directory) -> Result<Option<Directory>, WriteError> {
    let path = base.path.join(DATA);
    let error = |errno| WriteError::os(Step::LookAt, &path, errno);
    let fd = match sys::open_node(&base.fd, OsStr::new(DATA)) {
        Err(Errno::NOENT) => return Ok(None),
        result => result.map_err(error)?,
    };
    let node = sys::node(&fd).map_err(error)?;
    if node.kind != FileType::Symlink {
        let cause = format!("it is {}, not the link", walk::kind(node.kind));
        return Err(WriteError::rule(Step::Replace, &path, cause)
            .with_help("remove it, or write to another directory"));
    }
    let text = sys::read_link(&fd).map_err(error)?;
    if name::is_generation(&text) {
        base.child(&text)
    } else {
        Ok(None)
    }
}

fn through_data(name: &OsStr) -> OsString {
    Path::new(DATA).join(name).into()
}

fn visible(base: &Directory, name: &OsStr, path: &Path) -> Result<Visible, WriteError> {
    if name.as_encoded_bytes().starts_with(b"..") {
        let cause = "with `layout: directory` no name may begin with `..`";
        return Err(WriteError::rule(Step::Write, path, cause));
    }
    let fd = match sys::open_node(&base.fd, name) {
        Err(Errno::NOENT) => return Ok(Visible::Missing),
        result => result.map_err(|errno| WriteError::os(Step::LookAt, path, errno))?,
    };
    if sys::read_link(&fd).is_ok_and(|text| text == through_data(name)) {
        return Ok(Visible::Link);
    }
    match look::look(base, name, path)? {
        Some(node) if node.mount_root => Err(look::mounted(path)),
        Some(_) => Ok(Visible::File),
        None => Ok(Visible::Missing),
    }
}

fn verdicts(
    base: &Directory,
    current: Option<&Directory>,
    pieces: &[Piece<'_>],
    memory: &Memory,
) -> Result<Vec<Verdict>, WriteError> {
    let verdict = |piece: &Piece<'_>| {
        let dir = match visible(base, piece.name, &piece.path)? {
            Visible::Missing => None,
            Visible::Link => current,
            Visible::File => Some(base),
        };
        let Some(dir) = dir else {
            return Ok(Verdict::ABSENT);
        };
        let Some(node) = look::look(dir, piece.name, &piece.path)? else {
            return Ok(Verdict::ABSENT);
        };
        let want = (piece.look, piece.bytes);
        let verdict = look::judge(dir, piece.name, &piece.path, &node, want, memory)?;
        // A file that is right, but not yet a link, has to become one.
        Ok(Verdict {
            attributes: verdict.attributes || std::ptr::eq(dir, base),
            ..verdict
        })
    };
    pieces.iter().map(verdict).collect()
}

/// A generation on its way. Dropped before it is in use, it is removed, and what named it.
struct Generation<'base> {
    base: &'base Directory,
    name: OsString,
    path: PathBuf,
    /// Locked, so that no other daemon's clean-up takes it.
    fd: OwnedFd,
    links: Vec<&'base OsStr>,
    in_use: bool,
}

impl<'base> Generation<'base> {
    fn create(base: &'base Directory) -> Result<Self, WriteError> {
        let error = |errno| WriteError::os(Step::CreateIn, &base.path, errno);
        let name = Names::default()
            .generation(SystemClock.wall())
            .map_err(error)?;
        sys::make_directory(&base.fd, &name, 0o700).map_err(error)?;
        let fd = match sys::open_directory(&base.fd, &name) {
            Ok(fd) => fd,
            Err(errno) => {
                let _ = sys::remove_directory(&base.fd, &name);
                return Err(error(errno));
            }
        };
        let path = base.path.join(&name);
        let generation = Self {
            base,
            name,
            path,
            fd,
            links: Vec::new(),
            in_use: false,
        };
        // Without locks nobody can take it for left over either.
        let _ = sys::try_lock(&generation.fd);
        sys::set_mode(&generation.fd, walk::made_mode(base.node()?))
            .map_err(|errno| WriteError::os(Step::SetMode, &generation.path, errno))?;
        Ok(generation)
    }

    fn add(&self, piece: &Piece<'_>) -> Result<OwnedFd, WriteError> {
        let fd = sys::create(&self.fd, piece.name)
            .map_err(|errno| WriteError::os(Step::Write, &piece.path, errno))?;
        stage::dress(&fd, piece.look, &piece.path)?;
        stage::fill(&fd, piece.bytes, &piece.path)?;
        Ok(fd)
    }

    /// Takes over the files that no piece names any more, for no file is ever removed. `true`: some
    /// cannot have a second name, and follow after the switch.
    fn carry_over(&self, old: &Directory, pieces: &[Piece<'_>]) -> Result<bool, WriteError> {
        let named: BTreeSet<&OsStr> = pieces.iter().map(|piece| piece.name).collect();
        let names = old
            .readable()
            .and_then(|fd| sys::names(&fd))
            .map_err(|errno| WriteError::os(Step::Read, &old.path, errno))?;
        let mut some_stay = false;
        for name in names
            .iter()
            .filter(|name| !named.contains(name.as_os_str()))
        {
            some_stay |= sys::share(&old.fd, &self.fd, name).is_err();
        }
        if some_stay {
            behind::note(&self.place()?, old)?;
        }
        Ok(some_stay)
    }

    /// As a place in its directory.
    fn place(&self) -> Result<Directory, WriteError> {
        let missing = || WriteError::os(Step::Enter, &self.path, Errno::NOENT);
        self.base.child(&self.name)?.ok_or_else(missing)
    }

    /// Links the names that are not there yet; returns those that are files.
    fn link_missing<'a>(&mut self, pieces: &[Piece<'a>]) -> Result<Vec<&'a OsStr>, WriteError>
    where
        'a: 'base,
    {
        let mut files = Vec::new();
        for piece in pieces {
            match visible(self.base, piece.name, &piece.path)? {
                Visible::Link => {}
                Visible::File => files.push(piece.name),
                Visible::Missing => {
                    sys::make_link(&through_data(piece.name), &self.base.fd, piece.name)
                        .map_err(|errno| WriteError::os(Step::Link, &piece.path, errno))?;
                    self.links.push(piece.name);
                }
            }
        }
        Ok(files)
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        if self.in_use {
            return;
        }
        // Best effort: what stays is swept at the next start.
        for link in &self.links {
            let _ = sys::unlink(&self.base.fd, link);
        }
        if let Ok(Some(dir)) = self.base.child(&self.name) {
            let _ = remove(self.base, &dir);
        }
    }
}

/// Makes `name` a link that says `text`, in one step, whatever link or file it was.
fn switch(base: &Directory, text: &OsStr, name: impl AsRef<OsStr>) -> Result<(), WriteError> {
    let name = name.as_ref();
    let error = |errno| WriteError::os(Step::Replace, &base.path.join(name), errno);
    let temporary = OsStr::new(DATA_TMP);
    match sys::make_link(text, &base.fd, temporary) {
        // Left by a crash.
        Err(Errno::EXIST) => sys::unlink(&base.fd, temporary)
            .and_then(|()| sys::make_link(text, &base.fd, temporary)),
        result => result,
    }
    .and_then(|()| {
        sys::rename(&base.fd, temporary, &base.fd, name).inspect_err(|_| {
            let _ = sys::unlink(&base.fd, temporary);
        })
    })
    .map_err(error)
}

/// Removes a generation: a flat directory of files.
pub(super) fn remove(base: &Directory, generation: &Directory) -> Result<(), WriteError> {
    let error = |errno| WriteError::os(Step::Remove, &generation.path, errno);
    let fd = generation.readable().map_err(error)?;
    for name in sys::names(&fd).map_err(error)? {
        sys::unlink(&fd, &name).map_err(error)?;
    }
    let name = generation.path.file_name().unwrap_or_default();
    sys::remove_directory(&base.fd, name).map_err(error)
}
