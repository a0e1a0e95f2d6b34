//! Where the files go: the daemon's own proof that they can be written there, and what lies below.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{statfs, statvfs};
use rustix::io::Errno;

use super::machine::may_write;
use super::report::Check;
use crate::files::{Target, Writer};
use crate::plan::{Layout, Plan, Secret};

/// File systems that live in memory (<https://man7.org/linux/man-pages/man2/statfs.2.html>).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A file takes a page at least.
const PAGE: u64 = 4096;

pub(super) fn checks(plan: &Plan) -> Vec<Check> {
    let mut all = Vec::new();
    for secret in &plan.secrets {
        let (secret, name) = (std::sync::Arc::clone(secret), secret.name.clone());
        all.extend(
            super::within(super::LOCAL, move || proof(&secret))
                .unwrap_or_else(|| vec![silent("files", &format!("the files of `{name}`"))]),
        );
    }
    let directories: BTreeSet<PathBuf> = plan
        .secrets
        .iter()
        .flat_map(|secret| &secret.outputs)
        .map(|output| output.target.directory().to_owned())
        .collect();
    for directory in directories {
        let needed = room(plan, &directory);
        let path = directory.clone();
        all.extend(
            super::within(super::LOCAL, move || below(&path, needed))
                .unwrap_or_else(|| vec![silent("disk", &format!("`{}`", directory.display()))]),
        );
    }
    all
}

/// Nothing came back in time.
pub(super) fn silent(kind: &'static str, what: &str) -> Check {
    let seconds = super::LOCAL.as_secs();
    Check::fail(
        kind,
        format!("{what}: the file system does not answer within {seconds} s"),
    )
    .remedy(Some("look at its mount".to_owned()))
}

/// What the daemon proves before the first fetch, but for directories that are not there yet: the daemon
/// makes them, and this does not.
fn proof(secret: &Secret) -> Vec<Check> {
    const KIND: &str = "files";
    let name = &secret.name;
    let targets = || secret.outputs.iter().map(|output| &output.target);
    let (there, missing): (Vec<&Target>, Vec<&Target>) =
        targets().partition(|target| !is_missing(target.directory()));
    let mut all = Vec::new();
    let to_make: BTreeSet<&Path> = missing.iter().map(|target| target.directory()).collect();
    for directory in to_make {
        let shown = directory.display();
        let nearest = directory.ancestors().find(|above| !is_missing(above));
        let nearest = nearest.unwrap_or(Path::new("/"));
        all.push(match may_write(nearest) {
            Ok(()) => Check::ok(
                KIND,
                format!(
                    "`{name}`: `{shown}` will be made in `{}`",
                    nearest.display()
                ),
            ),
            Err(error) => Check::fail(
                KIND,
                format!(
                    "`{name}`: `{shown}` cannot be made in `{}`: {error}",
                    nearest.display()
                ),
            )
            .remedy(Some("make it, for the daemon's user to write".to_owned())),
        });
    }
    if there.is_empty() {
        return all;
    }
    let count = there.len();
    let there = there.into_iter().cloned().collect();
    match Writer::new(there, secret.layout == Layout::Directory).prove() {
        Ok(warnings) => {
            let files = if count == 1 { "its file" } else { "its files" };
            let text = format!("`{name}`: {files} can be written, with mode and owner");
            all.push(Check::ok(KIND, text));
            let remedy = "mount the directory instead of the file, and leave `inPlace` out";
            all.extend(
                warnings
                    .into_iter()
                    .map(|text| Check::warning(KIND, text, remedy)),
            );
        }
        Err(error) => {
            let failure = error.failure();
            let text = format!("`{name}`: {}", failure.message);
            all.push(Check::fail(KIND, text).remedy(failure.remedy));
        }
    }
    all
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// How much a commit needs beside what is there: every file of the directory once more.
fn room(plan: &Plan, directory: &Path) -> (u64, u64) {
    let targets = plan.secrets.iter().flat_map(|secret| &secret.outputs);
    let sizes: Vec<u64> = targets
        .filter(|output| output.target.directory() == directory)
        .map(|output| {
            let file = fs::metadata(output.target.path.as_path());
            file.map_or(PAGE, |file| file.len().max(PAGE))
        })
        .collect();
    (
        sizes.iter().sum(),
        u64::try_from(sizes.len()).unwrap_or(u64::MAX),
    )
}

/// The file system of a directory, or of the nearest one above.
fn below(directory: &Path, (bytes, files): (u64, u64)) -> Vec<Check> {
    const KIND: &str = "disk";
    let shown = directory.display();
    let facts = directory.ancestors().find_map(|path| match statfs(path) {
        Err(Errno::NOENT) => None,
        kind => Some(kind.and_then(|kind| Ok((kind.f_type, statvfs(path)?)))),
    });
    let (kind, space) = match facts {
        Some(Ok(facts)) => facts,
        Some(Err(error)) => return vec![Check::skipped(KIND, format!("`{shown}`: {error}"))],
        None => return Vec::new(),
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    // File systems without a fixed number of inodes say 0 of 0.
    let inodes = (space.f_files > 0).then_some(space.f_favail);
    let mut all = Vec::new();
    if free < bytes || inodes.is_some_and(|inodes| inodes < files) {
        let what = inodes.map_or(String::new(), |inodes| format!(", {inodes} inodes"));
        all.push(
            Check::fail(
                KIND,
                format!(
                    "`{shown}`: {free} bytes{what} free, and a rotation needs {bytes} bytes, {files} inodes \
                     beside the files in use"
                ),
            )
            .remedy(Some("free space, or make the file system larger".to_owned())),
        );
    }
    #[allow(
        clippy::cast_sign_loss,
        reason = "a number to recognise, whatever its sign"
    )]
    let kind = kind as u64 & 0xffff_ffff;
    all.push(if IN_MEMORY.contains(&kind) {
        Check::ok(KIND, format!("`{shown}` is in memory (tmpfs), {} free", human(free)))
    } else {
        Check::warning(
            KIND,
            format!("`{shown}` is not in memory: its files outlive a restart of the machine, and go into backups"),
            "let it be on a tmpfs, such as a directory below `/run`, unless that is meant",
        )
    });
    all
}

fn human(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
