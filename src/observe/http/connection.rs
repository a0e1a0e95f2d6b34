//! One client's course: a head within its time and size, one answer, a short farewell.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use rustix::event::PollFlags;

use super::request::{self, LONGEST, Request};
use crate::clock::Tick;

/// For the whole head.
const HEAD: Duration = Duration::from_secs(5);

/// For the whole answer.
const ANSWER: Duration = Duration::from_secs(10);

/// For what the client still sends: closing a socket with unread bytes would take the answer
/// from it.
const FAREWELL: Duration = Duration::from_secs(1);

/// As much of that is read.
const FAREWELL_BYTES: usize = 64 * 1024;

/// A socket, as far as a connection needs it.
pub(super) trait Socket: Read + Write {
    /// Nothing more will be written.
    fn finish(&self) -> io::Result<()>;
}

impl Socket for std::net::TcpStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// A client. Its socket does not block.
pub(super) struct Connection<S> {
    pub(super) socket: S,
    phase: Phase,
    deadline: Tick,
}

enum Phase {
    Head {
        bytes: Vec<u8>,
        seen: usize,
        /// Bytes of the empty lines before it, which are dropped but count.
        blank: usize,
    },
    Answer {
        bytes: Vec<u8>,
        sent: usize,
    },
    Farewell {
        left: usize,
    },
    Over,
}

/// Makes answers.
pub(super) trait Answers {
    /// To a request.
    fn to(&self, request: &Request) -> Vec<u8>;
    /// To what is none.
    fn refusal(&self, status: tiny_http::StatusCode) -> Vec<u8>;
}

impl<S: Socket> Connection<S> {
    pub(super) fn new(socket: S, now: Tick) -> Self {
        Self {
            socket,
            phase: Phase::Head {
                bytes: Vec::new(),
                seen: 0,
                blank: 0,
            },
            deadline: now + HEAD,
        }
    }

    /// What it waits for.
    pub(super) fn interest(&self) -> PollFlags {
        match self.phase {
            Phase::Answer { .. } => PollFlags::OUT,
            _ => PollFlags::IN,
        }
    }

    /// Until when.
    pub(super) fn deadline(&self) -> Tick {
        self.deadline
    }

