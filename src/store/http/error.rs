//! Why a request got no answer, in plain words.

use std::fmt;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use crate::failure::{ErrorType, Retry};
use crate::printable::brief;
use crate::store::StoreError;

/// The longest part of a message that the server's certificate chooses, in characters.
const LONGEST_REASON: usize = 300;

const SERVER_LOG: &str =
    "look into the log of the server, or of what stands before it; the daemon goes on trying";
pub(super) const NO_HTTP: &str =
    "let `address` name the server itself, host and port: what answers there is something else";
const STRANGE: &str = "correct `address`, `mountPath` or `key`: one holds what no request can";
const OTHER_CERTIFICATE: &str = "give the server another certificate";

/// A request that got no usable answer. It names the address, never a token or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// `unavailable`, `timeout`, `tls`, `bad_response`; `auth` and `bad_request` for what cannot
    /// be sent at all; `panic` for a defect.
    pub error_type: ErrorType,
    /// What failed, where and why: one line.
    pub message: String,
    /// What to do about it, where we know.
    pub remedy: Option<String>,
    /// Set where a pooled connection turned out to be closed before a byte of the answer came.
    pub(super) stale: bool,
    /// Set where nothing listened at any of its addresses, or no network leads there: no program was
    /// asked.
    pub(in crate::store) nobody: bool,
}

impl HttpError {
    pub(super) fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self {
            error_type,
            message: message.into(),
            remedy: None,
            stale: false,
            nobody: false,
        }
    }

    /// TLS that cannot be set up from the files that are there.
    pub(in crate::store) fn tls(message: String) -> Self {
        Self::new(ErrorType::Tls, message)
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Whether it may pass by itself: connection, TLS and time-out do; an answer that is no HTTP,
    /// or too large, and a request that cannot be sent do not.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.error_type,
            ErrorType::Unavailable | ErrorType::Timeout | ErrorType::Tls
        )
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HttpError {}

impl From<HttpError> for StoreError {
    fn from(error: HttpError) -> Self {
        let retry = if error.is_retryable() {
            Retry::Backoff(None)
        } else {
            Retry::Settled
        };
        let store = Self::new(error.error_type, retry, error.message);
        match error.remedy {
            Some(remedy) => store.with_remedy(remedy),
            None => store,
        }
    }
}

/// An error of the transport, on its way through ureq.
impl From<HttpError> for ureq::Error {
    fn from(error: HttpError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// What a request was, for the words of its error.
pub(super) struct Attempt<'a> {
    pub(super) address: &'a str,
    pub(super) timeout: Duration,
    pub(super) connect: Duration,
    pub(super) max_body: usize,
}

impl Attempt<'_> {
    pub(super) fn explain(&self, error: ureq::Error) -> HttpError {
        let address = self.address;
        let bad = |cause: String| {
            HttpError::new(
                ErrorType::BadResponse,
                format!("`{address}` does not speak proper HTTP: {cause}"),
            )
            .remedy(NO_HTTP)
        };
        match error {
            ureq::Error::Other(other) => match other.downcast::<HttpError>() {
                Ok(own) => *own,
                Err(other) => HttpError::new(
                    ErrorType::Unavailable,
                    format!("request to `{address}` failed: {other}"),
                )
                .remedy(SERVER_LOG),
            },
            ureq::Error::Io(error) => explain_io(address, "the request failed", &error),
            ureq::Error::Timeout(ureq::Timeout::Resolve) => HttpError::new(
                ErrorType::Timeout,
                format!(
                    "the name in `{address}` was not resolved within {:?}",
                    self.connect
                ),
            )
            .remedy("name servers that answer in `/etc/resolv.conf`, or write an IP address in `address`"),
            ureq::Error::Timeout(ureq::Timeout::Connect) => self.connect_timeout(),
            ureq::Error::Timeout(_) => HttpError::new(
                ErrorType::Timeout,
                format!(
                    "no complete answer from `{address}` within {:?}",
                    self.timeout
                ),
            )
            .remedy(format!(
                "raise `timeout` above {:?} where the server is slow, or find what holds it up or drops packets on \
                 the way",
                self.timeout
            )),
            ureq::Error::HostNotFound => no_such_host(address, "no address"),
            ureq::Error::LargeResponseHeader(..) => {
                bad("its response head is larger than 16 KiB".to_owned())
            }
            ureq::Error::BodyExceedsLimit(_) => self.too_large(),
            ureq::Error::Protocol(cause) => bad(cause.to_string().to_lowercase()),
            ureq::Error::Http(cause) => HttpError::new(
                ErrorType::BadRequest,
                format!("no request to `{address}` can be made of this: {cause}"),
            )
            .remedy(STRANGE),
            ureq::Error::BadUri(_) => HttpError::new(
                ErrorType::BadRequest,
                format!("no request to `{address}` can be made of this path"),
            )
            .remedy(STRANGE),
            other => HttpError::new(
                ErrorType::Unavailable,
                format!("request to `{address}` failed: {other}"),
            )
            .remedy(SERVER_LOG),
        }
    }

    pub(super) fn connect_timeout(&self) -> HttpError {
        HttpError::new(
            ErrorType::Timeout,
            format!(
                "no connection to `{}` within {:?}",
                self.address, self.connect
            ),
        )
        .remedy("correct `address`, or find what drops packets on the way: firewall, routes, proxy")
    }

