//! The tests' own HTTP client: one exchange over TCP, TLS or a unix socket.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;

use super::wire::{self, Headers};

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// Plain HTTP on a loopback port.
    Http(u16),
    /// HTTPS on a loopback port, trusted by this authority's file.
    Https(u16, PathBuf),
    /// HTTP on a unix socket.
    Unix(PathBuf),
}

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200, 403, …
    pub status: u16,
    /// As sent.
    pub headers: Headers,
    /// Whole and unchunked.
    pub body: Vec<u8>,
}

/// A connection of any kind.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Endpoint {
    /// As in `secretStore.address`.
    pub fn url(&self) -> String {
        match self {
            Self::Http(port) => format!("http://127.0.0.1:{port}"),
            Self::Https(port, _) => format!("https://127.0.0.1:{port}"),
            Self::Unix(path) => format!("unix://{}", path.display()),
        }
    }

    /// A new connection; no read or write on it takes longer than `patience`.
    pub fn connect(&self, patience: Duration) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Http(port) => Ok(Box::new(tcp(*port, patience)?)),
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                Ok(Box::new(stream))
            }
            Self::Https(port, ca) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
                    let certificate = certificate.map_err(io::Error::other)?;
                    roots.add(certificate).map_err(io::Error::other)?;
                }
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let config = rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(io::Error::other)?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
                let session = rustls::ClientConnection::new(Arc::new(config), name)
                    .map_err(io::Error::other)?;
                let stream = rustls::StreamOwned::new(session, tcp(*port, patience)?);
                Ok(Box::new(stream))
            }
        }
    }

    /// One request on a connection of its own.
    pub fn exchange(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut stream = BufReader::new(self.connect(Duration::from_secs(30))?);
        let mut headers = headers.to_vec();
        headers.push(("Connection", "close"));
        send(stream.get_mut(), method, target, &headers, body)?;
        receive(&mut stream)
    }

    /// `GET target` of a server that may be in trouble, which is not waited for.
    pub(super) fn glance(&self, target: &str) -> io::Result<Answer> {
        let mut stream = BufReader::new(self.connect(Duration::from_secs(1))?);
        let headers = [("Connection", "close")];
        send(stream.get_mut(), "GET", target, &headers, b"")?;
        receive(&mut stream)
    }

    /// `GET target`.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        match self.exchange("GET", target, &[], b"") {
            Ok(answer) => answer,
            Err(error) => panic!("GET {}{target}: {error}", self.url()),
        }
    }
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::header(&self.headers, name)
    }
}

/// Writes a request; `Host` and `Content-Length` are added where missing.
pub fn send(
    to: &mut dyn Stream,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    let has = |name: &str| {
        headers
            .iter()
            .any(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    if !has("host") {
        text.push_str("Host: 127.0.0.1\r\n");
    }
    let bodiless = body.is_empty() && method == "GET";
    if !bodiless && !has("content-length") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads an answer.
pub fn receive(from: &mut BufReader<Box<dyn Stream>>) -> io::Result<Answer> {
    let (first, headers) =
        wire::read_head(from)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no status line: `{first}`")))?;
    let body = if status == 204 || status == 304 {
        Vec::new()
    } else {
        wire::read_body(from, &headers, true)?
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}

fn tcp(port: u16, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
