//! Which paths are written, and that no entry stands in another's way.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::Section;

use super::model::Layout;
use super::outputs::Entry;
use super::scope::Scope;

/// Every path that is written, and who writes it. They are kept as [`bytes`], since a plan of thousands
/// compares paths a hundred thousand times.
#[derive(Default)]
pub(super) struct Claims {
    paths: BTreeMap<Vec<u8>, Claim>,
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
            bytes(path),
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
        let name = bytes(path);
        let parent = name.iter().rposition(|byte| *byte == 0).unwrap_or(0);
        // Nothing is in the way of what is entered. So nothing is below a file, and nothing between it and a path
        // below it.
        let before = (Bound::Unbounded, Bound::Included(&name[..]));
        if let Some((other, claim)) = self.paths.range::<[u8], _>(before).next_back() {
            let key = &claim.key;
            if *other == name {
                return Some(format!("`{}` is written by {key}, too", path.display()));
            }
            if !claim.is_dir && is_above(other, &name) {
                return Some(format!(
                    "`{}` is a file of {key}: it cannot be a directory, too",
                    shown(other)
                ));
            }
        }
        if let Some(claim) = self.paths.get(&name[..parent])
            && claim.is_dir
        {
            return Some(format!(
                "`{}` is the `dir` of {}: nothing else may be written in it",
                shown(&name[..parent]),
                claim.key
            ));
        }
        let below = self
            .paths
            .range::<[u8], _>((Bound::Excluded(&name[..]), Bound::Unbounded))
            .map_while(|(other, claim)| Some((other.strip_prefix(&name[..])?, other, claim)))
            .take_while(|(rest, ..)| rest.first() == Some(&0));
        for (rest, other, claim) in below {
            if !is_dir {
                return Some(format!(
                    "`{}` must be a directory for {}",
                    path.display(),
                    claim.key
                ));
            }
            if !rest[1..].contains(&0) {
                return Some(format!(
                    "`{}` is written by {}: nothing else may be written in a `dir`",
                    shown(other),
                    claim.key
                ));
            }
        }
        None
    }
}

/// Whether a path begins with all the components of another, and has more.
fn is_above(other: &[u8], name: &[u8]) -> bool {
    name.strip_prefix(other)
        .is_some_and(|rest| rest.first() == Some(&0))
}

/// A normalised path as bytes in the order that paths have: the separator comes before every byte of a name.
fn bytes(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .map(|byte| if *byte == b'/' { 0 } else { *byte })
        .collect()
}

/// The path of such bytes, as messages quote it.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "/")
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
        claims
            .paths
            .insert(bytes(Path::new("/a")), claim("files[0]"));
        assert!(claims.conflict(Path::new("/a/b"), true).is_some());
        assert!(claims.conflict(Path::new("/a/b/c"), false).is_none());
        claims
            .paths
            .insert(bytes(Path::new("/x/y")), claim("files[1]"));
        assert!(claims.conflict(Path::new("/x"), true).is_some());
    }

    #[test]
    fn a_file_far_above_is_found_beside_names_that_begin_alike() {
        let mut claims = Claims::default();
        for name in ["/a", "/a-b", "/a.b", "/ab/c", "/A", "/a b"] {
            let claim = Claim {
                is_dir: false,
                key: name.to_owned(),
            };
            assert_eq!(claims.conflict(Path::new(name), false), None);
            claims.paths.insert(bytes(Path::new(name)), claim);
        }
        for (path, key) in [
            ("/a/b", "/a"),
            ("/a/b/c/d", "/a"),
            ("/a-b/a", "/a-b"),
            ("/a b/a", "/a b"),
        ] {
            let conflict = claims.conflict(Path::new(path), false).unwrap();
            assert!(
                conflict.contains(&format!("`{key}` is a file of {key}:")),
                "{conflict}"
            );
        }
        for path in ["/aa", "/ab/d", "/a-c/d", "/b"] {
            assert_eq!(claims.conflict(Path::new(path), true), None);
        }
    }
}
