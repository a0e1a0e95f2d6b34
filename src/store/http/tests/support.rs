//! A server that does what a test tells it, connection by connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::{Http, HttpError, Request, Response};
use crate::plan::{Address, StorePlan, TrustedRoots};

/// A connection on the server's side.
pub(super) struct Peer<'a> {
    stream: BufReader<Box<dyn Stream>>,
    /// The how manieth it is, from 0.
    pub(super) number: usize,
    log: &'a Mutex<Vec<String>>,
}

pub(super) trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

impl Peer<'_> {
    /// Reads one request, head and body; `false` when the client has closed.
    pub(super) fn request(&mut self) -> bool {
        let mut text = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            text.push_str(&line);
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        text.push_str(&String::from_utf8(body).unwrap());
        self.log.lock().unwrap().push(text);
        true
    }

    /// Whether all of it could be sent.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = self.stream.get_mut();
        stream.write_all(bytes.as_ref()).is_ok() && stream.flush().is_ok()
    }

    /// An answer with that body, after which the connection stays open.
    pub(super) fn answer(&mut self, body: &str) -> bool {
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Answers every request so until the client goes.
    pub(super) fn answer_all(&mut self, body: &str) {
        while self.request() && self.answer(body) {}
    }

    /// Until the client closes.
    pub(super) fn hang(&mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new());
    }
}

pub(super) struct Server {
    pub(super) port: u16,
    log: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    pub(super) fn start(script: impl Fn(&mut Peer<'_>) + Send + Sync + 'static) -> Self {
        Self::start_with(|stream| Some(Box::new(stream)), script)
    }

    /// With something between socket and HTTP; `None` closes.
    pub(super) fn start_with(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
        script: impl Fn(&mut Peer<'_>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let accept = move || wrap(listener.accept().unwrap().0);
        Self::run(port, accept, script)
    }

    pub(super) fn start_unix(
        path: &Path,
        script: impl Fn(&mut Peer<'_>) + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let accept = move || {
            let stream: Box<dyn Stream> = Box::new(listener.accept().unwrap().0);
            Some(stream)
        };
        Self::run(0, accept, script)
    }

    fn run(
        port: u16,
        accept: impl Fn() -> Option<Box<dyn Stream>> + Send + 'static,
        script: impl Fn(&mut Peer<'_>) + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let server = Self {
            port,
            log: Arc::clone(&log),
            connections: Arc::clone(&connections),
        };
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for number in 0.. {
                let stream = accept();
                *connections.lock().unwrap() += 1;
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                if let Some(stream) = stream {
                    std::thread::spawn(move || {
                        script(&mut Peer {
                            stream: BufReader::new(stream),
                            number,
                            log: &log,
                        });
                    });
                }
            }
        });
        server
    }

    /// What was asked, whole.
    pub(super) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub(super) fn http(&self) -> Http {
        Http::build(&plan(false, "127.0.0.1", self.port), None).unwrap()
    }
}

pub(super) fn plan(tls: bool, host: &str, port: u16) -> StorePlan {
    StorePlan {
        name: "default".to_owned(),
        address: Address::Http {
            tls,
            host: host.to_owned(),
            port,
            prefix: String::new(),
        },
        tls: TrustedRoots::default(),
        proxy: None,
        timeout: TIMEOUT,
        max_concurrent: 4,
        max_response_bytes: 64 << 10,
    }
}

/// Longer than any test may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn get(http: &Http) -> Result<Response, HttpError> {
    http.send(&Request::get("/v1/secret/data/a", TIMEOUT))
}

pub(super) fn body(response: &Response) -> &str {
    std::str::from_utf8(response.body.expose()).unwrap()
}
