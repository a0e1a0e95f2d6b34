//! A server that answers, or misbehaves, as a closure says, and remembers what it was asked.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::Endpoint;
use super::wire::{self, Headers};

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// As sent.
    pub headers: Headers,
    /// Whole.
    pub body: Vec<u8>,
    /// When its last byte had come.
    pub at: Instant,
    /// Which connection brought it, counted from 0.
    pub connection: usize,
    /// How many requests were open at that moment, itself included.
    pub open: usize,
    /// The answer's status, once it was sent; `None` for misbehaviour.
    pub status: Option<u16>,
}

/// A proper answer. `Content-Length` is added.
#[derive(Clone, Debug)]
pub struct Response {
    /// 200, 403, …
    pub status: u16,
    /// Further headers.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answers and keeps the connection.
    Respond(Response),
    /// Answers, then closes without having said so: the client's pooled connection is stale.
    RespondAndClose(Response),
    /// Answers, adds an answer that nobody asked for, and keeps the connection.
    RespondAndMore(Response, Response),
    /// Writes these bytes, whatever they are, and closes.
    Raw(Vec<u8>),
    /// Announces the whole body, sends so many bytes of it, and closes.
    HalfBody(Response, usize),
    /// Sends the answer byte by byte, with this pause between two.
    Slow(Response, Duration),
    /// Waits, then acts.
    Delay(Duration, Box<Action>),
    /// Never answers; the connection stays open as long as client and server live.
    Hang,
    /// Closes without a word.
    Close,
    /// Closes with a TCP reset.
    Reset,
}

/// The server; it and its connections end when this is dropped.
pub struct ScriptedServer {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

type Handler = dyn Fn(&Request) -> Action + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    open: usize,
    connections: usize,
    /// Of the live ones, to cut them at the end.
    streams: Vec<(usize, TcpStream)>,
    stopping: bool,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::header(&self.headers, name)
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether it is this method on this path (without `/v1/`; a query is not looked at).
    pub fn is(&self, method: &str, path: &str) -> bool {
        let target = self.target.split('?').next().unwrap_or_default();
        self.method == method && target.strip_prefix("/v1/") == Some(path)
    }
}

impl Response {
    /// JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        super::canary::remember_secret(body);
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// `{"errors": [error]}`, as the server refuses.
    pub fn error(status: u16, error: &str) -> Self {
        Self::json(status, &serde_json::json!({ "errors": [error] }))
    }

