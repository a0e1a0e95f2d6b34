//! What a connection shows before anything is asked on it.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use ureq::Timeout;

use super::HttpError;
use super::dial::{Dialer, Hop};
use super::error::Attempt;
use super::line::Stream;

/// What was seen on the way to a server.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of the server's name, or of the proxy's; none for a Unix socket.
    pub addresses: Vec<SocketAddr>,
    /// How long looking the name up took.
    pub resolved_in: Duration,
    /// How long connecting took, with proxy and TLS.
    pub connected_in: Duration,
    /// The server's certificate and those it sent along; none where no TLS is spoken.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The version of TLS, such as `TLSv1_3`.
    pub tls: Option<String>,
}

/// Connects as a request does, and hangs up.
pub(super) fn look(dialer: &Dialer, within: Duration) -> Result<Seen, HttpError> {
    let route = &*dialer.0;
    let attempt = Attempt {
        address: &route.address,
        timeout: within,
        connect: within,
        max_body: 0,
    };
    let begun = route.clock.now();
    let until = Some(begun + within);
    let addresses = dialer
        .addresses(until, Timeout::Resolve)
        .map_err(|error| attempt.explain(error))?;
    let resolved = route.clock.now();
    let stream = dialer
        .open(&addresses, until, Timeout::Connect, |_| Ok(()))
        .map_err(|error| attempt.explain(error))?;
    let connected = route.clock.now();
    let (certificates, tls) = match &stream {
        Stream::Tls(tls) => (
            tls.conn.peer_certificates().unwrap_or_default().to_vec(),
            tls.conn
                .protocol_version()
                .map(|version| format!("{version:?}")),
        ),
        Stream::Plain(_) => (Vec::new(), None),
    };
    Ok(Seen {
        addresses: match &route.hop {
            Hop::Unix(_) => Vec::new(),
            _ => addresses,
        },
        resolved_in: resolved.since(begun),
        connected_in: connected.since(resolved),
        certificates,
        tls,
    })
}
