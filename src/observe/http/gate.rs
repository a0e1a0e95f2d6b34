//! The server's one thread: it accepts, and waits for all clients at once, so that none can hold
//! another up.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tiny_http::StatusCode;

use super::answer;
use super::board::Board;
use super::connection::{Answers, Connection};
use super::request::Request;
use crate::clock::{Clock, Tick};
use crate::observe::quiet::Quiet;

/// Clients at one time; one more takes the place of the one that has least claim to it.
const CLIENTS: usize = 32;

/// A turn takes no more new ones than this before it serves those that are there.
const NEW_AT_ONCE: usize = 16;

/// After an `accept` that failed for want of something (descriptors, memory).
const PAUSE: Duration = Duration::from_secs(1);

/// A wait is never longer than this, since it sleeps on a clock that stands still while the
/// machine is suspended.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

const STACK: usize = 128 * 1024;

/// The endpoints, served until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
    /// Hanging up wakes and ends the thread.
    wake: Option<UnixStream>,
}

impl Server {
    /// Binds the port and starts to serve.
    ///
    /// # Errors
    ///
    /// When the port cannot be bound (it is in use, or not ours to take), or no thread is to be
    /// had. The caller tells it and tries again.
    pub fn start(
        address: SocketAddr,
        board: Arc<Board>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (wake, woken) = UnixStream::pair()?;
        let gate = Gate {
            listener,
            woken,
            pages: Pages {
                board,
                loopback: address.ip().to_canonical().is_loopback(),
            },
            clock,
            clients: Vec::new(),
            paused: None,
            quiet: Quiet::new(),
        };
        let thread = Builder::new()
            .name("http".to_owned())
            .stack_size(STACK)
            .spawn(move || gate.serve())?;
        Ok(Self {
            address,
            thread: Some(thread),
            wake: Some(wake),
        })
    }

    /// Where it listens: the port that was given, or the one that the kernel chose for 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it still serves: its thread ends only by a defect.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Gate {
    listener: TcpListener,
    woken: UnixStream,
    pages: Pages,
    clock: Arc<dyn Clock>,
    clients: Vec<Connection<TcpStream>>,
    /// Until when nothing is accepted.
    paused: Option<Tick>,
    quiet: Quiet<&'static str>,
}

/// What a wait found.
#[derive(Default)]
struct Ready {
    stop: bool,
    new: bool,
    /// Of each client, whether it can go on.
    clients: Vec<bool>,
}

impl Gate {
    fn serve(mut self) {
        loop {
            let ready = self.wait();
            if ready.stop {
                return;
            }
            let now = self.clock.now();
            for (client, ready) in self.clients.iter_mut().zip(ready.clients) {
                if ready {
                    client.proceed(now, &self.pages);
                }
                client.expire(now, &self.pages);
            }
            self.clients.retain(|client| !client.is_over());
            if ready.new {
                self.accept(now);
            }
        }
    }

    /// Waits until something can go on, or the next deadline.
    fn wait(&mut self) -> Ready {
        let now = self.clock.now();
        self.paused = self.paused.filter(|until| now < *until);
        let until = self
            .clients
            .iter()
            .map(Connection::deadline)
            .chain(self.paused)
            .map(|at| at.since(now))
            .fold(LONGEST_WAIT, Duration::min);
        let timeout = Timespec {
            tv_sec: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
            // One more millisecond: waking too early would only mean to wait again.
            tv_nsec: i64::from(until.subsec_nanos()).min(998_999_999) + 1_000_000,
        };
        let listening = if self.paused.is_some() {
            PollFlags::empty()
        } else {
            PollFlags::IN
        };
        let mut fds = Vec::with_capacity(self.clients.len() + 2);
        fds.push(PollFd::new(&self.woken, PollFlags::IN));
        fds.push(PollFd::new(&self.listener, listening));
        fds.extend(
            self.clients
                .iter()
                .map(|client| PollFd::new(&client.socket, client.interest())),
        );
        if poll(&mut fds, Some(&timeout)).is_err() {
            // Interrupted, or out of memory: deadlines are looked at, and the next turn waits.
            return Ready {
                clients: vec![false; self.clients.len()],
                ..Ready::default()
            };
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ready {
            stop: ready.next().unwrap_or(true),
            new: ready.next().unwrap_or(false) && self.paused.is_none(),
            clients: ready.collect(),
        }
    }

    /// Lets in who waits. No error ends it: most are about one client that has gone again, and
    /// want passes.
    fn accept(&mut self, now: Tick) {
        for _ in 0..NEW_AT_ONCE {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    self.quiet.clear(&"accept", now);
                    self.admit(socket, now);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset
                    | ErrorKind::Interrupted => {}
                    _ => {
                        let text = error.to_string();
                        if self.quiet.note("accept", &text, now).is_some() {
                            log::warn!(error = text.as_str(); "cannot accept HTTP clients for the moment");
                        }
                        self.paused = Some(now + PAUSE);
                        return;
                    }
                },
            }
        }
    }

    fn admit(&mut self, socket: TcpStream, now: Tick) {
        // An answer goes out in few writes: none should wait for the other side's receipt.
        if socket.set_nonblocking(true).is_err() || socket.set_nodelay(true).is_err() {
            return;
        }
        let mut client = Connection::new(socket, now);
        // Most have sent all of their head by now, and never take up a place.
        client.proceed(now, &self.pages);
        if client.is_over() {
            return;
        }
        if self.clients.len() >= CLIENTS
            && let Some(least) = (0..self.clients.len())
                .min_by_key(|at| self.clients.get(*at).map(Connection::claim))
        {
            // In order, so that of equals the oldest goes.
            self.clients.remove(least);
        }
        self.clients.push(client);
    }
}

