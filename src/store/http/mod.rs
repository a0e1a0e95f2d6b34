//! HTTP to one server: connections, TLS, proxy, limits, and errors in plain words.
//!
//! Knows no API: a path goes in, a status and bytes come out. One [`Http`] is shared by all
//! threads that use the same address and the same certificates, and is made anew when a
//! certificate's content changes. It neither retries nor waits, but for one case: what may be
//! sent twice ([`Request::idempotent`]) and met a pooled connection that the server had closed is
//! sent once more, at once, on a new one. Time-outs are moments on the clock that is handed in, so
//! that they hold over a suspended machine; only the kernel's own connecting has its own time.
//!
//! Redirects: one is followed on the same origin, with the same method, body and token; any other
//! is `unavailable`. The proxy is the plan's; the environment is never asked.

mod buffers;
mod dial;
mod error;
mod line;
mod look;
mod origin;
mod proxy;
mod request;
mod response;
mod span;
mod tls;

#[cfg(test)]
mod tests;

pub use error::HttpError;
pub use look::Seen;
pub use request::{Method, Request};
pub use response::Response;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::LOCATION;
use ureq::http::{HeaderMap, Uri};

use self::buffers::BUFFER_BYTES;
use self::dial::{Dialer, Hop, Route};
use self::error::Attempt;
use self::origin::{Origin, Refused};
use self::proxy::Tunnel;
use self::response::{BodyFault, read_body};
use crate::clock::{Clock, Stop, SystemClock, Tick};
use crate::failure::ErrorType;
use crate::observe::trace::Span;
use crate::plan::tls::{self as files, ClientIdentity, FileFault, Roots, TlsFileError};
use crate::plan::{Address, StorePlan, TlsFiles};
use crate::printable::brief;
use crate::secret::SecretBytes;
use crate::store::limiter::InFlight;

/// What every request calls itself.
pub(crate) const USER_AGENT: &str = concat!("secrets-sync/", env!("CARGO_PKG_VERSION"));

/// Looking the name up may take as long, and connecting (proxy and TLS included) may too.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);

/// The longest name of a place that a redirect names, in characters.
const LONGEST_PLACE: usize = 300;

/// So many large answers of one server are read or kept at a time.
const LARGE_AT_ONCE: usize = 2;

/// A connection that was idle for longer is not used again: firewalls and balancers forget it.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// The certificates and keys that connections to one store use, as they are on disk now. Two are
/// equal when their content is.
#[derive(Clone, Debug, Default)]
pub struct Material {
    roots: Option<Roots>,
    identity: Option<ClientIdentity>,
}

impl Material {
    /// Reads what a store's connections need: nothing, where no TLS is spoken.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used.
    pub fn load(store: &StorePlan, client: Option<&TlsFiles>) -> Result<Self, TlsFileError> {
        let to_server = matches!(&store.address, Address::Http { tls: true, .. });
        let to_proxy = matches!(tunnel(store), Some(Ok(tunnel)) if tunnel.tls);
        if !to_server && !to_proxy {
            return Ok(Self::default());
        }
        Ok(Self {
            roots: Some(files::load_roots(&store.tls)?),
            identity: client
                .filter(|_| to_server)
                .map(files::load_client)
                .transpose()?,
        })
    }
}

impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        self.roots.as_ref().map(Roots::hash) == other.roots.as_ref().map(Roots::hash)
            && self.identity.as_ref().map(ClientIdentity::hash)
                == other.identity.as_ref().map(ClientIdentity::hash)
    }
}

/// A pool of connections to one server. Clones share it.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    route: Arc<Route>,
    material: Arc<Material>,
    /// Why no request can be made at all.
    fault: Option<HttpError>,
    max_body: usize,
    /// For large answers. Real ones have some kilobytes; a hundred of the largest that are allowed, all
    /// at once, would take up the memory of the machine.
    room: InFlight,
}

impl Http {
    /// Reads the files that connections to this store need, and makes the agent, on the machine's
    /// clock. No connection is made before the first request.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used.
    pub fn build(store: &StorePlan, client: Option<&TlsFiles>) -> Result<Self, TlsFileError> {
        Self::new(store, Material::load(store, client)?, Arc::new(SystemClock))
    }

