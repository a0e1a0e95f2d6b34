//! Signals as messages. The thread that gives them also sees to it that a second request to stop
//! ends the process at once, whatever the main loop is doing.

use std::io;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

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

/// Takes the signals over for the rest of the process's life.
///
/// # Errors
///
/// When the system refuses a handler or the thread.
pub fn signals() -> io::Result<Receiver<Signal>> {
    let mut caught = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
    // Room for one of each: what is waiting already says all that another one would.
    let (sender, receiver) = bounded(16);
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
                // A full channel: a stop must get through, the others are there already.
                if signal == Signal::Stop {
                    let _ = sender.send(signal);
                } else {
                    let _ = sender.try_send(signal);
                }
            }
        })?;
    Ok(receiver)
}
