//! The roots, told to the kernel.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use rustix::fs::{FileType, fstat};

use super::above::above;
use super::enter::{Entered, Wish, enter, patiently};
use super::roots::{AHEAD, Roots, Use, Writes, beyond, of_the_system};
use crate::plan::{Daemon, Plan};

/// What we know of; a kernel that knows less enforces less.
const RIGHTS: ABI = ABI::V5;

/// How far it goes where the kernel knows all that is asked of it.
const WHOLE: &str = "enforced";

/// What was allowed. Not there when nothing is enforced: then nothing is refused either.
#[derive(Clone, Debug)]
pub struct Sandbox {
    writable: HashSet<PathBuf>,
    readable: HashSet<PathBuf>,
}

/// What closing came to.
#[derive(Debug)]
pub struct Closed {
    /// What is allowed; `None` where the kernel enforces nothing.
    pub sandbox: Option<Sandbox>,
    /// The kernel enforces all of it.
    pub is_whole: bool,
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
            is_whole: false,
            status: "off".to_owned(),
            warnings: vec![format!(
                "the sandbox stays off: {who} writes directly in `/`, which cannot be allowed without \
                 everything below it; let it write into a directory of its own"
            )],
        };
    }
    let mut warnings = Vec::new();
    let targets = roots.writable.iter();
    let writable = enter(
        targets
            .map(|(path, use_)| wish(path, use_.make()))
            .collect(),
    );
    let mut readable = enter(readable_wishes(roots, &mut warnings));
    let mut allowed: HashSet<PathBuf> = HashSet::new();
    for Entered { path, problem, .. } in &writable {
        let who = roots.writable.get(path).map_or("", |used| &used.who);
        if let Some(problem) = problem {
            warnings.push(format!(
                "{who}: `{}` may stay closed to it until a restart: {problem}",
                path.display()
            ));
        }
        // What could not be allowed ahead is refused to a reload. Of the plan at hand it is the failure
        // of its secret.
        if problem.is_none() || who != AHEAD {
            allowed.insert(path.clone());
        }
    }
    for entered in &mut readable {
        if entered.problem.is_some() && !roots.awaits(&entered.path) {
            entered.nearest = None;
        } else if let Some(problem) = &entered.problem {
            warnings.push(awaited(
                roots,
                &entered.path,
                entered.nearest.as_ref(),
                problem,
            ));
        }
    }
    let (mut targets, mut others, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for entered in writable {
        let holds_targets = roots
            .writable
            .get(&entered.path)
            .is_some_and(|used| used.targets);
        if holds_targets {
            targets.extend(entered.fd);
            beside.extend(entered.nearest.map(|(_, fd)| fd));
        } else {
            others.extend(entered.fd);
        }
    }
    let above = climb(&targets, &others, beside);
    let mut given = targets;
    given.extend(others);
    for (path, fd) in above {
        allowed.insert(path);
        given.push(fd);
    }
    let readable: Vec<OwnedFd> = readable
        .into_iter()
        .filter_map(|entered| entered.fd.or(entered.nearest.map(|(_, fd)| fd)))
        .collect();
    let sandbox = Sandbox {
        writable: allowed,
        readable: roots.readable.keys().cloned().collect(),
    };
    let enforced = enforce(&given, &readable, roots.moves);
    if roots.moves && matches!(enforced, Err(RulesetError::HandleAccesses(_))) {
        return Closed {
            sandbox: None,
            is_whole: false,
            status: "this kernel has no Landlock, or the first one, which a `layout: directory` cannot live with \
                     (Linux 5.19 has the second): nothing but the file system's own modes limits what the \
                     daemon writes"
                .to_owned(),
            warnings,
        };
    }
    closed(enforced, sandbox, warnings)
}

/// What people should know of a directory of a credential that is not there.
fn awaited(
    roots: &Roots,
    path: &Path,
    nearest: Option<&(PathBuf, OwnedFd)>,
    problem: &str,
) -> String {
    let who = roots.readable.get(path).map_or("", |used| &used.who);
    let path = path.display();
    match nearest {
        Some((nearest, _)) => format!(
            "{who}: `{path}` is not there yet ({problem}): so that it is found when it comes, all of `{}` may be read",
            nearest.display()
        ),
        None => format!(
            "{who}: `{path}` is not there ({problem}), and when it comes it stays closed until a restart: it lies \
             directly in `/`, which is never allowed; make the directory before the start"
        ),
    }
}

fn closed(
    enforced: Result<RestrictionStatus, RulesetError>,
    sandbox: Sandbox,
    warnings: Vec<String>,
) -> Closed {
    let (sandbox, status) = match enforced {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => (
            None,
            "this kernel has no Landlock: nothing but the file system's own modes limits what the \
             daemon writes"
                .to_owned(),
        ),
        Ok(status) => (Some(sandbox), extent(status.landlock)),
        Err(error) => (None, format!("the kernel refuses the sandbox: {error}")),
    };
    Closed {
        is_whole: status == WHOLE,
        sandbox,
        status,
        warnings,
    }
}

/// How far a kernel enforces it, in words.
fn extent(landlock: LandlockStatus) -> String {
    let LandlockStatus::Available { effective_abi, .. } = landlock else {
        return WHOLE.to_owned();
    };
    let mut not = Vec::new();
    if effective_abi < ABI::V3 {
        not.push("truncating files that it may not write (Linux 6.2)");
    }
    if effective_abi < ABI::V5 {
        not.push("controlling devices (Linux 6.10)");
    }
    if not.is_empty() {
        WHOLE.to_owned()
    } else {
        format!(
            "enforced as far as this kernel's Landlock goes: nothing keeps the daemon from {}",
            not.join(", nor from ")
        )
    }
}

/// The directories above; none where looking for them takes too long.
fn climb(
    targets: &[OwnedFd],
    others: &[OwnedFd],
    nearest: Vec<OwnedFd>,
) -> Vec<(PathBuf, OwnedFd)> {
    let copies = |fds: &[OwnedFd]| -> Option<Vec<OwnedFd>> {
        fds.iter().map(|fd| fd.try_clone().ok()).collect()
    };
    copies(targets)
        .zip(copies(others))
        .and_then(|(targets, others)| patiently(move || above(&targets, &others, nearest)))
        .unwrap_or_default()
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

fn enforce(
    writable: &[OwnedFd],
    readable: &[OwnedFd],
    moves: bool,
) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default();
    if moves {
        // The first Landlock (Linux 5.13 to 5.18) forbids every link from one directory to another:
        // a `layout: directory` would lose the files that it carries over.
        rules = rules
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer)?;
    }
    let mut rules = rules
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .create()?;
    for (fds, rights) in [(writable, writing()), (readable, reading())] {
        for fd in fds {
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
