//! The other side: what `isready` and `status` find out without the network.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::{FALLBACK, PACKAGED, in_runtime_directory, lock_path, owner};
use crate::config::Environment;
use crate::observe::StatusDocument;

/// A status older than this comes from a daemon that hangs: a healthy one touches it every 30 s.
const OLDEST: Duration = Duration::from_secs(90);

/// Far more than the largest plan's status.
const LARGEST: u64 = 16 << 20;

/// Where to look, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates(Vec<PathBuf>);

/// The status of a daemon that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// From where.
    pub path: PathBuf,
    /// What it says.
    pub document: StatusDocument,
    /// What was passed over on the way, and why.
    pub passed_over: Vec<String>,
}

/// Why there is no status to go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No daemon lives where we looked; what was found at each place.
    NotRunning(Vec<String>),
    /// A daemon lives, but its status is of no use.
    Unusable {
        /// Where.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
        /// What was passed over on the way, and why.
        passed_over: Vec<String>,
    },
}

impl Candidates {
    /// The one that is given (`--status-file`), else `$STATUS_FILE`, is the only one; else the
    /// places where daemons write by default.
    #[must_use]
    pub fn new(given: Option<&Path>, environment: &Environment) -> Self {
        let named = given
            .map(Path::to_path_buf)
            .or_else(|| environment.get_non_empty("STATUS_FILE").map(PathBuf::from));
        Self(match named {
            Some(path) => vec![path],
            None => in_runtime_directory(environment)
                .into_iter()
                .chain([PACKAGED.into(), FALLBACK.into()])
                .collect(),
        })
    }
}

impl Candidates {
    /// The places.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

/// The last status of a daemon that ended without taking it away: it says how things were.
#[must_use]
pub fn left_behind(path: &Path) -> Option<StatusDocument> {
    let file = open_trusted(path).ok()?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    parse(&bytes).ok()
}

/// One place.
enum Place {
    Found(StatusDocument),
    Unusable(String),
    PassedOver(String),
    NoDaemon(String),
}

/// Finds the first place where a daemon lives, and reads its status.
///
/// # Errors
///
/// When none lives, or its status is older than 90 s or cannot be read.
pub fn read(candidates: &Candidates, now: SystemTime) -> Result<Found, Missing> {
    let mut passed_over = Vec::new();
    let mut looked_at = Vec::new();
    for path in &candidates.0 {
        let say = |why: &str| format!("`{}`: {why}", path.display());
        match look(path, now) {
            Place::Found(document) => {
                return Ok(Found {
                    path: path.clone(),
                    document,
                    passed_over,
                });
            }
            Place::Unusable(why) => {
                return Err(Missing::Unusable {
                    path: path.clone(),
                    why,
                    passed_over,
                });
            }
            Place::PassedOver(why) => {
                passed_over.push(say(&format!("passed over: {why}")));
                looked_at.push(say(&format!("passed over: {why}")));
            }
            Place::NoDaemon(why) => looked_at.push(say(&why)),
        }
    }
    Err(Missing::NotRunning(looked_at))
}

fn look(path: &Path, now: SystemTime) -> Place {
    let lock = lock_path(path);
    match open_trusted(&lock) {
        Err(Refusal::Foreign(why)) => return Place::PassedOver(format!("its lock: {why}")),
        Err(Refusal::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Place::NoDaemon("no daemon has a lock there".to_owned());
        }
        Err(Refusal::Io(error)) => {
            return Place::NoDaemon(format!("its lock cannot be asked: {error}"));
        }
        Ok(lock) => match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) if path.exists() => {
                return Place::NoDaemon(
                    "left behind by a daemon that has ended (its lock is free)".to_owned(),
                );
            }
            Ok(()) => return Place::NoDaemon("the daemon has ended (its lock is free)".to_owned()),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Place::NoDaemon(format!("its lock cannot be asked: {error}")),
        },
    }
    let file = match open_trusted(path) {
        Err(Refusal::Foreign(why)) => return Place::PassedOver(why),
        Err(Refusal::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Place::Unusable("the daemon runs, but has not written it yet".to_owned());
        }
        Err(Refusal::Io(error)) => return Place::Unusable(format!("it cannot be read: {error}")),
        Ok(file) => file,
    };
    match document(file, now) {
        Ok(document) => Place::Found(document),
        Err(why) => Place::Unusable(why),
    }
}