    /// With a further header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Shorthand for [`Action::Respond`].
    pub fn act(self) -> Action {
        Action::Respond(self)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        let lengthless = self.status == 204 || self.status == 304;
        if !lengthless && wire::header(&self.headers, "content-length").is_none() {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl ScriptedServer {
    /// Listens on a free loopback port. The closure may be called by several connections at once.
    pub fn start(handler: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accepting.accept(&listener));
        Self {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Http(self.port)
    }

    /// As in `secretStore.address`.
    pub fn address(&self) -> String {
        self.endpoint().url()
    }

    /// All requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// How many of them `wanted` takes.
    pub fn count(&self, wanted: impl Fn(&Request) -> bool) -> usize {
        self.requests()
            .iter()
            .filter(|request| wanted(request))
            .count()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// The most requests that were open at once.
    pub fn most_open(&self) -> usize {
        self.requests()
            .iter()
            .map(|request| request.open)
            .max()
            .unwrap_or(0)
    }

    /// Waits until `wanted` takes `number` requests, and gives those.
    #[track_caller]
    pub fn wait_for(
        &self,
        number: usize,
        within: Duration,
        wanted: impl Fn(&Request) -> bool,
    ) -> Vec<Request> {
        let end = Instant::now() + within;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            let found: Vec<_> = state
                .requests
                .iter()
                .filter(|r| wanted(r))
                .cloned()
                .collect();
            if found.len() >= number {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let all: Vec<_> = state
                    .requests
                    .iter()
                    .map(|r| format!("{} {}", r.method, r.target))
                    .collect();
                drop(state);
                panic!(
                    "{} of {number} requests within {within:?}; all: {all:?}",
                    found.len()
                );
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        self.shared.state.lock().unwrap().requests.clear();
    }

    /// Cuts every connection; new ones are welcome.
    pub fn cut(&self) {
        for (_, stream) in &self.shared.state.lock().unwrap().streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().stopping = true;
        self.shared.changed.notify_all();
        self.cut();
        let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let _ = stream.set_nodelay(true);
            let connection = {
                let mut state = self.state.lock().unwrap();
                if state.stopping {
                    return;
                }
                let connection = state.connections;
                state.connections += 1;
                state
                    .streams
                    .push((connection, stream.try_clone().unwrap()));
                connection
            };
            let shared = Arc::clone(&self);
            std::thread::spawn(move || {
                // A client that goes away in the middle is part of many tests.
                let _ = shared.serve(&stream, connection);
                let mut state = shared.state.lock().unwrap();
                state.streams.retain(|(number, _)| *number != connection);
                // The clone in `streams` is gone, so this closes the connection.
                drop(stream);
            });
        }
    }

    fn serve(&self, stream: &TcpStream, connection: usize) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some((first, headers)) = wire::read_head(&mut reader)? {
            let body = wire::read_body(&mut reader, &headers, false)?;
            let mut words = first.split(' ').map(str::to_owned);
            let closes = wire::header(&headers, "connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("close"));
            let mut request = Request {
                method: words.next().unwrap_or_default(),
                target: words.next().unwrap_or_default(),
                headers,
                body,
                at: Instant::now(),
                connection,
                open: 0,
                status: None,
            };
            let number = self.arrived(&mut request);
            let mut action = (self.handler)(&request);
            while let Action::Delay(time, next) = action {
                self.pause(time);
                action = *next;
            }
            let keep = self.act(stream, &action, number);
            self.state.lock().unwrap().open -= 1;
            if !keep? || closes {
                break;
            }
        }
        Ok(())
    }

    /// Does it; says whether the connection stays.
    fn act(&self, mut stream: &TcpStream, action: &Action, number: Instant) -> io::Result<bool> {
        match action {
            Action::Respond(response) | Action::RespondAndClose(response) => {
                // Noted before it is sent: whoever has the answer finds it in the records.
                self.answered(number, response.status);
                stream.write_all(&response.bytes())?;
                return Ok(matches!(action, Action::Respond(_)));
            }
            Action::RespondAndMore(response, more) => {
                self.answered(number, response.status);
                stream.write_all(&[response.bytes(), more.bytes()].concat())?;
                return Ok(true);
            }
            Action::Raw(bytes) => stream.write_all(bytes)?,
            Action::HalfBody(response, length) => {
                let whole = response.bytes();
                let head = whole.len() - response.body.len();
                stream.write_all(&whole[..head + length.min(&response.body.len())])?;
            }
            Action::Slow(response, pause) => {
                self.answered(number, response.status);
                for byte in response.bytes() {
                    stream.write_all(&[byte])?;
                    if self.pause(*pause) {
                        break;
                    }
                }
                return Ok(true);
            }
            Action::Hang => {
                let mut rest = [0; 1024];
                while stream.read(&mut rest)? > 0 {}
            }
            Action::Reset => rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?,
            Action::Close | Action::Delay(..) => {}
        }
        Ok(false)
    }

    fn arrived(&self, request: &mut Request) -> Instant {
        let mut state = self.state.lock().unwrap();
        state.open += 1;
        request.open = state.open;
        state.requests.push(request.clone());
        self.changed.notify_all();
        request.at
    }

    fn answered(&self, at: Instant, status: u16) {
        let mut state = self.state.lock().unwrap();
        if let Some(request) = state
            .requests
            .iter_mut()
            .rev()
            .find(|request| request.at == at)
        {
            request.status = Some(status);
        }
        self.changed.notify_all();
    }

    /// Waits; true when the server ends meanwhile.
    fn pause(&self, time: Duration) -> bool {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, time, |state| !state.stopping);
        waited.unwrap().0.stopping
    }
}