struct Pages {
    board: Arc<Board>,
    /// Whether only the machine itself can ask.
    loopback: bool,
}

impl Answers for Pages {
    fn to(&self, request: &Request) -> Vec<u8> {
        // A defect in a page must not take the others away.
        catch_unwind(AssertUnwindSafe(|| {
            answer::answer(request, &self.board, self.loopback)
        }))
        .unwrap_or_else(|_| answer::refusal(StatusCode(500)))
    }

    fn refusal(&self, status: StatusCode) -> Vec<u8> {
        answer::refusal(status)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown};

    use super::*;
    use crate::clock::ManualClock;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn server() -> (Server, ManualClock) {
        let clock = ManualClock::new();
        let board = Arc::new(Board::new(Arc::new(clock.clone())));
        let server = Server::start(ANY_PORT, board, Arc::new(clock.clone())).unwrap();
        (server, clock)
    }

    fn connect(server: &Server) -> TcpStream {
        let client = TcpStream::connect(server.address()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client
    }

    fn rest(mut client: &TcpStream) -> String {
        let mut text = String::new();
        let _ = client.read_to_string(&mut text);
        text
    }

    fn get(server: &Server, path: &str) -> String {
        let mut client = connect(server);
        write!(client, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        rest(&client)
    }

    fn status(answer: &str) -> &str {
        answer.split(' ').nth(1).unwrap_or("no answer")
    }

    #[test]
    fn pages_are_served() {
        let (server, _) = server();
        assert!(get(&server, "/health").ends_with("{\"status\":\"healthy\"}"));
        assert_eq!(status(&get(&server, "/ready")), "503");
        assert_eq!(status(&get(&server, "/nothing")), "404");
        assert!(get(&server, "/metrics").contains("\nprocess_open_fds "));
    }

    #[test]
    fn pipelined_requests_get_one_whole_answer() {
        let (server, _) = server();
        let mut client = connect(&server);
        client
            .write_all(b"GET /health HTTP/1.1\r\n\r\nGET /ready HTTP/1.1\r\n\r\n")
            .unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&client);
        assert!(answer.ends_with("{\"status\":\"healthy\"}"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1);
        assert!(answer.contains("\r\nConnection: close\r\n"));
    }

    #[test]
    fn a_body_that_is_not_read_does_not_cost_the_answer() {
        let (server, _) = server();
        let mut client = connect(&server);
        client
            .write_all(b"POST /health HTTP/1.1\r\nContent-Length: 30000\r\n\r\n")
            .unwrap();
        client.write_all(&[b'x'; 30_000]).unwrap();
        assert_eq!(status(&rest(&client)), "405");
    }

    #[test]
    fn a_head_without_end_is_cut_off() {
        let (server, _) = server();
        let mut client = connect(&server);
        client.write_all(&[b'a'; 8 * 1024]).unwrap();
        assert_eq!(status(&rest(&client)), "414");
    }

    #[test]
    fn slow_clients_hold_nobody_up_and_lose_their_place() {
        let (server, clock) = server();
        let slow: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = connect(&server);
                client.write_all(b"GET /health HT").unwrap();
                client
            })
            .collect();
        for _ in 0..3 {
            assert_eq!(status(&get(&server, "/health")), "200");
        }
        clock.advance(Duration::from_secs(5));
        assert_eq!(status(&get(&server, "/health")), "200");
        // The first ones made room; the others were told.
        let told = slow.iter().filter(|client| status(&rest(client)) == "408");
        assert!(told.count() >= CLIENTS - 4);
    }

    #[test]
    fn there_are_never_more_clients_than_places() {
        let (server, _) = server();
        // Each says nothing; the last ones push the first ones out.
        let silent: Vec<_> = (0..CLIENTS + 8).map(|_| connect(&server)).collect();
        assert_eq!(status(&get(&server, "/health")), "200");
        for mut client in silent.iter().take(8) {
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed");
        }
        let mut newest = silent.last().unwrap();
        newest.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(status(&rest(newest)), "200");
    }

    #[test]
    fn a_client_that_does_not_read_is_served_as_far_as_it_goes() {
        let (server, _) = server();
        let mut deaf = connect(&server);
        deaf.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(status(&get(&server, "/health")), "200");
    }

    #[test]
    fn a_port_in_use_is_an_error_and_free_again_after_a_stop() {
        let (server, clock) = server();
        let address = server.address();
        let board = Arc::new(Board::new(Arc::new(clock.clone())));
        let error = Server::start(address, board.clone(), Arc::new(clock.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let idle = connect(&server);
        drop(server);
        drop(idle);
        let again = Server::start(address, board, Arc::new(clock)).unwrap();
        assert_eq!(status(&get(&again, "/health")), "200");
    }
}