    /// Whether it may be closed.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Who goes first when there are too many: farewells, then heads, then answers; of each, the
    /// one with the least time left.
    pub(super) fn claim(&self) -> (u8, Tick) {
        let rank = match self.phase {
            Phase::Over | Phase::Farewell { .. } => 0,
            Phase::Head { .. } => 1,
            Phase::Answer { .. } => 2,
        };
        (rank, self.deadline)
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn proceed(&mut self, now: Tick, answers: &dyn Answers) {
        loop {
            let stepped = match &mut self.phase {
                Phase::Head { .. } => self.read_head(now, answers),
                Phase::Answer { .. } => self.write_answer(now),
                Phase::Farewell { .. } => self.read_farewell(),
                Phase::Over => return,
            };
            match stepped {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.phase = Phase::Over,
            }
        }
    }

    /// Its time may be up. A client that has begun to speak is told so.
    pub(super) fn expire(&mut self, now: Tick, answers: &dyn Answers) {
        if now < self.deadline {
            return;
        }
        match &self.phase {
            Phase::Head { bytes, .. } if !bytes.is_empty() => {
                self.answer(now, answers.refusal(tiny_http::StatusCode(408)));
                self.proceed(now, answers);
            }
            _ => self.phase = Phase::Over,
        }
    }

    fn read_head(&mut self, now: Tick, answers: &dyn Answers) -> io::Result<()> {
        let Phase::Head { bytes, seen, blank } = &mut self.phase else {
            return Ok(());
        };
        let mut portion = [0; 1024];
        let room = (LONGEST - bytes.len() - *blank).min(portion.len());
        let read = self
            .socket
            .read(portion.get_mut(..room).unwrap_or_default())?;
        if read == 0 {
            self.phase = Phase::Over;
            return Ok(());
        }
        bytes.extend_from_slice(portion.get(..read).unwrap_or_default());
        if *seen == 0 {
            let leading = request::leading_lines(bytes);
            bytes.drain(..leading);
            *blank += leading;
        }
        let answer = if let Some(end) = request::end(bytes, *seen) {
            match request::parse(bytes.get(..end).unwrap_or_default()) {
                Ok(request) => answers.to(&request),
                Err(status) => answers.refusal(status),
            }
        } else if bytes.len() + *blank >= LONGEST {
            answers.refusal(request::too_long(bytes))
        } else {
            *seen = bytes.len();
            return Ok(());
        };
        self.answer(now, answer);
        Ok(())
    }

    fn answer(&mut self, now: Tick, bytes: Vec<u8>) {
        self.phase = Phase::Answer { bytes, sent: 0 };
        self.deadline = now + ANSWER;
    }

    fn write_answer(&mut self, now: Tick) -> io::Result<()> {
        let Phase::Answer { bytes, sent } = &mut self.phase else {
            return Ok(());
        };
        let rest = bytes.get(*sent..).unwrap_or_default();
        if !rest.is_empty() {
            *sent += self.socket.write(rest)?;
            return Ok(());
        }
        self.socket.finish()?;
        self.phase = Phase::Farewell {
            left: FAREWELL_BYTES,
        };
        self.deadline = now + FAREWELL;
        Ok(())
    }

    fn read_farewell(&mut self) -> io::Result<()> {
        let Phase::Farewell { left } = &mut self.phase else {
            return Ok(());
        };
        let mut portion = [0; 4096];
        match self.socket.read(&mut portion)? {
            read if read > 0 && read < *left => *left -= read,
            _ => self.phase = Phase::Over,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;

    /// What a client sends, in portions, and takes, in portions.
    #[derive(Default)]
    struct Script {
        sends: VecDeque<Vec<u8>>,
        hangs_up: bool,
        takes: usize,
        took: Vec<u8>,
        finished: std::cell::Cell<bool>,
    }

    impl Read for Script {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(portion) = self.sends.front_mut() else {
                return if self.hangs_up {
                    Ok(0)
                } else {
                    Err(ErrorKind::WouldBlock.into())
                };
            };
            let count = portion.len().min(into.len());
            into[..count].copy_from_slice(&portion[..count]);
            portion.drain(..count);
            if portion.is_empty() {
                self.sends.pop_front();
            }
            Ok(count)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.takes == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.takes);
            self.takes -= count;
            self.took.extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for Script {
        fn finish(&self) -> io::Result<()> {
            self.finished.set(true);
            Ok(())
        }
    }

    struct Echo;

    impl Answers for Echo {
        fn to(&self, request: &Request) -> Vec<u8> {
            request.path.clone().into_bytes()
        }
        fn refusal(&self, status: tiny_http::StatusCode) -> Vec<u8> {
            status.0.to_string().into_bytes()
        }
    }

    fn at(ms: u64) -> Tick {
        Tick::from_start(Duration::from_millis(ms))
    }

    fn client(portions: &[&[u8]]) -> Connection<Script> {
        let script = Script {
            sends: portions.iter().map(|bytes| bytes.to_vec()).collect(),
            takes: usize::MAX,
            ..Script::default()
        };
        Connection::new(script, at(0))
    }

    #[test]
    fn a_head_in_single_bytes_is_answered() {
        let bytes: Vec<&[u8]> = b"\r\nGET /a HTTP/1.1\r\nB: c\r\n\r\n".chunks(1).collect();
        let mut client = client(&bytes);
        client.proceed(at(1), &Echo);
        assert_eq!(client.socket.took, b"/a");
        assert!(client.socket.finished.get() && !client.is_over());
        client.socket.hangs_up = true;
        client.proceed(at(2), &Echo);
        assert!(client.is_over());
    }

    #[test]
    fn the_first_of_two_requests_is_answered_and_the_rest_read_away() {
        let mut client = client(&[
            b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
            b"GET /c HTTP/1.1\r\n\r\n",
        ]);
        client.proceed(at(1), &Echo);
        assert_eq!(client.socket.took, b"/a");
        assert!(client.socket.sends.is_empty() && !client.is_over());
        client.expire(at(1_001), &Echo);
        assert!(client.is_over());
    }

    #[test]
    fn a_slow_head_ends_at_its_deadline_however_it_drips() {
        let mut client = client(&[b"GET /a"]);
        for ms in (0..5_000).step_by(500) {
            client.socket.sends.push_back(b"x".to_vec());
            client.proceed(at(ms), &Echo);
            client.expire(at(ms), &Echo);
        }
        assert_eq!(client.socket.took, b"");
        client.expire(at(5_000), &Echo);
        assert_eq!(client.socket.took, b"408");
        client.expire(at(6_000), &Echo);
        assert!(client.is_over());
    }

    #[test]
    fn a_silent_client_is_closed_without_a_word() {
        let mut client = client(&[]);
        client.proceed(at(0), &Echo);
        client.expire(at(5_000), &Echo);
        assert!(client.is_over() && client.socket.took.is_empty());
    }

    #[test]
    fn a_head_that_is_too_long_is_refused_at_its_limit() {
        for (start, status) in [("GET /", "414"), ("GET / HTTP/1.1\r\nA: ", "431")] {
            let long = [start.as_bytes(), &[b'a'; 20_000]].concat();
            let mut client = client(&[&long]);
            client.proceed(at(0), &Echo);
            assert_eq!(client.socket.took, status.as_bytes());
        }
    }

    /// They were dropped uncounted once: one client that sent nothing else kept the thread.
    #[test]
    fn empty_lines_count_as_a_head_does() {
        let mut client = client(&[&b"\r\n".repeat(50_000)]);
        client.proceed(at(0), &Echo);
        assert_eq!(client.socket.took, b"400");
        assert!(client.is_over(), "the rest of it is not read for ever");
    }

    #[test]
    fn a_client_that_does_not_read_is_closed_after_ten_seconds() {
        let mut client = client(&[b"GET /long-answer HTTP/1.1\r\n\r\n"]);
        client.socket.takes = 3;
        client.proceed(at(1_000), &Echo);
        assert_eq!(client.socket.took, b"/lo");
        assert_eq!(client.interest(), PollFlags::OUT);
        client.socket.takes = 1;
        client.proceed(at(10_999), &Echo);
        client.expire(at(10_999), &Echo);
        assert!(!client.is_over());
        client.expire(at(11_000), &Echo);
        assert!(client.is_over());
    }

    #[test]
    fn an_endless_body_is_not_read_for_ever() {
        let mut client = client(&[b"POST /a HTTP/1.1\r\n\r\n", &[b'x'; 100_000]]);
        client.proceed(at(0), &Echo);
        assert!(client.is_over());
        assert_eq!(client.socket.took, b"/a");
    }
}
