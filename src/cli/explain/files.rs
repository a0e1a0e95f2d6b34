//! What lies on disk where a secret's files should be, as the caller may see it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Serialize;

use crate::observe::details::{DaemonFacts, FileFacts};

/// Of a `dir` so many files are looked at.
const MOST_FILES: usize = 50;

/// Larger files have no digest.
const LARGEST: u64 = 64 << 20;

/// `/etc/passwd` and `/etc/group` are read so far.
const NAMES: u64 = 16 << 20;

/// What is wanted, and what there is.
#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    #[serde(flatten)]
    pub(super) wanted: FileFacts,
    /// What lies there; of a `dir` its files.
    pub(super) found: Vec<Found>,
    /// Why there is nothing, or not more.
    pub(super) problem: Option<String>,
}

/// A file on disk.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) path: String,
    /// Octal: `0640`.
    pub(super) mode: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names of both, where `/etc/passwd` and `/etc/group` have them.
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
    pub(super) size: u64,
    /// RFC 3339.
    pub(super) modified: Option<String>,
    /// Eight hexadecimal digits under a key of this run: the same for the same content, and nothing
    /// else.
    pub(super) digest: Option<String>,
    /// Why there is none.
    pub(super) no_digest: Option<String>,
    /// What is not as it is wanted.
    pub(super) differs: Vec<String>,
}

/// Makes digests under a key that lives as long as the run.
pub(super) struct Digests(ring::hmac::Key);

