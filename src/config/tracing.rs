//! Where traces go and which, as the standard variables of OpenTelemetry say it. They are read only
//! where `ENABLE_TRACING` is set: others set them for whole clusters, and their programs are not this one.
//!
//! [The SDK's variables](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)
//! and [the exporter's](https://opentelemetry.io/docs/specs/otel/protocol/exporter/).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Uri};

use super::daemon::Reader;
use crate::secret::SecretString;

/// Where traces go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Their receiver.
    pub endpoint: Endpoint,
    /// Headers of every request to it, by their names in lower case.
    pub headers: Vec<(String, SecretString)>,
    /// The longest that the delivery of one batch may take, repetitions included.
    pub timeout: Duration,
    /// `OTEL_EXPORTER_OTLP_CERTIFICATE`: the authority of the receiver's certificate.
    pub authority: Option<PathBuf>,
    /// The chain and the key that we show to the receiver.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `OTEL_SERVICE_NAME`, and what `OTEL_RESOURCE_ATTRIBUTES` adds.
    pub service: String,
    /// Without `service.name`.
    pub attributes: Vec<(String, String)>,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// So many spans wait for their delivery; more are dropped.
    pub queue: usize,
    /// So many go out in one request.
    pub batch: usize,
    /// A span waits no longer than this for others.
    pub delay: Duration,
    /// `SSL_CERT_FILE`, where the receiver's certificate is checked against it.
    bundle: Option<PathBuf>,
}

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https`.
    pub tls: bool,
    /// IPv6 in brackets.
    pub host: String,
    /// The port, explicit.
    pub port: u16,
    /// From its first slash on.
    pub path: String,
    /// It may hold a credential; empty for none.
    pub query: SecretString,
}

/// Which traces are recorded. All spans of ours follow the first of their trace, whether the sampler's
/// name says `parentbased` or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// All.
    On,
    /// None.
    Off,
    /// This part of them.
    Ratio(f64),
}

impl Tracing {
    /// The files that connections to the receiver need.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        let roots = self.authority.iter().chain(&self.bundle);
        roots.chain(client).cloned().collect()
    }

    /// What must be seen nowhere.
    pub fn credentials(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().map(|(_, value)| value.expose());
        headers
            .chain([self.endpoint.query.expose()])
            .filter(|text| !text.is_empty())
    }
}

/// What variable of the two counts: the one for traces before the one for all signals.
const ENDPOINTS: [&str; 3] = [
    // The program's own, as if it were written into it.
    "OTEL_EXPORTER_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const HEADERS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];
const TIMEOUTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const COMPRESSIONS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
];
const AUTHORITIES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];
const CLIENT_CERTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
];
const CLIENT_KEYS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
];

const SERVICE: &str = "secrets-sync";
const PATH: &str = "/v1/traces";

impl Reader<'_> {
    /// What is to be traced; `None` where nothing is.
    pub(super) fn tracing(&mut self) -> Option<Arc<Tracing>> {
        let on = self.flag("ENABLE_TRACING", false);
        // Of the program's own variables each is checked, whether it is used or not.
        let own = self.endpoint("OTEL_EXPORTER_ENDPOINT", PATH);
        if !on || self.flag("OTEL_SDK_DISABLED", false) {
            return None;
        }
        let exported = self.get("OTEL_TRACES_EXPORTER", true, |text| match text {
            "otlp" => Ok(true),
            "none" => Ok(false),
            _ => Err("is neither `otlp` nor `none`".to_owned()),
        });
        if !exported {
            return None;
        }
        self.unsupported();
        let endpoint = match self.first(&ENDPOINTS) {
            "OTEL_EXPORTER_ENDPOINT" => own,
            name @ "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => self.endpoint(name, ""),
            name => self.endpoint(name, PATH),
        };
        let endpoint = endpoint.unwrap_or_else(|| Endpoint {
            tls: false,
            host: "localhost".to_owned(),
            port: 4318,
            path: PATH.to_owned(),
            query: SecretString::new(String::new()),
        });
        let headers = self.parsed(self.first(&HEADERS), headers);
        let mut attributes = self
            .parsed("OTEL_RESOURCE_ATTRIBUTES", pairs)
            .unwrap_or_default();
        let mut service = self.text("OTEL_SERVICE_NAME");
        attributes.retain_mut(|(name, value)| {
            let names_it = name == "service.name";
            if names_it && service.is_none() && !value.is_empty() {
                service = Some(std::mem::take(value));
            }
            !names_it
        });
        let queue = self.count("OTEL_BSP_MAX_QUEUE_SIZE", 2048, 100_000);
        let batch = self.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512.min(queue), queue);
        let within = self.millis("OTEL_BSP_EXPORT_TIMEOUT", 30_000);
        let authority = self.path(&AUTHORITIES);
        Some(Arc::new(Tracing {
            headers: headers.unwrap_or_default(),
            timeout: self.millis(self.first(&TIMEOUTS), 10_000).min(within),
            bundle: self
                .text("SSL_CERT_FILE")
                .filter(|_| endpoint.tls && authority.is_none())
                .map(PathBuf::from),
            authority,
            client: self.client(),
            service: service.unwrap_or_else(|| SERVICE.to_owned()),
            attributes,
            sampler: self.sampler(),
            queue,
            batch,
            delay: self.millis("OTEL_BSP_SCHEDULE_DELAY", 5000),
            endpoint,
        }))
    }

    fn endpoint(&mut self, name: &str, path: &str) -> Option<Endpoint> {
        self.get(name, None, |text| endpoint(text, path).map(Some))
    }

    /// What would be ignored, or done otherwise than it is asked for.
    fn unsupported(&mut self) {
        let (protocol, compression) = (self.first(&PROTOCOLS), self.first(&COMPRESSIONS));
        self.get(protocol, (), |text| match text {
            "http/protobuf" => Ok(()),
            _ => Err("is not `http/protobuf`, the one protocol that is spoken here".to_owned()),
        });
        self.get(compression, (), |text| match text {
            "none" => Ok(()),
            _ => Err("is not `none`: traces go out uncompressed".to_owned()),
        });
    }

    fn client(&mut self) -> Option<(PathBuf, PathBuf)> {
        let (cert, key) = (self.path(&CLIENT_CERTS), self.path(&CLIENT_KEYS));
        match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (cert, _) => {
                let (set, missing) = if cert.is_some() {
                    (CLIENT_CERTS, CLIENT_KEYS)
                } else {
                    (CLIENT_KEYS, CLIENT_CERTS)
                };
                let set = self.first(&set);
                self.errors.push(format!(
                    "{set}: goes together with {}, which is not set",
                    missing[1]
                ));
                None
            }
        }
    }

    fn sampler(&mut self) -> Sampler {
        let part = |reader: &mut Self| {
            reader.get("OTEL_TRACES_SAMPLER_ARG", 1.0, |text| {
                text.parse::<f64>()
                    .ok()
                    .filter(|part| (0.0..=1.0).contains(part))
                    .ok_or_else(|| "is not a number from 0 to 1".to_owned())
            })
        };
        let sampler = self.get("OTEL_TRACES_SAMPLER", Sampler::On, |text| match text {
            "always_on" | "parentbased_always_on" => Ok(Sampler::On),
            "always_off" | "parentbased_always_off" => Ok(Sampler::Off),
            "traceidratio" | "parentbased_traceidratio" => Ok(Sampler::Ratio(1.0)),
            _ => Err(
                "is not one of `always_on`, `always_off`, `traceidratio`, and each with `parentbased_` \
                 before it"
                    .to_owned(),
            ),
        });
        match sampler {
            Sampler::Ratio(_) => Sampler::Ratio(part(self)),
            other => other,
        }
    }

    /// The first of the variables that is set, else the last.
    fn first(&self, names: &[&'static str]) -> &'static str {
        let set = |name: &&&str| self.environment.get_non_empty(name).is_some();
        names
            .iter()
            .find(set)
            .or(names.last())
            .copied()
            .unwrap_or_default()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.environment.get_non_empty(name).map(str::to_owned)
    }

    fn path(&self, names: &[&'static str]) -> Option<PathBuf> {
        self.text(self.first(names)).map(PathBuf::from)
    }

    fn count(&mut self, name: &str, default: usize, most: usize) -> usize {
        self.get(name, default, |text| {
            text.parse()
                .ok()
                .filter(|count| (1..=most).contains(count))
                .ok_or_else(|| format!("is not a whole number from 1 to {most}"))
        })
    }

    fn millis(&mut self, name: &str, default: u64) -> Duration {
        let millis = self.get(name, default, |text| {
            text.parse()
                .ok()
                .filter(|millis| (1..=3_600_000).contains(millis))
                .ok_or_else(|| "is not a number of milliseconds from 1 to 3600000".to_owned())
        });
        Duration::from_millis(millis)
    }

    /// A value that may hold a credential: what is wrong with it is said without it.
    fn parsed<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.environment.get_non_empty(name)?;
        match parse(text.trim()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.errors.push(format!("{name}: {message}"));
                None
            }
        }
    }
}

/// Takes a URL apart, and puts `path` behind what path it has.
fn endpoint(text: &str, path: &str) -> Result<Endpoint, String> {
    let no_url = || "is not an `http` or `https` URL".to_owned();
    let uri: Uri = text.parse().map_err(|_| no_url())?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(no_url()),
    };
    let authority = uri.authority().ok_or_else(no_url)?.as_str();
    let host = uri.host().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| "is a URL without a host".to_owned())?;
    if authority.contains('@') {
        return Err(
            "holds a user or password: a header in OTEL_EXPORTER_OTLP_HEADERS is the place for that"
                .to_owned(),
        );
    }
    if text.contains('#') || (!path.is_empty() && uri.query().is_some()) {
        return Err("holds a query or a fragment, behind which no path can be put".to_owned());
    }
    let port = match &authority[host.len()..] {
        "" | ":" => Some(if tls { 443 } else { 80 }),
        _ => uri.port_u16().filter(|port| *port != 0),
    };
    Ok(Endpoint {
        tls,
        host: host.to_owned(),
        port: port.ok_or_else(|| "has a port that is not a number from 1 to 65535".to_owned())?,
        path: if path.is_empty() {
            uri.path().to_owned()
        } else {
            format!("{}{path}", uri.path().trim_end_matches('/'))
        },
        query: SecretString::new(uri.query().unwrap_or_default().to_owned()),
    })
}

fn headers(text: &str) -> Result<Vec<(String, SecretString)>, String> {
    let mut headers = Vec::new();
    for (name, value) in pairs(text)? {
        let value = SecretString::new(value);
        let good = HeaderValue::from_str(value.expose()).is_ok();
        let name = HeaderName::try_from(&name).ok().filter(|_| good);
        let name =
            name.ok_or_else(|| "holds a name or value that no header may have".to_owned())?;
        headers.push((name.as_str().to_owned(), value));
    }
    Ok(headers)
}

/// `name=value,name=value`, values percent-encoded.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| "is not a list such as `name=value,name=value`".to_owned())?;
            let value = decoded(value.trim()).ok_or_else(|| {
                "holds a `%` that is not followed by the two digits of a byte".to_owned()
            })?;
            Ok((name.trim().to_owned(), value))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
