//! Waits for a socket, which no channel tells of.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// What a socket is waited for to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// To have bytes to read, or their end.
    Read,
    /// To take bytes.
    Write,
}

/// Waits for at most `longest` (for ever with `None`) until the socket is ready, or has failed, or
/// until there is something to read from `bell`. Whether it was the socket.
///
/// # Errors
///
/// When the system refuses. A signal that comes in between is no error: it ends the wait early.
pub fn poll(
    socket: BorrowedFd<'_>,
    interest: Interest,
    bell: Option<BorrowedFd<'_>>,
    longest: Option<Duration>,
) -> io::Result<bool> {
    let wanted = match interest {
        Interest::Read => PollFlags::IN,
        Interest::Write => PollFlags::OUT,
    };
    let mut both = [
        PollFd::from_borrowed_fd(socket, wanted),
        PollFd::from_borrowed_fd(bell.unwrap_or(socket), PollFlags::IN),
    ];
    let watched = if bell.is_some() { 2 } else { 1 };
    let longest = longest.map(Timespec::try_from).and_then(Result::ok);
    match rustix::event::poll(&mut both[..watched], longest.as_ref()) {
        Ok(_) => Ok(!both[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
