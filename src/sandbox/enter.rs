//! Directories, made where they are missing and opened, without waiting for a file system that
//! hangs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::roots::above;
use crate::files;

/// One that does not answer for this long is left out, and the next one gets less.
const PATIENCE: Duration = Duration::from_secs(2);
const IMPATIENCE: Duration = Duration::from_millis(200);
const STACK: usize = 128 * 1024;

/// A path to open.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub path: PathBuf,
    /// Make what is missing, as the writer would; what lies above it is opened, too.
    pub make: bool,
}

/// What came of it.
pub(super) struct Entered {
    pub path: PathBuf,
    pub fds: Vec<OwnedFd>,
    /// Why it is not all that was wished for.
    pub problem: Option<String>,
}

/// Opens the paths in their order. A thread does it, for opening may hang; one that hangs is left
/// behind with the path at hand.
pub(super) fn enter(wishes: Vec<Wish>) -> Vec<Entered> {
    let (queue, todo) = unbounded();
    let mut waiting: Vec<PathBuf> = Vec::with_capacity(wishes.len());
    for wish in wishes {
        waiting.push(wish.path.clone());
        let _ = queue.send(wish);
    }
    drop(queue);
    let (done, results) = unbounded();
    let mut entered = Vec::with_capacity(waiting.len());
    let mut patience = PATIENCE;
    let mut waiting = waiting.into_iter().peekable();
    if start(&todo, &done).is_err() {
        // No thread to be had: then here.
        return todo.try_iter().map(|wish| open(&wish)).collect();
    }
    while let Some(path) = waiting.peek().cloned() {
        match results.recv_timeout(patience) {
            Ok(result) => {
                let result: Entered = result;
                // A late answer of one that was given up already.
                if result.path == path {
                    waiting.next();
                    entered.push(result);
                }
            }
            Err(_) => {
                waiting.next();
                entered.push(Entered {
                    path,
                    fds: Vec::new(),
                    problem: Some("it does not answer".to_owned()),
                });
                patience = IMPATIENCE;
                if start(&todo, &done).is_err() {
                    break;
                }
            }
        }
    }
    entered
}

fn start(todo: &Receiver<Wish>, done: &Sender<Entered>) -> std::io::Result<()> {
    let (todo, done) = (todo.clone(), done.clone());
    thread::Builder::new()
        .name("enter".into())
        .stack_size(STACK)
        .spawn(move || {
            for wish in todo {
                if done.send(open(&wish)).is_err() {
                    return;
                }
            }
        })
        .map(drop)
}

fn open(wish: &Wish) -> Entered {
    let mut entered = Entered {
        path: wish.path.clone(),
        fds: Vec::new(),
        problem: None,
    };
    let opened = if wish.make {
        files::make_directory(&wish.path).map_err(|error| error.to_string())
    } else {
        place(&wish.path).map_err(|error| error.to_string())
    };
    match opened {
        Ok(fd) => entered.fds.push(fd),
        Err(problem) => {
            entered.problem = Some(problem);
            entered.fds.extend(nearest(&wish.path));
        }
    }
    if wish.make
        && let Some(above) = above(&wish.path)
    {
        entered.fds.extend(place(above).ok());
    }
    entered
}

/// The nearest directory above one that is not there, in which it may appear; not `/`, and nothing
/// that the system shares.
fn nearest(path: &Path) -> Option<OwnedFd> {
    let mut at = path;
    while let Some(next) = above(at) {
        if let Ok(fd) = place(next) {
            return Some(fd);
        }
        at = next;
    }
    None
}

fn place(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