enum Refusal {
    Foreign(String),
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn open_trusted(path: &Path) -> Result<File, Refusal> {
    let file = owner::open(path, OFlags::RDONLY, Mode::empty())?;
    match owner::distrust(&file, path)? {
        Some(why) => Err(Refusal::Foreign(why)),
        None => Ok(file),
    }
}

fn document(file: File, now: SystemTime) -> Result<StatusDocument, String> {
    let unreadable = |error: io::Error| format!("it cannot be read: {error}");
    let modified = file
        .metadata()
        .and_then(|metadata| metadata.modified())
        .map_err(unreadable)?;
    // A time in the future (somebody set the clock back) is put right by the next touch.
    let age = now.duration_since(modified).unwrap_or_default();
    if age > OLDEST {
        return Err(format!(
            "it is {} s old: the daemon hangs, or cannot write it",
            age.as_secs()
        ));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err("it is larger than any status".to_owned());
    }
    parse(&bytes)
}

/// Reads the text of a status file.
///
/// # Errors
///
/// What is wrong with it, in one line. It may quote the file: who shows it makes it fit to be shown.
pub fn parse(bytes: &[u8]) -> Result<StatusDocument, String> {
    let document: StatusDocument =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not a status: {error}"))?;
    if document.schema != 1 {
        return Err(format!(
            "it has schema {}, of which this version knows nothing",
            document.schema
        ));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::super::{LockAttempt, StatusFile, StatusLock};
    use super::*;
    use crate::clock::Tick;
    use std::sync::Arc;

    struct Daemon {
        directory: tempfile::TempDir,
        lock: StatusLock,
    }

    impl Daemon {
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("status.json");
            let mut lock = StatusLock::new(&path);
            assert_eq!(lock.try_acquire(), LockAttempt::Held);
            Self { directory, lock }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("status.json")
        }

        fn writes(self, ready: bool) -> Self {
            let document = Arc::new(StatusDocument {
                schema: 1,
                ready,
                ..StatusDocument::default()
            });
            let mut file = StatusFile::new(self.path());
            for second in 0..2 {
                let now = Tick::from_start(Duration::from_secs(second));
                assert!(file.tick(now, &document).error.is_none());
            }
            self
        }

        fn modified(&self) -> SystemTime {
            std::fs::metadata(self.path()).unwrap().modified().unwrap()
        }

        fn read(&self, after: u64) -> Result<Found, Missing> {
            let now = self.modified() + Duration::from_secs(after);
            read(&Candidates(vec![self.path()]), now)
        }
    }

    fn why(missing: Result<Found, Missing>) -> String {
        match missing.unwrap_err() {
            Missing::Unusable { why, .. } => why,
            Missing::NotRunning(places) => format!("not running: {}", places.join("; ")),
        }
    }

    #[test]
    fn the_status_of_a_living_daemon_counts_for_ninety_seconds() {
        let daemon = Daemon::start().writes(true);
        assert!(daemon.read(0).unwrap().document.ready);
        assert!(daemon.read(90).is_ok());
        assert_eq!(
            why(daemon.read(91)),
            "it is 91 s old: the daemon hangs, or cannot write it"
        );
    }

    #[test]
    fn a_time_in_the_future_is_not_old() {
        let daemon = Daemon::start().writes(true);
        let now = daemon.modified() - Duration::from_secs(3_600);
        assert!(read(&Candidates(vec![daemon.path()]), now).is_ok());
    }

    #[test]
    fn a_file_left_behind_never_counts() {
        let Daemon { directory, lock } = Daemon::start().writes(true);
        drop(lock);
        let path = directory.path().join("status.json");
        let now = std::fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(
            why(read(&Candidates(vec![path.clone()]), now)),
            format!(
                "not running: `{}`: left behind by a daemon that has ended (its lock is free)",
                path.display()
            )
        );
        std::fs::remove_file(directory.path().join("status.json.lock")).unwrap();
        assert!(why(read(&Candidates(vec![path]), now)).ends_with("no daemon has a lock there"));
    }

    #[test]
    fn garbage_is_a_reason_and_never_a_crash() {
        let daemon = Daemon::start().writes(true);
        for garbage in ["", "{", "[]", "null", "\u{0}\u{0}", "{\"schema\":1}"] {
            std::fs::write(daemon.path(), garbage).unwrap();
            assert!(
                why(daemon.read(0)).starts_with("it is not a status"),
                "{garbage:?}"
            );
        }
        let newer = serde_json::to_string(&StatusDocument {
            schema: 2,
            ..StatusDocument::default()
        })
        .unwrap();
        std::fs::write(daemon.path(), newer).unwrap();
        assert!(why(daemon.read(0)).starts_with("it has schema 2"));
        let file = File::create(daemon.path()).unwrap();
        file.set_len(LARGEST + 1).unwrap();
        assert_eq!(why(daemon.read(0)), "it is larger than any status");
        std::fs::remove_file(daemon.path()).unwrap();
        std::fs::create_dir(daemon.path()).unwrap();
        assert!(daemon.read(0).is_err());
    }

    #[test]
    fn keys_of_later_versions_are_no_obstacle() {
        let daemon = Daemon::start().writes(true);
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(daemon.path()).unwrap()).unwrap();
        json["later"] = serde_json::json!({"a": 1});
        std::fs::write(daemon.path(), json.to_string()).unwrap();
        assert!(daemon.read(0).unwrap().document.ready);
    }

