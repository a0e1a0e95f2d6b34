//! What a killed daemon left behind, removed at start, by [`sweep`]: each directory by a thread of
//! its own, for a file system that hangs must not hold up the secrets of others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, select, unbounded};
use log::{info, warn};

use crate::clock::{Clock, Stop};
use crate::files::{Swept, Target, sweep};
use crate::plan::{Layout, Plan};

/// How long the start waits for the directories.
const PATIENCE: Duration = Duration::from_secs(2);

/// A directory's thread needs little.
const STACK: usize = 128 * 1024;

/// The targets in one directory; whether it is one that a `..data` link switches.
type Share = (Vec<Target>, bool);

/// Sweeps the directories of all targets, and says what was removed. One that does not answer in
/// time is swept when it does.
pub(super) fn remove(plan: &Plan, clock: &dyn Clock, stop: &Stop) {
    let (done, results) = unbounded();
    let mut awaited: Vec<PathBuf> = Vec::new();
    for (directory, share) in shares(plan) {
        match start(directory.clone(), share, done.clone()) {
            Ok(()) => awaited.push(directory),
            Err(error) => warn!(target: "files", path = directory.display().to_string();
                "left-overs stay: no thread to remove them: {error}"),
        }
    }
    let until = clock.now() + PATIENCE;
    while !awaited.is_empty() {
        let alarm = clock.alarm(until);
        select! {
            recv(results) -> result => {
                let Ok((directory, swept)) = result else { return };
                awaited.retain(|waiting| *waiting != directory);
                tell(swept);
            }
            recv(stop.receiver()) -> _ => return,
            recv(alarm) -> _ => if clock.now() >= until { break },
        }
    }
    for directory in awaited {
        warn!(target: "files", path = directory.display().to_string();
            "the directory does not answer: its left-overs stay until it does");
    }
}

fn shares(plan: &Plan) -> BTreeMap<PathBuf, Share> {
    let mut shares: BTreeMap<PathBuf, Share> = BTreeMap::new();
    for secret in &plan.secrets {
        for output in &secret.outputs {
            let directory = output.target.directory().to_owned();
            let (targets, switched) = shares.entry(directory).or_default();
            targets.push(output.target.clone());
            *switched |= secret.layout == Layout::Directory;
        }
    }
    shares
}

fn start(directory: PathBuf, share: Share, done: Sender<(PathBuf, Swept)>) -> std::io::Result<()> {
    thread::Builder::new()
        .name("sweep".into())
        .stack_size(STACK)
        .spawn(move || {
            let (targets, switched) = share;
            let swept = sweep([(&targets[..], switched)]);
            // Nobody listens any more: it took too long.
            if let Err(late) = done.send((directory, swept)) {
                tell(late.into_inner().1);
            }
        })
        .map(drop)
}

fn tell(swept: Swept) {
    for path in swept.removed {
        info!(target: "files", path = path.display().to_string(); "removed what a killed daemon left behind");
    }
    for warning in swept.warnings {
        warn!(target: "files", "{warning}");
    }
}
