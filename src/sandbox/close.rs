//! The roots, told to the kernel.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use rustix::fs::{FileType, fstat};

use super::enter::{Entered, Wish, enter};
use super::roots::{Roots, Use, Writes, beyond, of_the_system};
use crate::plan::{Daemon, Plan};

/// What we know of; a kernel that knows less enforces less.
const RIGHTS: ABI = ABI::V5;

/// What was allowed. Not there when nothing is enforced: then nothing is refused either.
#[derive(Clone, Debug)]
pub struct Sandbox {
    writable: Vec<PathBuf>,
    readable: Vec<PathBuf>,
}

/// What closing came to.
#[derive(Debug)]
pub struct Closed {
    /// What is allowed; `None` where the kernel enforces nothing.
    pub sandbox: Option<Sandbox>,
    /// How far the kernel enforces it, in words.
    pub status: String,
    /// What people should know: directories that could not be allowed, and why.
    pub warnings: Vec<String>,
}

/// Closes the sandbox around the calling thread and those it starts from now on, for good. Makes
/// target directories that are missing.
#[must_use]
pub fn close(roots: &Roots) -> Closed {
    if let Some(Use { who, .. }) = roots.writable.get(Path::new("/")) {
        return Closed {
            sandbox: None,
            status: "off".to_owned(),
            warnings: vec![format!(
                "the sandbox stays off: {who} writes directly in `/`, which cannot be allowed without \
                 everything below it; let it write into a directory of its own"
            )],
        };
    }
    let mut warnings = Vec::new();
    let targets = roots.writable.iter();
    let writable = enter(targets.map(|(path, use_)| wish(path, use_.make)).collect());
    let readable = enter(readable_wishes(roots, &mut warnings));
    let refused = writable
        .iter()
        .filter_map(|entered| Some((&entered.path, entered.problem.as_ref()?)));
    for (path, problem) in refused {
        let who = roots.writable.get(path).map_or("", |used| &used.who);
        warnings.push(format!(
            "{who}: `{}` may stay closed to it until a restart: {problem}",
            path.display()
        ));
    }
    match enforce(&writable, &readable) {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => Closed {
            sandbox: None,
            status:
                "this kernel has no Landlock: nothing but the file system's own modes limits what \
                     the daemon writes"
                    .to_owned(),
            warnings,
        },
        Ok(status) => Closed {
            sandbox: Some(Sandbox {
                writable: roots.writable.keys().cloned().collect(),
                readable: roots.readable.keys().cloned().collect(),
            }),
            status: if status.ruleset == RulesetStatus::FullyEnforced {
                "enforced".to_owned()
            } else {
                "enforced as far as this kernel's Landlock goes".to_owned()
            },
            warnings,
        },
        Err(error) => Closed {
            sandbox: None,
            status: format!("the kernel refuses the sandbox: {error}"),
            warnings,
        },
    }
}

impl Sandbox {
    /// Why a plan that is to be taken up cannot be: it needs a directory that was not allowed.
    #[must_use]
    pub fn refuses(&self, plan: &Plan, daemon: &Daemon) -> Option<String> {
        let outside = Roots::of(plan, daemon, Writes::All).outside(&self.writable, &self.readable);
        (!outside.is_empty()).then(|| {
            format!(
                "restart needed: {}, outside of what the sandbox allowed at start (or name a directory \
                 above it in SANDBOX_WRITE_PATHS before the start, or set SANDBOX=off)",
                outside.join("; ")
            )
        })
    }
}

fn wish(path: &Path, make: bool) -> Wish {
    Wish {
        path: path.to_owned(),
        make,
    }
}

fn readable_wishes(roots: &Roots, warnings: &mut Vec<String>) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for (path, Use { who, .. }) in &roots.readable {
        if path.parent() == Some(Path::new("/")) && path.is_file() {
            warnings.push(format!(
                "{who}: `{}` lies directly in `/`: that file alone can be read, and not one that takes \
                 its place; put it into a directory of its own",
                path.display()
            ));
        }
        wishes.push(wish(path, false));
    }
    // What is a link lies in another directory, too; so do the links in a directory of authorities.
    for file in &roots.files {
        let below = std::fs::read_dir(file).into_iter().flatten().flatten();
        let real = std::iter::once(file.clone())
            .chain(below.map(|entry| entry.path()))
            .filter_map(|path| beyond(&path));
        let real: BTreeSet<PathBuf> = real.collect();
        wishes.extend(real.iter().map(|path| wish(path, false)));
    }
    wishes.extend(of_the_system().iter().map(|path| wish(path, false)));
    wishes
}

fn enforce(writable: &[Entered], readable: &[Entered]) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .create()?;
    for (entered, rights) in [(writable, writing()), (readable, reading())] {
        for fd in entered.iter().flat_map(|entered| &entered.fds) {
            rules = rules.add_rule(PathBeneath::new(fd, of_its_kind(rights, fd.as_fd())))?;
        }
    }
    rules.restrict_self()
}

/// What the writer does: no device, socket, FIFO, nothing that runs.
fn writing() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// The kernel takes the rights of directories for directories alone.
fn of_its_kind(rights: BitFlags<AccessFs>, fd: BorrowedFd<'_>) -> BitFlags<AccessFs> {
    let is_directory =
        fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    if is_directory {
        rights
    } else {
        rights & AccessFs::from_file(RIGHTS)
    }
}
