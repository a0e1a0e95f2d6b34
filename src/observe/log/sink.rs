//! Where lines go: a descriptor that may be gone, full, or stuck. What cannot be written at once,
//! or nearly so, is dropped: a reader that hangs must not hang the daemon.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// POSIX' smallest `PIPE_BUF` on Linux: a pipe that polls as writable takes this much without
/// blocking.
const PORTION: usize = 4096;

/// How long one line may wait for a slow reader. Once it has been in vain, nothing waits until
/// the reader takes something again.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

const NO_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Writes each buffer whole, or drops it; never fails.
#[derive(Debug)]
pub struct Sink<F = io::Stderr> {
    to: F,
    patience: Timespec,
    stuck: bool,
    torn: bool,
}

impl Sink<io::Stderr> {
    /// To standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::new(io::stderr())
    }
}

impl<F: AsFd> Sink<F> {
    fn new(to: F) -> Self {
        Self {
            to,
            patience: PATIENCE,
            stuck: false,
            torn: false,
        }
    }

    /// Whether the descriptor takes a portion within the patience left.
    fn takes(&self) -> bool {
        let patience = if self.stuck { NO_WAIT } else { self.patience };
        loop {
            let mut fds = [PollFd::new(&self.to, PollFlags::OUT)];
            match poll(&mut fds, Some(&patience)) {
                Ok(ready) => return ready > 0,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// All of it, or as much as went.
    fn put(&mut self, mut line: &[u8]) -> usize {
        let whole = line.len();
        while !line.is_empty() {
            if !self.takes() {
                self.stuck = true;
                break;
            }
            let portion = line.get(..PORTION).unwrap_or(line);
            match rustix::io::write(&self.to, portion) {
                Ok(written) => {
                    self.stuck = false;
                    line = line.get(written..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                // Said to be writable and yet not: somebody else made it non-blocking and filled
                // it meanwhile.
                Err(_) => {
                    self.stuck = true;
                    break;
                }
            }
        }
        whole - line.len()
    }
}

impl<F: AsFd> Write for Sink<F> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.torn {
            // The last line broke off in its middle: what follows begins on a new one.
            if self.put(b"\n") == 0 {
                return Ok(line.len());
            }
            self.torn = false;
        }
        let written = self.put(line);
        self.torn = written > 0 && written < line.len();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For descriptors of tests and files.
impl From<OwnedFd> for Sink<File> {
    fn from(fd: OwnedFd) -> Self {
        Self::new(File::from(fd))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    fn sink() -> (io::PipeReader, Sink<File>) {
        let (reader, writer) = io::pipe().unwrap();
        let mut sink = Sink::from(OwnedFd::from(writer));
        sink.patience = NO_WAIT;
        (reader, sink)
    }

    #[test]
    fn lines_arrive() {
        let (mut reader, mut sink) = sink();
        sink.write_all(b"one\n").unwrap();
        sink.write_all(b"two\n").unwrap();
        drop(sink);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "one\ntwo\n");
    }

    #[test]
    fn a_closed_reader_is_no_error() {
        let (reader, mut sink) = sink();
        drop(reader);
        sink.write_all(b"lost\n").unwrap();
    }

    #[test]
    fn a_full_pipe_drops_lines_instead_of_blocking_and_recovers() {
        let (mut reader, mut sink) = sink();
        let line = [[b'x'; 9_999].as_slice(), b"\n"].concat();
        for _ in 0..100 {
            sink.write_all(&line).unwrap();
        }
        assert!(sink.stuck && sink.torn);
        rustix::io::ioctl_fionbio(reader.as_fd(), true).unwrap();
        let mut taken = Vec::new();
        let _ = reader.read_to_end(&mut taken);
        sink.write_all(b"after\n").unwrap();
        drop(sink);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        taken.extend(rest);
        let lines: Vec<_> = taken.split(|b| *b == b'\n').collect();
        assert_eq!(lines[lines.len() - 2], b"after");
        assert!(lines.len() < 12, "{} lines", lines.len());
    }

    #[test]
    fn nothing_waits_for_a_reader_that_is_stuck() {
        let (_reader, mut sink) = sink();
        let line = [b'x'; 200_000];
        sink.write_all(&line).unwrap();
        sink.patience.tv_sec = 60;
        let before = std::time::Instant::now();
        sink.write_all(&line).unwrap();
        assert!(before.elapsed().as_secs() < 30);
    }

    #[test]
    fn a_non_blocking_descriptor_is_written_whole() {
        let (mut reader, mut sink) = sink();
        rustix::io::ioctl_fionbio(&sink.to, true).unwrap();
        let line = [[b'x'; 30_000].as_slice(), b"\n"].concat();
        sink.write_all(&line).unwrap();
        drop(sink);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, line);
    }
}
