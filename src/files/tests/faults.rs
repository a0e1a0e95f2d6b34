//! What a test does to the system calls of its thread: counts them, makes one fail, or lets one be
//! the last of the process.

use std::cell::RefCell;

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

#[derive(Clone, Copy, Debug)]
pub(in crate::files) enum Fault {
    /// The call is not made and fails; `INTR` once, as a signal would have it.
    Error(Errno),
    /// It and all that come after it fail: the cause stays.
    Lasting(Errno),
    /// The process is killed in its place.
    Kill,
}

/// What is done to the calls of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::files) struct Faults {
    /// At the call of that number; the first is 0.
    pub at: Option<(usize, Fault)>,
    /// Every write takes half of what it is given.
    pub halves: bool,
    /// What the file system cannot do at all: every call of that name.
    pub never: Option<(&'static str, Errno)>,
}

#[derive(Default)]
struct State {
    calls: Vec<&'static str>,
    faults: Faults,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Runs with these faults; the calls that were made.
pub(super) fn with<T>(faults: Faults, body: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    let set = |state: State| STATE.with(|cell| cell.replace(state));
    set(State {
        calls: Vec::new(),
        faults,
    });
    let result = body();
    (result, set(State::default()).calls)
}

/// A call is about to be made.
pub(in crate::files) fn meet(name: &'static str) -> Result<(), Errno> {
    STATE.with_borrow_mut(|state| {
        let number = state.calls.len();
        state.calls.push(name);
        match state.faults.at {
            Some((at, Fault::Error(errno))) if at == number => return Err(errno),
            Some((at, Fault::Lasting(errno))) if at <= number => return Err(errno),
            Some((at, Fault::Kill)) if at == number => {
                let _ = kill_process(getpid(), Signal::KILL);
                unreachable!("killed")
            }
            _ => {}
        }
        match state.faults.never {
            Some((never, errno)) if never == name => Err(errno),
            _ => Ok(()),
        }
    })
}

/// As much of a write as is let through at once.
pub(in crate::files) fn shortened(bytes: &[u8]) -> &[u8] {
    let halves = STATE.with_borrow(|state| state.faults.halves);
    if halves {
        &bytes[..bytes.len().div_ceil(2)]
    } else {
        bytes
    }
}
