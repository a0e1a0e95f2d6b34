//! One connection: a socket with a deadline, TLS on it or not, and its buffers.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::{RecvFlags, recv};
use rustls::{ClientConnection, StreamOwned};
use ureq::unversioned::transport::{Buffers, NextTimeout, ShutdownHandle, Transport};
use zeroize::Zeroize;

use super::buffers::WipedBuffers;
use super::error::{HttpError, explain_io, speaks_tls};
use crate::clock::{Clock, Interest, Tick};
use crate::failure::ErrorType;

/// A connected stream socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What waits to be read.
#[derive(PartialEq, Eq)]
enum Waiting {
    Nothing,
    Bytes,
    End,
}

impl Socket {
    /// From now on nothing on it waits: who waits asks the clock.
    pub(super) fn prepared(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(stream) => stream.set_nonblocking(true)?,
            Self::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(self)
    }

    fn waiting(&self) -> Waiting {
        let mut byte = [0u8];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = match self {
            Self::Tcp(stream) => recv(stream, &mut byte, flags),
            Self::Unix(stream) => recv(stream, &mut byte, flags),
        };
        match peeked {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Waiting::Nothing,
            Ok((_, 1..)) => Waiting::Bytes,
            Ok(_) | Err(_) => Waiting::End,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl ShutdownHandle for Socket {
    fn shutdown(&self) {
        // An error means that it is closed already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// A socket whose reads and writes all end at one moment, however many they are.
pub(super) struct Timed {
    socket: Arc<Socket>,
    clock: Arc<dyn Clock>,
    until: Option<Tick>,
}

impl Timed {
    /// On a socket that is [`Socket::prepared`].
    pub(super) fn new(socket: Arc<Socket>, clock: Arc<dyn Clock>, until: Option<Tick>) -> Self {
        Self {
            socket,
            clock,
            until,
        }
    }

    /// Waits for the socket where it has to; tries again when a signal came in between.
    fn attempt<T>(
        &self,
        interest: Interest,
        mut attempt: impl FnMut(&Socket) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            if self.until.is_some_and(|until| self.clock.now() >= until) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match attempt(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.clock
                        .ready(self.socket.as_fd(), interest, self.until)?;
                }
                result => return result,
            }
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.attempt(Interest::Read, |socket| match socket {
            Socket::Tcp(stream) => (&*stream).read(buffer),
            Socket::Unix(stream) => (&*stream).read(buffer),
        })
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(Interest::Write, |socket| match socket {
            Socket::Tcp(stream) => (&*stream).write(bytes),
            Socket::Unix(stream) => (&*stream).write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// TLS over something.
pub(super) type Tls<S> = StreamOwned<ClientConnection, S>;

/// The way to the server, before TLS with it.
pub(super) enum Path {
    Direct(Timed),
    /// TLS with the proxy.
    Proxied(Box<Tls<Timed>>),
}

impl Path {
    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Direct(timed) => timed,
            Self::Proxied(tls) => &mut tls.sock,
        }
    }
}

impl Read for Path {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Direct(timed) => timed.read(buffer),
            Self::Proxied(tls) => tls.read(buffer),
        }
    }
}

impl Write for Path {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(timed) => timed.write(bytes),
            Self::Proxied(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Direct(timed) => timed.flush(),
            Self::Proxied(tls) => tls.flush(),
        }
    }
}

/// What HTTP is spoken on.
pub(super) enum Stream {
    Plain(Path),
    Tls(Box<Tls<Path>>),
}

/// TLS decrypts where it has read, and keeps that memory for its next read: a reader that takes what it
/// is given to fill, wipes it, and has nothing.
struct Wiper;

impl Read for Wiper {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.zeroize();
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Path {
    /// Wipes what TLS with the proxy still holds of answers.
    fn wipe(&mut self) {
        if let Self::Proxied(tls) = self {
            let _ = tls.conn.read_tls(&mut Wiper);
        }
    }
}

impl Stream {
    /// Wipes what TLS still holds of answers.
    fn wipe(&mut self) {
        match self {
            Self::Plain(path) => path.wipe(),
            Self::Tls(tls) => {
                let _ = tls.conn.read_tls(&mut Wiper);
                tls.sock.wipe();
            }
        }
    }
}

/// When a time-out is over; `None` where there is none.
pub(super) fn moment(clock: &dyn Clock, timeout: NextTimeout) -> Option<Tick> {
    (!timeout.after.is_not_happening()).then(|| clock.now() + *timeout.after)
}

/// The connection as ureq sees it.
pub(super) struct Line {
    stream: Stream,
    buffers: WipedBuffers,
    address: Arc<str>,
    /// A request has been answered on it before the one under way.
    reused: bool,
    /// Bytes of an answer have come since the last write.
    answered: bool,
}

impl Line {
    pub(super) fn new(stream: Stream, address: Arc<str>) -> Self {
        Self {
            stream,
            buffers: WipedBuffers::default(),
            address,
            reused: false,
            answered: false,
        }
    }

    fn set_deadline(&mut self, timeout: NextTimeout) {
        let timed = match &mut self.stream {
            Stream::Plain(path) => path.timed(),
            Stream::Tls(tls) => tls.sock.timed(),
        };
        timed.until = moment(&*timed.clock, timeout);
    }

    /// What an I/O error means: the time is up, the pool gave us a connection that was closed
    /// already, or the server is in trouble.
    fn failed(&self, error: io::Error, timeout: NextTimeout) -> ureq::Error {
        if error.kind() == io::ErrorKind::TimedOut {
            return ureq::Error::Timeout(timeout.reason);
        }
        let closed = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        );
        if closed && self.answered {
            // ureq knows whether the body was complete.
            return ureq::Error::Io(error);
        }
        let mut explained = explain_io(&self.address, "before it answered", &error);
        explained.stale = closed && self.reused;
        explained.into()
    }

    /// The TLS error that the server sent before it closed, where a write found it closed.
    fn parting_words(&mut self, error: io::Error) -> io::Error {
        let Stream::Tls(tls) = &mut self.stream else {
            return error;
        };
        if !matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ) {
            return error;
        }
        match tls.conn.complete_io(&mut tls.sock) {
            Err(said)
                if said
                    .get_ref()
                    .is_some_and(|inner| inner.is::<rustls::Error>()) =>
            {
                said
            }
            _ => error,
        }
    }

    /// A server that speaks TLS answers plain HTTP with a TLS alert.
    fn is_alert(&self) -> bool {
        matches!(self.stream, Stream::Plain(_)) && self.buffers.input().starts_with(&[0x15, 0x03])
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.set_deadline(timeout);
        if self.answered {
            self.reused = true;
            self.answered = false;
        }
        let bytes = self.buffers.outgoing(amount);
        let written = match &mut self.stream {
            Stream::Plain(path) => path.write_all(bytes).and_then(|()| path.flush()),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        };
        self.buffers.sent(amount);
        written.map_err(|error| {
            let error = self.parting_words(error);
            self.failed(error, timeout)
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.set_deadline(timeout);
        let space = self.buffers.input_append_buf();
        if space.is_empty() {
            // Nothing that ureq could not use so far is that long.
            return Err(HttpError::new(
                ErrorType::BadResponse,
                format!(
                    "`{}` does not speak proper HTTP: a head or chunk line longer than 16 KiB",
                    self.address
                ),
            )
            .remedy(super::error::NO_HTTP)
            .into());
        }
        let read = match &mut self.stream {
            Stream::Plain(path) => path.read(space),
            Stream::Tls(tls) => tls.read(space),
        };
        match read {
            Ok(0) if !self.answered => {
                Err(self.failed(io::ErrorKind::UnexpectedEof.into(), timeout))
            }
            Ok(amount) => {
                self.buffers.input_appended(amount);
                if !self.answered && self.is_alert() {
                    return Err(speaks_tls(&self.address).into());
                }
                self.answered = true;
                Ok(amount > 0)
            }
            Err(error) => Err(self.failed(error, timeout)),
        }
    }

    fn is_open(&mut self) -> bool {
        let open = match &mut self.stream {
            Stream::Plain(path) => path.timed().socket.waiting() == Waiting::Nothing,
            Stream::Tls(tls) => is_open(tls),
        };
        // ureq asks before it puts a connection aside, and before it takes it up again.
        self.buffers.release();
        self.stream.wipe();
        open
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

/// Whether nothing but TLS' own messages (new session tickets) waits.
fn is_open(tls: &mut Tls<Path>) -> bool {
    loop {
        match tls.conn.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
            _ => return false,
        }
        match (tls.sock.timed().socket.waiting(), &mut tls.sock) {
            (Waiting::Nothing, _) => return true,
            // Bytes are there: this does not wait.
            (Waiting::Bytes, Path::Direct(timed)) => match tls.conn.read_tls(timed) {
                Ok(1..) => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.address)
    }
}
