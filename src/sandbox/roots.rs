//! Which directories a plan needs, and for whom.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::config::kind_of_stream;
use crate::plan::{Daemon, Layout, Plan};

/// What name resolution, users, groups and authorities are read from. By its
/// directory, since all of these are replaced by renames while a daemon lives. Not /proc: what is needed
/// of it is open already, and a process of root may read others' environments there.
const SYSTEM: [&str; 1] = ["/etc"];

/// Files of the system that may be links into another directory.
const LINKS: [&str; 4] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
];

/// Where the C library of a build that is not static looks for its parts when a name is resolved.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Whom a directory is for that is allowed ahead.
pub(super) const AHEAD: &str = "SANDBOX_WRITE_PATHS";

/// The directories (and, directly in `/`, files) that a plan and its daemon use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// Where files are written.
    pub writable: BTreeMap<PathBuf, Use>,
    /// What is read: the configuration and credentials. What every process needs is not in it.
    pub readable: BTreeMap<PathBuf, Use>,
    /// The files that are read there: one that is a link may really lie elsewhere.
    pub(super) files: Vec<PathBuf>,
    /// Files are moved from one directory to another (`layout: directory`).
    pub(super) moves: bool,
}

/// What a directory is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// As in "secret `a`".
    pub who: String,
    /// It holds targets.
    pub targets: bool,
}

impl Use {
    /// Whether it is made where it is missing: a directory of targets, of now or of later.
    pub(super) fn make(&self) -> bool {
        self.targets || self.who == AHEAD
    }
}

/// What a run writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Nothing: it looks what it would write.
    Nothing,
    /// The targets of the plan.
    Targets,
    /// The daemon's own files, too.
    All,
}

impl Roots {
    /// What a run of the plan needs.
    #[must_use]
    pub fn of(plan: &Plan, daemon: &Daemon, writes: Writes) -> Self {
        let mut roots = Self::default();
        for secret in &plan.secrets {
            let who = format!("secret `{}`", secret.name);
            roots.moves |= secret.layout == Layout::Directory;
            for output in &secret.outputs {
                let directory = output.target.directory();
                if writes == Writes::Nothing {
                    enter(&mut roots.readable, directory, &who, false);
                } else {
                    enter(&mut roots.writable, directory, &who, true);
                }
            }
        }
        if writes == Writes::All {
            let status = absolute(&daemon.status_file);
            if let Some(directory) = status.parent() {
                enter(&mut roots.writable, directory, "STATUS_FILE", false);
            }
        }
        if writes != Writes::Nothing {
            for path in &daemon.sandbox_write_paths {
                enter(&mut roots.writable, path, AHEAD, false);
            }
        }
        // What can be read only once has been.
        if kind_of_stream(&plan.file).is_none() {
            roots.read(&plan.file, "the configuration");
        }
        for store in &plan.stores {
            for path in store.tls.files() {
                let who = format!("an authority of store `{}`", store.name);
                roots.read(&path, &who);
            }
        }
        for path in daemon.tracing.iter().flat_map(|tracing| tracing.files()) {
            roots.read(&path, "a certificate or key for traces");
        }
        for session in &plan.sessions {
            let who = format!("a credential of store `{}`", session.key.store);
            for path in session.files() {
                roots.read(&path, &who);
            }
        }
        roots
    }

    /// The roots in words, a line each: what `validate` prints.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let lines = |kind: &BTreeMap<PathBuf, Use>, what: &str| -> Vec<String> {
            kind.iter()
                .map(|(path, used)| format!("{what} {} ({})", path.display(), used.who))
                .collect()
        };
        let mut all = lines(&self.writable, "writes below");
        all.extend(lines(&self.readable, "reads below"));
        all
    }

    /// A file by its directory, so that one that is replaced is found; a directory (`tlsCAPath`)
    /// with the files in it. A file directly in `/` alone.
    fn read(&mut self, path: &Path, who: &str) {
        let path = absolute(path);
        let root = match path.parent() {
            Some(parent) if parent != Path::new("/") => parent.to_owned(),
            _ => path.clone(),
        };
        self.files.push(path);
        enter(&mut self.readable, &root, who, false);
    }

    /// Whether a root holds a file that may come later (a credential), so that its directory may.
    pub(super) fn awaits(&self, root: &Path) -> bool {
        self.files
            .iter()
            .any(|file| file == root || file.parent() == Some(root))
    }

    /// What lies outside of the given roots, one line each.
    pub(super) fn outside(
        &self,
        writable: &HashSet<PathBuf>,
        readable: &HashSet<PathBuf>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, used) in &self.writable {
            if !is_below(path, writable) {
                lines.push(format!("{} writes in `{}`", used.who, path.display()));
            }
        }
        for (path, used) in &self.readable {
            if !is_below(path, readable) && !is_below(path, writable) {
                lines.push(format!("{} is read from `{}`", used.who, path.display()));
            }
        }
        lines
    }
}

fn enter(kind: &mut BTreeMap<PathBuf, Use>, path: &Path, who: &str, targets: bool) {
    let used = kind.entry(path.to_owned()).or_insert_with(|| Use {
        who: who.to_owned(),
        targets,
    });
    used.targets |= targets;
}

/// What every process needs to read.
pub(super) fn of_the_system() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    if cfg!(not(target_feature = "crt-static")) {
        paths.extend(LIBRARIES.iter().map(PathBuf::from));
    }
    paths.extend(LINKS.iter().filter_map(|link| beyond(Path::new(link))));
    paths
}

/// The directory where a path really lies, if that is another one than it is written in, and not
/// `/`.
pub(super) fn beyond(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    let real = real.parent()?;
    (Some(real) != path.parent() && real != Path::new("/")).then(|| real.to_owned())
}

/// By the directories above it, which are few: there may be thousands of roots, and as many paths.
fn is_below(path: &Path, roots: &HashSet<PathBuf>) -> bool {
    path.ancestors().any(|above| roots.contains(above))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_named_with_whom_it_is_for() {
        let mut roots = Roots::default();
        enter(&mut roots.writable, Path::new("/a/b"), "secret `x`", true);
        enter(&mut roots.writable, Path::new("/ab"), "secret `y`", true);
        roots.read(Path::new("/c/token"), "a credential of store `default`");
        roots.read(Path::new("/token"), "a credential of store `lab`");
        assert_eq!(
            roots.outside(&HashSet::from(["/a".into()]), &HashSet::from(["/c".into()])),
            [
                "secret `y` writes in `/ab`",
                "a credential of store `lab` is read from `/token`"
            ]
        );
    }
}
