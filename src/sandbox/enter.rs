//! Directories, made where they are missing and opened, without waiting for a file system that
//! hangs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::files;

/// When nothing answers for this long, what is waited for is left out, and the next one gets less.
const PATIENCE: Duration = Duration::from_secs(2);
const IMPATIENCE: Duration = Duration::from_millis(200);
const STACK: usize = 128 * 1024;

/// A path to open.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub path: PathBuf,
    /// Make what is missing, as the writer would.
    pub make: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Entered {
    pub path: PathBuf,
    /// What stands there; `None` with a problem.
    pub fd: Option<OwnedFd>,
    /// Where it is not there: the nearest directory above that is, and is not `/`.
    pub nearest: Option<(PathBuf, OwnedFd)>,
    /// Why it cannot be opened.
    pub problem: Option<String>,
}

/// Opens the paths; the answer has their order. A thread does it, for opening may hang; one that
/// hangs is left behind with the path at hand.
pub(super) fn enter(wishes: Vec<Wish>) -> Vec<Entered> {
    let (queue, todo) = unbounded();
    let mut entered: Vec<Option<Entered>> = wishes.iter().map(|_| None).collect();
    for wish in wishes.iter().cloned().enumerate() {
        let _ = queue.send(wish);
    }
    drop(queue);
    let (done, results) = unbounded();
    let (mut patience, mut missing) = (PATIENCE, entered.len());
    let mut is_served = start(&todo, &done).is_ok();
    while is_served && missing > 0 {
        match results.recv_timeout(patience) {
            Ok((index, result)) => {
                if let Some(slot) = entered.get_mut(index) {
                    *slot = Some(result);
                    missing -= 1;
                }
            }
            // Every thread so far hangs. There is nothing left to do for another one.
            Err(_) if todo.is_empty() => break,
            Err(_) => {
                patience = IMPATIENCE;
                is_served = start(&todo, &done).is_ok();
            }
        }
    }
    // No thread to be had: what nobody has taken up is opened here.
    for (index, wish) in todo.try_iter() {
        if let Some(slot) = entered.get_mut(index) {
            *slot = Some(open(&wish));
        }
    }
    let silent = |wish: Wish| Entered {
        path: wish.path,
        fd: None,
        nearest: None,
        problem: Some("it does not answer".to_owned()),
    };
    std::iter::zip(wishes, entered)
        .map(|(wish, entered)| entered.unwrap_or_else(|| silent(wish)))
        .collect()
}

/// The result of `look`, unless it takes too long: then it goes on behind the caller's back.
pub(super) fn patiently<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = unbounded();
    thread::Builder::new()
        .name("enter".into())
        .stack_size(STACK)
        .spawn(move || drop(done.send(look())))
        .ok()?;
    result.recv_timeout(PATIENCE).ok()
}

type Numbered<T> = (usize, T);

fn start(todo: &Receiver<Numbered<Wish>>, done: &Sender<Numbered<Entered>>) -> std::io::Result<()> {
    let (todo, done) = (todo.clone(), done.clone());
    thread::Builder::new()
        .name("enter".into())
        .stack_size(STACK)
        .spawn(move || {
            for (index, wish) in todo {
                if done.send((index, open(&wish))).is_err() {
                    return;
                }
            }
        })
        .map(drop)
}

fn open(wish: &Wish) -> Entered {
    let opened = if wish.make {
        files::make_directory(&wish.path).map_err(|error| error.to_string())
    } else {
        place(&wish.path).map_err(|error| error.to_string())
    };
    let (fd, problem) = match opened {
        Ok(fd) => (Some(fd), None),
        Err(problem) => (None, Some(problem)),
    };
    Entered {
        path: wish.path.clone(),
        nearest: problem.as_ref().and_then(|_| nearest(&wish.path)),
        fd,
        problem,
    }
}

/// The nearest directory above one that is not there, in which it may appear; not `/`.
fn nearest(path: &Path) -> Option<(PathBuf, OwnedFd)> {
    path.ancestors()
        .skip(1)
        .filter(|above| above.parent().is_some())
        .find_map(|above| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = openat(CWD, above, flags, Mode::empty()).ok()?;
            Some((above.to_owned(), fd))
        })
}

fn place(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_order_of_the_wishes_and_what_is_not_there_has_a_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "").unwrap();
        let wish = |name: &str, make| Wish {
            path: path(name),
            make,
        };
        let entered = enter(vec![
            wish("absent/below", false),
            wish("made/below", true),
            wish("file/below", true),
            wish("file", false),
        ]);
        let shape: Vec<_> = entered
            .iter()
            .map(|one| {
                let nearest = one.nearest.as_ref().map(|(path, _)| path.clone());
                (one.path.clone(), one.fd.is_some(), nearest)
            })
            .collect();
        assert_eq!(
            shape,
            [
                (path("absent/below"), false, Some(dir.path().to_owned())),
                (path("made/below"), true, None),
                (path("file/below"), false, Some(dir.path().to_owned())),
                (path("file"), true, None),
            ]
        );
        assert!(path("made/below").is_dir() && !path("absent").exists());
    }

    #[test]
    fn what_takes_too_long_is_not_waited_for() {
        let (hold, held) = unbounded::<()>();
        let began = std::time::Instant::now();
        assert_eq!(
            patiently(move || {
                let _ = held.recv();
            }),
            None
        );
        assert!(began.elapsed() < PATIENCE * 5);
        drop(hold);
        assert_eq!(patiently(|| 7), Some(7));
    }
}
