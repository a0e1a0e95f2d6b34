//! An HTTP proxy that tunnels (CONNECT), for `https` and `http` targets alike.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::ProxyProtocol;
use zeroize::Zeroizing;

use super::error::HttpError;
use crate::failure::ErrorType;
use crate::plan::Proxy;

/// A proxy's answer to CONNECT is not longer.
const MAX_HEAD: usize = 8 << 10;

/// Where the proxy listens and who we are to it.
pub(super) struct Tunnel {
    pub(super) tls: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    credentials: Option<Zeroizing<String>>,
    /// For messages: no user, no password.
    pub(super) shown: String,
}

impl Tunnel {
    /// # Errors
    ///
    /// Why this proxy cannot be used.
    pub(super) fn new(proxy: &Proxy) -> Result<Self, HttpError> {
        let refuse = |why: String| {
            HttpError::new(ErrorType::Unavailable, why).remedy(
                "a proxy is written `http://host:port` or `https://host:port`, in \
                 `VAULT_PROXY_ADDR`, `HTTPS_PROXY` or `HTTP_PROXY`",
            )
        };
        let url = ureq::Proxy::new(proxy.url.expose())
            .map_err(|_| refuse("the proxy's URL cannot be understood".to_owned()))?;
        let scheme = match url.protocol() {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Https => "https",
            _ => {
                return Err(refuse(format!(
                    "proxy `{}:{}` is a SOCKS proxy, which is not supported",
                    url.host(),
                    url.port()
                )));
            }
        };
        let credentials = (url.username().is_some() || url.password().is_some()).then(|| {
            let plain = Zeroizing::new(format!(
                "{}:{}",
                url.username().unwrap_or(""),
                url.password().unwrap_or("")
            ));
            Zeroizing::new(BASE64_STANDARD.encode(plain.as_bytes()))
        });
        Ok(Self {
            tls: scheme == "https",
            host: url
                .host()
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: url.port(),
            credentials,
            shown: format!("{scheme}://{}:{}", url.host(), url.port()),
        })
    }

    /// Asks for a connection to `authority` over the connection to the proxy.
    pub(super) fn open(
        &self,
        line: &mut (impl Read + Write),
        authority: &str,
    ) -> Result<(), Refusal> {
        let mut request = Zeroizing::new(String::with_capacity(512));
        request.push_str(&format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {}\r\n",
            super::USER_AGENT
        ));
        if let Some(credentials) = &self.credentials {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(credentials);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        line.write_all(request.as_bytes()).map_err(Refusal::Io)?;
        line.flush().map_err(Refusal::Io)?;
        match status(line).map_err(Refusal::Io)? {
            Some(200..=299) => Ok(()),
            other => Err(Refusal::Status(other)),
        }
    }

    /// A refusal in words.
    pub(super) fn refused(&self, address: &str, status: Option<u16>) -> HttpError {
        let proxy = &self.shown;
        let refused = |cause: String| {
            HttpError::new(
                ErrorType::Unavailable,
                format!("proxy `{proxy}` does not connect us to `{address}`: {cause}"),
            )
        };
        match status {
            Some(407) => refused("it asks for a user and a password (407)".to_owned())
                .remedy("write the proxy as `http://USER:PASSWORD@host:port`, and restart"),
            Some(status) => refused(format!("status {status}")).remedy(
                "let the proxy allow CONNECT to it, or name its host in `NO_PROXY` and restart",
            ),
            None => refused("its answer is no HTTP".to_owned())
                .remedy("correct the proxy in the environment, or name the host in `NO_PROXY`"),
        }
    }
}

/// Why there is no tunnel.
pub(super) enum Refusal {
    /// The proxy said no, or something that is no status.
    Status(Option<u16>),
    /// The connection to the proxy broke.
    Io(io::Error),
}

/// Reads a response head, byte by byte so that none of what follows is taken, and gives its
/// status.
fn status(line: &mut impl Read) -> io::Result<Option<u16>> {
    let mut head = Vec::with_capacity(256);
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Ok(None);
        }
        if line.read(&mut byte)? == 0 {
            return if head.is_empty() {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(None)
            };
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split([' ', '\r']);
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.parse().ok());
    Ok(status.filter(|_| http))
}
