//! Makes connections: looks names up, connects, asks the proxy, and speaks TLS.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::bounded;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};

use super::HttpError;
use super::error::{explain_io, explain_tls, is_nobody, no_such_host};
use super::line::{Line, Path, Socket, Stream, Timed, Tls, moment};
use super::origin::Origin;
use super::proxy::{Refusal, Tunnel};
use crate::clock::{Clock, Tick, Woken, wait};
use crate::failure::ErrorType;

/// Stack of the short-lived thread that looks a name up.
const LOOKUP_STACK: usize = 128 << 10;

/// More addresses of one name are not tried.
const MAX_ADDRESSES: usize = 16;

/// The route from here to the server. ureq is told of neither proxy nor TLS settings: all of it
/// is here.
pub(super) struct Route {
    pub(super) origin: Origin,
    pub(super) hop: Hop,
    /// With the server; `None` speaks plain HTTP.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// With the proxy.
    pub(super) proxy_tls: Option<Arc<ClientConfig>>,
    /// The name that the server's certificate must bear, and that is asked for.
    pub(super) server_name: String,
    pub(super) address: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Whom the socket is connected to.
pub(super) enum Hop {
    Server,
    Proxy(Tunnel),
    Unix(PathBuf),
}

/// The connector and the resolver of one agent.
#[derive(Clone)]
pub(super) struct Dialer(pub(super) Arc<Route>);

impl Resolver for Dialer {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let until = moment(&*self.0.clock, timeout);
        let mut addresses = self.empty();
        for address in self.addresses(until, timeout.reason)? {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// At least one address. The system's resolver cannot be interrupted, so it works on a thread of
/// its own that is left behind when the time is up.
fn look_up(
    clock: &dyn Clock,
    named: &str,
    host: &str,
    port: u16,
    (until, reason): (Option<Tick>, ureq::Timeout),
) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (answer, answers) = bounded(1);
    let name = host.to_owned();
    std::thread::Builder::new()
        .name("lookup".to_owned())
        .stack_size(LOOKUP_STACK)
        .spawn(move || {
            let found = (name.as_str(), port)
                .to_socket_addrs()
                .map(|addresses| addresses.take(MAX_ADDRESSES).collect::<Vec<_>>());
            let _ = answer.send(found);
        })
        .map_err(|error| {
            HttpError::new(
                ErrorType::Unavailable,
                format!("cannot look `{host}` up: no thread: {error}"),
            )
            .remedy(crate::failure::MORE_THREADS)
        })?;
    match wait(clock, &answers, until) {
        Woken::Message(Ok(addresses)) if addresses.is_empty() => {
            Err(no_such_host(named, "no address").into())
        }
        Woken::Message(Ok(addresses)) => Ok(addresses),
        Woken::Message(Err(error)) => {
            let text = error.to_string();
            let cause = text
                .trim_start_matches("failed to lookup address information: ")
                .to_lowercase();
            Err(no_such_host(named, &cause).into())
        }
        Woken::Due => Err(ureq::Error::Timeout(reason)),
        Woken::Closed => Err(no_such_host(named, "look-up failed").into()),
    }
}

impl Connector for Dialer {
    type Out = Line;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Line>, ureq::Error> {
        let until = moment(&*self.0.clock, details.timeout);
        let stream = self.open(&details.addrs, until, details.timeout.reason, |socket| {
            (details.register_shutdown)(socket)
        })?;
        Ok(Some(Line::new(stream, Arc::clone(&self.0.address))))
    }
}

impl Dialer {
    /// At least one address of whom the socket is to be connected to; nothing in particular for a Unix
    /// socket.
    pub(super) fn addresses(
        &self,
        until: Option<Tick>,
        reason: ureq::Timeout,
    ) -> Result<Vec<SocketAddr>, ureq::Error> {
        let route = &*self.0;
        let (host, port, named) = match &route.hop {
            Hop::Server => (
                route.origin.bare_host(),
                route.origin.port(),
                &*route.address,
            ),
            Hop::Proxy(tunnel) => (tunnel.host.as_str(), tunnel.port, tunnel.shown.as_str()),
            Hop::Unix(_) => return Ok(vec![SocketAddr::from(([0, 0, 0, 0], 0))]),
        };
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        look_up(&*route.clock, named, host, port, (until, reason))
    }

