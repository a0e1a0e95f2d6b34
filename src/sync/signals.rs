//! Signals as messages. The thread that gives them also sees to it that a second request to stop
//! ends the process at once, whatever the main loop is doing.

use std::io;
use std::thread;

use crossbeam_channel::{Receiver, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::clock::Stop;

/// More messages than this are not kept while nobody takes them: what is waiting already says all
/// that another one would.
const ROOM: usize = 16;

/// What the outside asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Refresh,
    /// SIGTERM or SIGINT.
    Stop,
}

/// Signals that are caught, and wait for the one who listens.
#[derive(Debug)]
pub struct Caught(Signals);

/// Takes the signals over for the rest of the process's life.
///
/// # Errors
///
/// When the system refuses a handler.
pub fn catch() -> io::Result<Caught> {
    Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1]).map(Caught)
}

/// Gives them out, those that came meanwhile too. The [`Stop`] says as much as the first
/// [`Signal::Stop`], to those who wait for something else.
///
/// # Errors
///
/// When the system refuses the thread.
pub fn listen(caught: Caught) -> io::Result<(Receiver<Signal>, Stop)> {
    let Caught(mut caught) = caught;
    let (sender, receiver) = unbounded();
    let (mut stop_source, stop) = Stop::new();
    thread::Builder::new()
        .name("signals".into())
        .stack_size(64 * 1024)
        .spawn(move || {
            let mut stopping = false;
            for number in caught.forever() {
                let signal = match number {
                    SIGHUP => Signal::Reload,
                    SIGUSR1 => Signal::Refresh,
                    _ if stopping => std::process::exit(128 + number),
                    _ => {
                        stopping = true;
                        Signal::Stop
                    }
                };
                // Never waits, or the second request to stop would not be heard.
                if signal == Signal::Stop {
                    stop_source.stop();
                } else if sender.len() >= ROOM {
                    continue;
                }
                let _ = sender.send(signal);
            }
        })?;
    Ok((receiver, stop))
}
