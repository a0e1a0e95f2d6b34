//! What a test does to the system calls of its thread: counts them, makes one fail, or lets one be
//! the last of the process.

use std::cell::RefCell;

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

#[derive(Clone, Copy, Debug)]
pub(in crate::files) enum Fault {
    /// The call is not made and fails; `INTR` once, as a signal would have it.
    Error(Errno),
    /// The process is killed in its place.
    Kill,
    /// Every write takes one byte.
    ShortWrites,
}

#[derive(Default)]
struct State {
    calls: Vec<&'static str>,
    fault: Option<(usize, Fault)>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Runs with a fault at the call of that number (the first is 0); the calls that were made.
pub(super) fn with<T>(
    fault: Option<(usize, Fault)>,
    body: impl FnOnce() -> T,
) -> (T, Vec<&'static str>) {
    let set = |state: State| STATE.with(|cell| cell.replace(state));
    set(State {
        calls: Vec::new(),
        fault,
    });
    let result = body();
    (result, set(State::default()).calls)
}

/// A call is about to be made.
pub(in crate::files) fn meet(name: &'static str) -> Result<(), Errno> {
    STATE.with_borrow_mut(|state| {
        let number = state.calls.len();
        state.calls.push(name);
        match state.fault {
            Some((at, Fault::Error(errno))) if at == number => Err(errno),
            Some((at, Fault::Kill)) if at == number => {
                let _ = kill_process(getpid(), Signal::KILL);
                unreachable!("killed")
            }
            _ => Ok(()),
        }
    })
}

/// As much of a write as is let through at once.
pub(in crate::files) fn shortened(bytes: &[u8]) -> &[u8] {
    STATE.with_borrow(|state| match state.fault {
        Some((_, Fault::ShortWrites)) => &bytes[..1],
        _ => bytes,
    })
}