impl Digests {
    /// `None` when the system has no random numbers.
    pub(super) fn new() -> Option<Self> {
        let random = ring::rand::SystemRandom::new();
        let key = ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &random).ok()?;
        Some(Self(key))
    }

    fn of(&self, file: &mut File) -> io::Result<String> {
        let mut context = ring::hmac::Context::with_key(&self.0);
        let mut portion = zeroize::Zeroizing::new([0; 16 * 1024]);
        loop {
            match file.read(&mut *portion) {
                Ok(0) => break,
                Ok(read) => context.update(portion.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let tag = context.sign();
        let digits = tag.as_ref().iter().take(4);
        Ok(digits.map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Looks at what is there for one entry of `files:`.
pub(super) fn report(
    wanted: &FileFacts,
    layout: &str,
    daemon: Option<&DaemonFacts>,
    digests: Option<&Digests>,
) -> FileReport {
    let path = Path::new(&wanted.path);
    let (found, problem) = if wanted.is_dir {
        directory(path, wanted, layout, daemon, digests)
    } else {
        match look(path, wanted, layout, daemon, digests) {
            Ok(found) => (vec![found], None),
            Err(error) => (Vec::new(), Some(words(&error))),
        }
    };
    FileReport {
        wanted: wanted.clone(),
        found,
        problem,
    }
}

fn directory(
    path: &Path,
    wanted: &FileFacts,
    layout: &str,
    daemon: Option<&DaemonFacts>,
    digests: Option<&Digests>,
) -> (Vec<Found>, Option<String>) {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return (Vec::new(), Some(words(&error))),
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            // Generations and temporaries are the daemon's own.
            !name.starts_with(b"..") && !name.starts_with(b".secrets-sync-")
        })
        .collect();
    names.sort();
    let more = names.len().saturating_sub(MOST_FILES);
    names.truncate(MOST_FILES);
    let mut problem = (more > 0).then(|| format!("and {more} more files"));
    let mut found = Vec::new();
    for path in names {
        match look(&path, wanted, layout, daemon, digests) {
            Ok(file) => found.push(file),
            Err(error) => problem = Some(format!("`{}`: {}", path.display(), words(&error))),
        }
    }
    (found, problem)
}

fn look(
    path: &Path,
    wanted: &FileFacts,
    layout: &str,
    daemon: Option<&DaemonFacts>,
    digests: Option<&Digests>,
) -> io::Result<Found> {
    let is_link = std::fs::symlink_metadata(path)?.is_symlink();
    let mut differs = Vec::new();
    if is_link && layout != "directory" {
        differs.push("a symbolic link: the daemon does not write through it".to_owned());
    }
    // Nothing that is no file can make it wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = openat(CWD, path, flags, Mode::empty()).map(File::from);
    // What is looked at is what is read.
    let entry = match &opened {
        Ok(file) => file.metadata()?,
        Err(_) => std::fs::metadata(path)?,
    };
    if !entry.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let (digest, no_digest) = match (opened, digests) {
        (Err(error), _) => (None, Some(words(&error.into()))),
        (_, None) => (None, Some("no random numbers".to_owned())),
        (Ok(_), _) if entry.len() > LARGEST => (None, Some("too large".to_owned())),
        (Ok(mut file), Some(digests)) => match digests.of(&mut file) {
            Ok(digest) => (Some(digest), None),
            Err(error) => (None, Some(words(&error))),
        },
    };
    let mode = format!("{:04o}", entry.mode() & 0o7777);
    if mode != wanted.mode {
        differs.push(format!("mode {mode}, wanted {}", wanted.mode));
    }
    let own = daemon.map(|daemon| (daemon.uid, daemon.gid));
    let mut compare = |what: &str, id: u32, named: Option<u32>, own: Option<u32>| {
        if let Some(named) = named.or(own)
            && named != id
        {
            differs.push(format!("{what} {id}, wanted {named}"));
        }
    };
    compare("owner", entry.uid(), wanted.owner, own.map(|own| own.0));
    compare("group", entry.gid(), wanted.group, own.map(|own| own.1));
    Ok(Found {
        path: path.display().to_string(),
        mode,
        uid: entry.uid(),
        gid: entry.gid(),
        owner: name_of(entry.uid(), "/etc/passwd"),
        group: name_of(entry.gid(), "/etc/group"),
        size: entry.len(),
        modified: entry.modified().ok().and_then(stamp),
        digest,
        no_digest,
        differs,
    })
}

fn stamp(at: SystemTime) -> Option<String> {
    let in_calendar = at >= SystemTime::UNIX_EPOCH && at < crate::observe::view::end_of_calendar();
    in_calendar.then(|| humantime::format_rfc3339_millis(at).to_string())
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "not there".to_owned(),
        ErrorKind::PermissionDenied => "permission denied: you may not read it".to_owned(),
        _ => error.to_string(),
    }
}

/// The name that the third field of a line gives a number.
fn name_of(id: u32, file: &str) -> Option<String> {
    let mut lines = Vec::new();
    File::open(file)
        .and_then(|file| file.take(NAMES).read_to_end(&mut lines))
        .ok()?;
    let id = id.to_string();
    String::from_utf8_lossy(&lines).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn wanted(path: &Path, mode: &str) -> FileFacts {
        FileFacts {
            path: path.display().to_string(),
            mode: mode.into(),
            ..FileFacts::default()
        }
    }

    #[test]
    fn what_differs_from_what_is_wanted_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let me = std::fs::metadata(&path).unwrap();
        let daemon = DaemonFacts {
            uid: me.uid(),
            gid: me.gid(),
            ..DaemonFacts::default()
        };
        let digests = Digests::new();
        let look = |wanted: &FileFacts| {
            let report = report(wanted, "files", Some(&daemon), digests.as_ref());
            assert_eq!(report.problem, None);
            report.found.into_iter().next().unwrap()
        };
        let good = look(&wanted(&path, "0640"));
        assert_eq!((good.differs.len(), good.size), (0, 3));
        let bad = look(&FileFacts {
            owner: Some(me.uid() + 1),
            ..wanted(&path, "0600")
        });
        let owner = format!("owner {}, wanted {}", me.uid(), me.uid() + 1);
        assert_eq!(bad.differs, ["mode 0640, wanted 0600", &owner]);
        assert_eq!(bad.digest, good.digest, "the same content in the same run");
        std::fs::write(&path, "abd").unwrap();
        assert_ne!(look(&wanted(&path, "0640")).digest, good.digest);
        let other = report(
            &wanted(&path, "0640"),
            "files",
            None,
            Digests::new().as_ref(),
        );
        assert_ne!(
            other.found[0].digest, good.digest,
            "another run has another key"
        );
    }

    #[test]
    fn what_is_no_file_of_ours_is_told_without_waiting_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let why = |path: &Path| report(&wanted(path, "0600"), "files", None, None).problem;
        assert_eq!(why(&pipe).as_deref(), Some("it is not a regular file"));
        assert_eq!(
            why(directory.path()).as_deref(),
            Some("it is not a regular file")
        );
        assert_eq!(
            why(&directory.path().join("x")).as_deref(),
            Some("not there")
        );
        let file = directory.path().join("file");
        let link = directory.path().join("link");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let found = report(&wanted(&link, "0644"), "files", None, None).found;
        assert!(found[0].differs[0].contains("symbolic link"));
    }
}