    /// Connects to one of the addresses, asks the proxy, and speaks TLS. `connected` is told the socket
    /// before any exchange on it, so that an abort interrupts that too.
    pub(super) fn open(
        &self,
        addresses: &[SocketAddr],
        until: Option<Tick>,
        reason: ureq::Timeout,
        connected: impl FnOnce(Weak<Socket>) -> Result<(), ureq::Error>,
    ) -> Result<Stream, ureq::Error> {
        let clock = &self.0.clock;
        let timed_out = || ureq::Error::Timeout(reason);
        let socket = self.socket(addresses, until, reason)?;
        let socket = socket.prepared().map_err(|error| {
            ureq::Error::from(explain_io(&self.0.address, "cannot connect", &error))
        })?;
        let socket = Arc::new(socket);
        connected(Arc::downgrade(&socket))?;

        let route = &*self.0;
        let mut path = Path::Direct(Timed::new(socket, Arc::clone(clock), until));
        if let Hop::Proxy(tunnel) = &route.hop {
            if let Some(config) = &route.proxy_tls
                && let Path::Direct(timed) = path
            {
                let tls = handshake(config, &tunnel.host, timed)
                    .map_err(|failed| failed.explain(&tunnel.shown, &timed_out))?;
                path = Path::Proxied(Box::new(tls));
            }
            tunnel
                .open(&mut path, &route.origin.authority())
                .map_err(|refusal| match refusal {
                    Refusal::Io(error) if error.kind() == io::ErrorKind::TimedOut => timed_out(),
                    Refusal::Io(error) => {
                        explain_io(&tunnel.shown, "the proxy failed", &error).into()
                    }
                    Refusal::Status(status) => tunnel.refused(&route.address, status).into(),
                })?;
        }
        Ok(match &route.tls {
            Some(config) => Stream::Tls(Box::new(
                handshake(config, &route.server_name, path)
                    .map_err(|failed| failed.explain(&route.address, &timed_out))?,
            )),
            None => Stream::Plain(path),
        })
    }

    fn socket(
        &self,
        addresses: &[SocketAddr],
        until: Option<Tick>,
        reason: ureq::Timeout,
    ) -> Result<Socket, ureq::Error> {
        let route = &*self.0;
        if let Hop::Unix(path) = &route.hop {
            return UnixStream::connect(path)
                .map(Socket::Unix)
                .map_err(|error| no_connection(&route.address, &error, is_nobody(&error)));
        }
        let named = match &route.hop {
            Hop::Proxy(tunnel) => tunnel.shown.as_str(),
            _ => &route.address,
        };
        let mut last = None;
        let mut nobody = true;
        let mut left_over = addresses.len();
        for address in addresses {
            // Each gets its share of the time that is left, so that one which swallows packets
            // does not keep us from the next.
            let share = match until {
                Some(until) => {
                    let left = until.since(route.clock.now());
                    let shares = u32::try_from(left_over).unwrap_or(1).max(1);
                    left / shares
                }
                None => Duration::from_secs(10),
            };
            left_over -= 1;
            if share.is_zero() {
                return Err(ureq::Error::Timeout(reason));
            }
            match TcpStream::connect_timeout(address, share) {
                Ok(stream) => {
                    // Requests are small and answered one by one: Nagle only delays them.
                    let _ = stream.set_nodelay(true);
                    return Ok(Socket::Tcp(stream));
                }
                Err(error) => {
                    nobody &= is_nobody(&error);
                    last = Some(error);
                }
            }
        }
        match last {
            Some(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(ureq::Error::Timeout(ureq::Timeout::Connect))
            }
            Some(error) => Err(no_connection(named, &error, nobody)),
            None => Err(no_such_host(named, "no address").into()),
        }
    }
}

fn no_connection(named: &str, error: &io::Error, nobody: bool) -> ureq::Error {
    HttpError {
        nobody,
        ..explain_io(named, "cannot connect", error)
    }
    .into()
}

/// Why there is no TLS.
enum HandshakeFailed {
    Name(String),
    Tls(rustls::Error),
    Io(io::Error),
}

impl HandshakeFailed {
    fn explain(self, address: &str, timed_out: &dyn Fn() -> ureq::Error) -> ureq::Error {
        match self {
            Self::Name(name) => HttpError::new(
                ErrorType::Tls,
                format!(
                    "TLS with `{address}` failed: `{name}` is no name that a certificate can bear"
                ),
            )
            .remedy("set `tlsServerName` to a name of the server's certificate")
            .into(),
            Self::Tls(error) => explain_tls(address, &error).into(),
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => timed_out(),
            Self::Io(error) => explain_io(address, "the TLS handshake failed", &error).into(),
        }
    }
}

/// A server that refuses us says why and closes; who still writes then finds it closed, with the
/// reason unread.
fn parting_words(
    conn: &mut ClientConnection,
    stream: &mut impl io::Read,
    error: io::Error,
) -> HandshakeFailed {
    let closed = matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    );
    while closed && matches!(conn.read_tls(stream), Ok(1..)) {
        if let Err(said) = conn.process_new_packets() {
            return HandshakeFailed::Tls(said);
        }
    }
    HandshakeFailed::Io(error)
}

fn handshake<S: io::Read + io::Write>(
    config: &Arc<ClientConfig>,
    name: &str,
    mut stream: S,
) -> Result<Tls<S>, HandshakeFailed> {
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| HandshakeFailed::Name(name.to_owned()))?;
    let mut conn =
        ClientConnection::new(Arc::clone(config), server).map_err(HandshakeFailed::Tls)?;
    while conn.is_handshaking() {
        if let Err(error) = conn.complete_io(&mut stream) {
            return Err(parting_words(&mut conn, &mut stream, error));
        }
    }
    Ok(Tls::new(conn, stream))
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialer({})", self.0.address)
    }
}