    #[test]
    fn a_daemon_that_has_not_written_yet_is_told() {
        let daemon = Daemon::start();
        let result = read(&Candidates(vec![daemon.path()]), SystemTime::UNIX_EPOCH);
        assert_eq!(why(result), "the daemon runs, but has not written it yet");
    }

    #[test]
    fn the_search_takes_the_first_place_whose_lock_is_held() {
        let living = Daemon::start().writes(true);
        let dead = Daemon::start().writes(true);
        let dead_path = dead.path();
        drop(dead.lock);
        let nowhere = PathBuf::from("/nonexistent/status.json");
        let found = read(
            &Candidates(vec![nowhere, dead_path, living.path()]),
            living.modified(),
        )
        .unwrap();
        assert_eq!(found.path, living.path());
        assert!(found.passed_over.is_empty());
    }

    #[test]
    fn what_others_may_have_planted_is_passed_over_with_a_word() {
        use std::os::unix::fs::PermissionsExt;
        if !rustix::process::geteuid().is_root() {
            return; // nobody else can give files away
        }
        let planted = Daemon::start().writes(true);
        let open = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(planted.directory.path(), open).unwrap();
        let nobody = Some(rustix::fs::Uid::from_raw(65_534));
        rustix::fs::chown(planted.path(), nobody, None::<rustix::fs::Gid>).unwrap();
        let living = Daemon::start().writes(false);
        let found = read(
            &Candidates(vec![planted.path(), living.path()]),
            living.modified(),
        )
        .unwrap();
        assert_eq!(found.path, living.path());
        assert_eq!(found.passed_over.len(), 1);
        assert!(found.passed_over[0].contains("belongs to user 65534"));
        assert!(matches!(planted.read(0), Err(Missing::NotRunning(_))));
    }

    #[test]
    fn the_places_are_those_of_the_manual() {
        let environment = Environment::from_iter([("RUNTIME_DIRECTORY", "/run/x:/run/y")]);
        assert_eq!(
            Candidates::new(None, &environment),
            Candidates(vec![
                "/run/x/status.json".into(),
                "/run/secrets-sync/status.json".into(),
                "/tmp/.ready-state".into()
            ])
        );
        let environment =
            Environment::from_iter([("RUNTIME_DIRECTORY", "/run/x"), ("STATUS_FILE", "/s")]);
        assert_eq!(
            Candidates::new(None, &environment),
            Candidates(vec!["/s".into()])
        );
        assert_eq!(
            Candidates::new(Some(Path::new("/given")), &environment),
            Candidates(vec!["/given".into()])
        );
    }
}
