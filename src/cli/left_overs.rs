//! What a killed daemon left behind, removed at start, by [`sweep`]: on a thread, for a file system
//! that hangs must not hold up the secrets of others. Where a directory takes long, another thread goes
//! on with the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use log::{info, warn};

use crate::clock::{Clock, Stop};
use crate::files::{Swept, Target, sweep};
use crate::plan::{Layout, Plan};

/// How long the start waits for the directories.
const PATIENCE: Duration = Duration::from_secs(2);

/// When none of the threads has been done with a directory for this long, one more begins.
const IMPATIENCE: Duration = Duration::from_millis(10);

/// A thread needs little.
const STACK: usize = 128 * 1024;

/// The targets in one directory; whether it is one that a `..data` link switches.
type Share = (Vec<Target>, bool);

/// Sweeps the directories of all targets, and says what was removed. One that does not answer in
/// time is swept when it does.
pub(super) fn remove(plan: &Plan, clock: &dyn Clock, stop: &Stop) {
    let (queue, todo) = unbounded();
    let (done, results) = unbounded();
    let mut awaited: BTreeSet<PathBuf> = BTreeSet::new();
    for (directory, share) in shares(plan) {
        awaited.insert(directory.clone());
        let _ = queue.send((directory, share));
    }
    drop(queue);
    let until = clock.now() + PATIENCE;
    let mut more = clock.now();
    while !awaited.is_empty() {
        let now = clock.now();
        if now >= until {
            break;
        }
        if now >= more && !todo.is_empty() {
            if let Err(error) = start(&todo, &done) {
                warn!(target: "files", "left-overs may stay: no thread to remove them: {error}");
                return;
            }
            more = now + IMPATIENCE;
        }
        let alarm = clock.alarm(if todo.is_empty() {
            until
        } else {
            more.min(until)
        });
        select! {
            recv(results) -> result => {
                let Ok((directory, swept)) = result else { return };
                awaited.remove(&directory);
                more = clock.now() + IMPATIENCE;
                tell(swept);
            }
            recv(stop.receiver()) -> _ => return,
            recv(alarm) -> _ => {}
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

fn start(
    todo: &Receiver<(PathBuf, Share)>,
    done: &Sender<(PathBuf, Swept)>,
) -> std::io::Result<()> {
    let (todo, done) = (todo.clone(), done.clone());
    thread::Builder::new()
        .name("sweep".into())
        .stack_size(STACK)
        .spawn(move || {
            for (directory, (targets, switched)) in todo {
                let swept = sweep([(&targets[..], switched)]);
                // Nobody listens any more: it took too long.
                if let Err(late) = done.send((directory, swept)) {
                    tell(late.into_inner().1);
                }
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
