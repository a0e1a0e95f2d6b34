//! Which paths are written, and that no entry stands in another's way.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::config::Section;

use super::model::Layout;
use super::outputs::Entry;
use super::scope::Scope;

/// Every path that is written, and who writes it.
#[derive(Default)]
pub(super) struct Claims {
    paths: BTreeMap<PathBuf, Claim>,
    /// Directories that a `layout: directory` switches, and whose they are.
    switched: BTreeMap<PathBuf, String>,
}

struct Claim {
    is_dir: bool,
    key: String,
}

/// Enters the paths of a secret, and reports those that another entry stands in the way of.
pub(super) fn claim(
    scope: &mut Scope<'_>,
    files: &[Section],
    entries: &[Entry],
    layout: Layout,
    secret: &str,
    claims: &mut Claims,
) {
    if layout == Layout::Directory {
        switched(scope, files, entries, secret, claims);
    }
    for (file, entry) in files.iter().zip(entries) {
        let Some(target) = &entry.target else {
            continue;
        };
        let at = file.at_of(if target.is_dir { "dir" } else { "path" });
        let path = target.path.as_path();
        if let Some(message) = claims.conflict(path, target.is_dir) {
            scope.report.error(&at, message);
            continue;
        }
        claims.paths.insert(
            path.to_owned(),
            Claim {
                is_dir: target.is_dir,
                key: entry.at.key.clone(),
            },
        );
    }
}

/// The rules of `layout: directory`.
fn switched(
    scope: &mut Scope<'_>,
    files: &[Section],
    entries: &[Entry],
    secret: &str,
    claims: &mut Claims,
) {
    let mut directory: Option<PathBuf> = None;
    for (file, entry) in files.iter().zip(entries) {
        let Some(target) = &entry.target else {
            continue;
        };
        if target.is_dir {
            scope.report.error(
                &file.at_of("dir"),
                "`layout: directory` takes files with a `path`, not a `dir`",
            );
            continue;
        }
        if target.in_place {
            scope.report.error(
                &file.at_of("inPlace"),
                "`inPlace` cannot be had with `layout: directory`",
            );
        }
        let path = target.path.as_path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("..") {
            scope.report.error(
                &file.at_of("path"),
                "names that begin with `..` are the layout's own",
            );
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        match &directory {
            None => directory = Some(parent.to_owned()),
            Some(first) if first != parent => scope.report.error(
                &file.at_of("path"),
                format!(
                    "with `layout: directory` all files are in one directory; the first is in `{}`",
                    first.display()
                ),
            ),
            Some(_) => {}
        }
    }
    let Some(directory) = directory else { return };
    if let Some(other) = claims.switched.get(&directory) {
        let message = format!(
            "the directory `{}` is switched by the secret `{other}` already",
            directory.display()
        );
        scope.report.error(
            &files
                .first()
                .map(|file| file.at.clone())
                .unwrap_or_default(),
            message,
        );
    } else {
        claims.switched.insert(directory, secret.to_owned());
    }
}

impl Claims {
    /// What stands in the way of a new path.
    fn conflict(&self, path: &Path, is_dir: bool) -> Option<String> {
        if let Some(claim) = self.paths.get(path) {
            return Some(format!(
                "`{}` is written by {}, too",
                path.display(),
                claim.key
            ));
        }
        if let Some(parent) = path.parent()
            && let Some(claim) = self.paths.get(parent)
            && claim.is_dir
        {
            return Some(format!(
                "`{}` is the `dir` of {}: nothing else may be written in it",
                parent.display(),
                claim.key
            ));
        }
        for above in path.ancestors().skip(1) {
            if let Some(claim) = self.paths.get(above)
                && !claim.is_dir
            {
                return Some(format!(
                    "`{}` is a file of {}: it cannot be a directory, too",
                    above.display(),
                    claim.key
                ));
            }
        }
        let below = self
            .paths
            .range::<Path, _>((Bound::Excluded(path), Bound::Unbounded))
            .take_while(|(other, _)| other.starts_with(path));
        for (other, claim) in below {
            if !is_dir {
                return Some(format!(
                    "`{}` must be a directory for {}",
                    path.display(),
                    claim.key
                ));
            }
            if other.parent() == Some(path) {
                return Some(format!(
                    "`{}` is written by {}: nothing else may be written in a `dir`",
                    other.display(),
                    claim.key
                ));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_directly_in_a_dir_stands_in_the_way_of_a_field_of_its_name() {
        let mut claims = Claims::default();
        let claim = |key: &str| Claim {
            is_dir: true,
            key: key.to_owned(),
        };
        claims.paths.insert("/a".into(), claim("files[0]"));
        assert!(claims.conflict(Path::new("/a/b"), true).is_some());
        assert!(claims.conflict(Path::new("/a/b/c"), false).is_none());
        claims.paths.insert("/x/y".into(), claim("files[1]"));
        assert!(claims.conflict(Path::new("/x"), true).is_some());
    }
}