    pub(super) fn too_large(&self) -> HttpError {
        HttpError::new(
            ErrorType::BadResponse,
            format!(
                "the answer of `{}` is larger than {} bytes",
                self.address, self.max_body
            ),
        )
        .remedy(format!(
            "raise `limits.maxResponseBytes` above {} if the secret is that large",
            self.max_body
        ))
    }
}

pub(super) fn no_such_host(address: &str, cause: &str) -> HttpError {
    HttpError::new(
        ErrorType::Unavailable,
        format!("the name in `{address}` cannot be resolved: {cause}"),
    )
    .remedy("correct the name in `address`, or let the name servers of this machine (`/etc/resolv.conf`) know it")
}

/// An I/O error in words. TLS errors travel inside of it.
pub(super) fn explain_io(address: &str, what: &str, error: &io::Error) -> HttpError {
    if let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return explain_tls(address, tls);
    }
    let unavailable = |cause: &str| {
        HttpError::new(
            ErrorType::Unavailable,
            format!("`{address}`: {what}: {cause}"),
        )
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => unavailable("connection refused")
            .remedy("start the server, or correct `address`: nothing listens there"),
        io::ErrorKind::NotFound => {
            unavailable("no such socket")
                .remedy("start the server, or correct `address`: the socket is not there")
        }
        io::ErrorKind::PermissionDenied => {
            unavailable("permission denied").remedy(format!(
                "let the daemon's user (uid {}) reach it: write permission on the socket, search permission on its \
                 directories",
                rustix::process::geteuid().as_raw()
            ))
        }
        io::ErrorKind::UnexpectedEof => {
            unavailable("the server closed the connection").remedy(SERVER_LOG)
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            unavailable("the server reset the connection").remedy(SERVER_LOG)
        }
        io::ErrorKind::BrokenPipe => {
            unavailable("the server closed the connection").remedy(SERVER_LOG)
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            unavailable("no route to it").remedy("correct `address`, or give the machine a route to it (`ip route get`)")
        }
        io::ErrorKind::NotConnected => unavailable("closed on our side"),
        _ => unavailable(&plain(&error.to_string())).remedy(SERVER_LOG),
    }
}

/// Whether a connection that failed so troubled no program on the other side.
pub(super) fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        // The second: no such socket file.
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
            | io::ErrorKind::NetworkUnreachable
    )
}

/// The operating system's words without its error number.
fn plain(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// Plain HTTP was sent to a TLS port.
pub(super) fn speaks_tls(address: &str) -> HttpError {
    HttpError::new(
        ErrorType::Tls,
        format!("`{address}` speaks TLS, not plain HTTP"),
    )
    .remedy("write `https://` in `address`")
}

pub(super) fn explain_tls(address: &str, error: &rustls::Error) -> HttpError {
    let tls = |cause: String| {
        HttpError::new(
            ErrorType::Tls,
            format!("TLS with `{address}` failed: {cause}"),
        )
    };
    match error {
        rustls::Error::InvalidCertificate(reason) => certificate(&tls, reason),
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => tls(
            "the server does not speak TLS".to_owned(),
        )
        .remedy("correct the port in `address`, or write `http://` there for a server without TLS"),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::HandshakeFailure
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied,
        ) => tls(format!(
            "the server refused us: {}",
            plain(&error.to_string())
        ))
        .remedy(
            "give it the client certificate that it asks for: `tlsClientCert` and `tlsClientKey`",
        ),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13
            | rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => tls("the server speaks neither TLS 1.3 nor TLS 1.2".to_owned())
            .remedy("let it speak one of them: older versions are not safe"),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            tls("the server does not know that name".to_owned())
                .remedy("set `tlsServerName` to a name that it has a certificate for")
        }
        other => tls(plain(&other.to_string())).remedy(SERVER_LOG),
    }
}

fn date(time: UnixTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

fn certificate(tls: &dyn Fn(String) -> HttpError, reason: &CertificateError) -> HttpError {
    let clock = "renew the server's certificate, or set the clock of this machine";
    match reason {
        // A bad signature: of an authority that has the name of one we know, but another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            tls("its certificate is signed by an unknown authority".to_owned())
                .remedy("name that authority's certificate in `tlsCACert`")
        }
        CertificateError::BadEncoding => {
            tls("its certificate is malformed".to_owned()).remedy(OTHER_CERTIFICATE)
        }
        CertificateError::Revoked => {
            tls("its certificate has been revoked".to_owned()).remedy(OTHER_CERTIFICATE)
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            tls("its certificate is not meant for a server".to_owned())
                .remedy("issue it with the extended key usage `serverAuth`")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            // It may bear a thousand names.
            tls(brief(&plain(&reason.to_string()), LONGEST_REASON).into_owned())
                .remedy("use a name of the certificate in `address`, or set `tlsServerName` to one")
        }
        CertificateError::Expired => tls("its certificate has expired".to_owned()).remedy(clock),
        CertificateError::ExpiredContext { not_after, .. } => tls(format!(
            "its certificate has expired: it ended {}",
            date(*not_after)
        ))
        .remedy(clock),
        CertificateError::NotValidYet => {
            tls("its certificate is not valid yet".to_owned()).remedy(clock)
        }
        CertificateError::NotValidYetContext { not_before, .. } => tls(format!(
            "its certificate is not valid yet: it begins {}",
            date(*not_before)
        ))
        .remedy(clock),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            tls("its certificate is that of an authority, not of a server".to_owned()).remedy(
                "name this very certificate in `tlsCACert`, or give the server one of its own",
            )
        }
        other => tls(plain(&other.to_string())).remedy(OTHER_CERTIFICATE),
    }
}