    /// Makes the agent from what was read.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up from it.
    pub fn new(
        store: &StorePlan,
        material: Material,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsFileError> {
        let origin = Origin::new(&store.address);
        let (hop, fault) = match (&store.address, tunnel(store)) {
            (Address::Unix(path), _) => (Hop::Unix(path.clone()), None),
            (_, None) => (Hop::Server, None),
            (_, Some(Ok(tunnel))) => (Hop::Proxy(tunnel), None),
            (_, Some(Err(fault))) => (Hop::Server, Some(fault)),
        };
        let roots = material.roots.as_ref().filter(|_| !store.tls.skip_verify);
        let config = |wanted: bool, identity: Option<&ClientIdentity>| {
            wanted
                .then(|| tls::client_config(roots, identity))
                .transpose()
                .map_err(|cause| TlsFileError {
                    path: PathBuf::new(),
                    fault: FileFault::Malformed,
                    message: format!("TLS cannot be set up: {cause}"),
                    help: None,
                })
        };
        let tls = config(origin.tls(), material.identity.as_ref())?;
        // The proxy is not the one whom the client certificate is for.
        let proxy_tls = config(matches!(&hop, Hop::Proxy(tunnel) if tunnel.tls), None)?;
        let server_name = store
            .tls
            .server_name
            .clone()
            .unwrap_or_else(|| origin.bare_host().to_owned());
        let route = Arc::new(Route {
            address: Arc::from(origin.shown()),
            origin,
            hop,
            tls,
            proxy_tls,
            server_name,
            clock,
        });
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .accept_encoding("")
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            // One less than fits, so that ureq notices before the buffer is full.
            .max_response_header_size(BUFFER_BYTES - 1)
            .max_idle_connections(store.max_concurrent)
            .max_idle_connections_per_host(store.max_concurrent)
            .max_idle_age(LONGEST_IDLE)
            .build();
        let dialer = Dialer(Arc::clone(&route));
        Ok(Self {
            agent: Agent::with_parts(config, dialer.clone(), dialer),
            route,
            material: Arc::new(material),
            fault,
            max_body: store.max_response_bytes,
            room: InFlight::new(LARGE_AT_ONCE),
        })
    }

    /// What it was made from, to see whether a file's content has changed since.
    #[must_use]
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// The address as messages name it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.route.address
    }

    /// Makes one connection and lets it go: for people who look for trouble.
    ///
    /// # Errors
    ///
    /// As for a request that gets no connection.
    pub fn look(&self, within: Duration) -> Result<Seen, HttpError> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => look::look(&Dialer(Arc::clone(&self.route)), within),
        }
    }

    /// Interrupts every request under way and refuses new ones, on all clones. A name look-up or a
    /// TCP connect under way is not interrupted: their time-outs bound them.
    pub fn abort(&self) {
        self.agent.clone().shutdown();
    }

    /// Sends a request and reads the whole answer, of whatever status.
    ///
    /// # Errors
    ///
    /// When there is no answer, or none that can be used: see [`HttpError`].
    pub fn send(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        self.send_counted(request, &mut || {})
    }

    /// The same; `again` is called before the request goes out once more (after a redirect, or where
    /// the pool gave us a closed connection): three times at most.
    ///
    /// # Errors
    ///
    /// As [`Http::send`].
    pub fn send_counted(
        &self,
        request: &Request<'_>,
        again: &mut dyn FnMut(),
    ) -> Result<Response, HttpError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let origin = &self.route.origin;
        let until = self.route.clock.now() + request.timeout;
        let mut url = origin.url(request.path, request.query);
        let mut redirected = false;
        let resends = Cell::new(0);
        let again = &mut || {
            resends.set(resends.get() + 1);
            again();
        };
        loop {
            let (location, done) = match self.send_once(request, &url, until, (again, &resends))? {
                Answer::Final(response) => return Ok(response),
                Answer::Redirect { location, done } => (location, done),
            };
            let from: Uri = url.parse().unwrap_or_default();
            let target = match origin.redirect(&from, &location) {
                _ if done => Err(Refused::Done),
                Ok(_) if redirected => Err(Refused::Again),
                target => target,
            };
            url = target.map_err(|refused| self.not_followed(request, &refused))?;
            redirected = true;
            again();
        }
    }

    fn not_followed(&self, request: &Request<'_>, why: &Refused) -> HttpError {
        let proxy = "look at the proxy or load balancer before the server: the API redirects to its \
                     leader alone";
        let (what, remedy) = match why {
            Refused::Done => ("a POST".to_owned(), proxy),
            Refused::Again => ("more than once".to_owned(), proxy),
            Refused::Nowhere => ("to nowhere".to_owned(), proxy),
            Refused::NoUrl => ("to what is no URL".to_owned(), proxy),
            Refused::Elsewhere(place) if request.is_echoed_in(place) => (
                "to a place whose name holds what was sent".to_owned(),
                "look at who answers at `address`: no server of the API does that",
            ),
            Refused::Elsewhere(place) => (
                format!("to `{}`", brief(place, LONGEST_PLACE)),
                "if that is where the server is now, write it in `address`",
            ),
        };
        HttpError::new(
            ErrorType::Unavailable,
            format!("`{}` redirects {what}: not followed", self.address()),
        )
        .remedy(remedy)
    }

    /// Once, and again where the pool gave us a closed connection.
    fn send_once(
        &self,
        request: &Request<'_>,
        url: &str,
        until: Tick,
        (again, resends): (&mut dyn FnMut(), &Cell<i64>),
    ) -> Result<Answer, HttpError> {
        let once = |max_idle| {
            let mut span = span::begin(&self.route.origin, request, url, resends.get());
            let result = self.exchange(request, url, (until, max_idle), &mut span);
            span::over(span, result)
        };
        match once(LONGEST_IDLE) {
            Err(error) if error.stale && request.idempotent => {
                again();
                // The others in the pool may be just as dead: a new one.
                once(Duration::ZERO)
            }
            result => result,
        }
    }

    fn exchange(
        &self,
        request: &Request<'_>,
        url: &str,
        (until, max_idle): (Tick, Duration),
        span: &mut Span,
    ) -> Result<Answer, HttpError> {
        let attempt = Attempt {
            address: self.address(),
            timeout: request.timeout,
            connect: request.timeout.min(LONGEST_CONNECT),
            max_body: self.max_body,
        };
        let left = until.since(self.route.clock.now());
        let headers = request.headers()?;
        // A panic in the client is a failure of this request, and no more.
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let response = self
                .call(request, url, headers, (left, attempt.connect, max_idle))
                .map_err(|error| attempt.explain(error))?;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            span::answered(span, status, parts.version);
            if let 301 | 302 | 303 | 307 | 308 = status {
                let location = response::text(&parts.headers, &LOCATION).unwrap_or("");
                return Ok(Answer::Redirect {
                    location: location.to_owned(),
                    // The request has been carried out, and would be a second time.
                    done: status == 303 && request.method != Method::Get,
                });
            }
            let clock = &*self.route.clock;
            let place = || self.room.acquire(clock, &Stop::never(), until).ok();
            read_body(&parts.headers, body.into_reader(), self.max_body, place)
                .map(|body| Answer::Final(Response::new(status, &parts.headers, body)))
                .map_err(|fault| match fault {
                    BodyFault::TooLarge => attempt.too_large(),
                    BodyFault::NoRoom => {
                        attempt.explain(ureq::Error::Timeout(ureq::Timeout::Global))
                    }
                    BodyFault::Broken(error) => attempt.explain(error),
                })
        }));
        match answer {
            Ok(Ok(Answer::Final(response))) if self.is_wrong_scheme(&response) => {
                Err(error::speaks_tls(self.address()))
            }
            Ok(result) => result,
            Err(_) => Err(HttpError::new(
                ErrorType::Panic,
                format!(
                    "the HTTP client failed on a request to `{}`",
                    self.address()
                ),
            )
            .remedy(crate::failure::REPORT)),
        }
    }

    fn call(
        &self,
        request: &Request<'_>,
        url: &str,
        headers: HeaderMap,
        (left, connect, max_idle): (Duration, Duration, Duration),
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut head = ureq::http::Request::builder()
            .method(request.method.http())
            .uri(url);
        if let Some(own) = head.headers_mut() {
            *own = headers;
        }
        match request.method {
            Method::Get => self.run(head.body(())?, left, connect, max_idle),
            Method::Post | Method::Put => {
                let body = request.body.map_or(&[][..], SecretBytes::expose);
                self.run(head.body(body)?, left, connect, max_idle)
            }
        }
    }

    fn run<S: ureq::AsSendBody>(
        &self,
        request: ureq::http::Request<S>,
        left: Duration,
        connect: Duration,
        max_idle: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(left))
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .max_idle_age(max_idle)
            .build();
        self.agent.run(request)
    }

    /// Servers in Go, and nginx, answer plain HTTP on a TLS port in plain HTTP.
    fn is_wrong_scheme(&self, response: &Response) -> bool {
        let body = response.body.expose();
        let says = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
        response.status == 400
            && !self.route.origin.tls()
            && body.len() < 1024
            && (says(b"HTTP request to an HTTPS server") || says(b"HTTP request was sent to HTTPS"))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.address())
    }
}

enum Answer {
    Final(Response),
    Redirect { location: String, done: bool },
}

/// The proxy that is to be used, where it can be.
fn tunnel(store: &StorePlan) -> Option<Result<Tunnel, HttpError>> {
    match (&store.address, &store.proxy) {
        (Address::Http { .. }, Some(proxy)) => Some(Tunnel::new(proxy)),
        _ => None,
    }
}
