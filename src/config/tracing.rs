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
mod tests {
    use super::*;
    use crate::config::{Environment, daemon_settings};

    fn of(variables: &[(&str, &str)]) -> Result<Option<Arc<Tracing>>, Vec<String>> {
        let on = [("ENABLE_TRACING", "true")];
        let environment: Environment = on.iter().chain(variables).copied().collect();
        daemon_settings(&environment).map(|daemon| daemon.tracing)
    }

    fn on(variables: &[(&str, &str)]) -> Arc<Tracing> {
        of(variables).unwrap().unwrap()
    }

    fn url(variables: &[(&str, &str)]) -> String {
        let Endpoint {
            tls,
            host,
            port,
            path,
            query,
        } = &on(variables).endpoint;
        let scheme = if *tls { "https" } else { "http" };
        format!("{scheme}://{host}:{port}{path} {}", query.expose())
    }

    #[test]
    fn it_is_off_unless_it_is_wanted_and_then_nothing_else_is_looked_at() {
        let bad = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        for off in [
            ("ENABLE_TRACING", "false"),
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(of(&[off, bad]), Ok(None), "{off:?}");
        }
        assert!(of(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().is_some());
    }

    #[test]
    fn the_defaults_are_those_of_the_specification() {
        let tracing = on(&[]);
        assert_eq!(url(&[]), "http://localhost:4318/v1/traces ");
        assert_eq!(tracing.timeout, Duration::from_secs(10));
        assert_eq!((tracing.queue, tracing.batch), (2048, 512));
        assert_eq!(tracing.delay, Duration::from_secs(5));
        assert_eq!(tracing.sampler, Sampler::On);
        assert_eq!(tracing.service, "secrets-sync");
        assert!(tracing.files().is_empty() && tracing.credentials().next().is_none());
    }

    #[test]
    fn the_path_is_put_behind_a_base_and_not_behind_the_endpoint_of_traces() {
        let (own, traces, base) = (
            "OTEL_EXPORTER_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        );
        for (variables, wanted) in [
            (vec![(base, "http://a:1")], "http://a:1/v1/traces "),
            (vec![(base, "https://a/x/")], "https://a:443/x/v1/traces "),
            (vec![(traces, "http://a:1")], "http://a:1/ "),
            (
                vec![(traces, "http://[::1]:1/x?k=v"), (base, "http://b:1")],
                "http://[::1]:1/x k=v",
            ),
            (
                vec![(own, "http://c:1"), (traces, "http://a:1")],
                "http://c:1/v1/traces ",
            ),
        ] {
            assert_eq!(url(&variables), wanted);
        }
    }

    #[test]
    fn of_two_variables_the_one_for_traces_counts() {
        let tracing = on(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "X-Key = b%20c , d=,"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "7000"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "6000"),
        ]);
        let headers: Vec<_> = tracing
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        assert_eq!(headers, [("x-key", "b c"), ("d", "")]);
        assert_eq!(tracing.credentials().collect::<Vec<_>>(), ["b c"]);
        assert_eq!(tracing.timeout, Duration::from_secs(6));
    }

    #[test]
    fn the_service_has_a_name_in_either_variable() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,b.c=d%2Ce");
        let tracing = on(&[attributes]);
        assert_eq!(tracing.service, "a");
        assert_eq!(tracing.attributes, [("b.c".to_owned(), "d,e".to_owned())]);
        assert_eq!(on(&[attributes, ("OTEL_SERVICE_NAME", "x")]).service, "x");
    }

    #[test]
    fn samplers() {
        let sampler = |name, arg| {
            on(&[
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", arg),
            ])
            .sampler
        };
        assert_eq!(sampler("always_off", "not looked at"), Sampler::Off);
        assert_eq!(sampler("parentbased_always_on", ""), Sampler::On);
        assert_eq!(sampler("traceidratio", ""), Sampler::Ratio(1.0));
        assert_eq!(
            sampler("parentbased_traceidratio", "0.25"),
            Sampler::Ratio(0.25)
        );
    }

    #[test]
    fn files_are_named_for_the_sandbox() {
        let files = |variables: &[(&str, &str)]| -> Vec<String> {
            let files = on(variables).files();
            files
                .iter()
                .map(|file| file.display().to_string())
                .collect()
        };
        let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a");
        assert_eq!(files(&[https, ("SSL_CERT_FILE", "/s")]), ["/s"]);
        assert_eq!(
            files(&[
                https,
                ("SSL_CERT_FILE", "/s"),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a"),
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c"),
                ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/k"),
            ]),
            ["/a", "/c", "/k"]
        );
        assert!(files(&[("SSL_CERT_FILE", "/s")]).is_empty());
    }

    #[test]
    fn every_bad_value_is_named_and_none_that_may_be_a_credential_is_shown() {
        for (name, value) in [
            ("OTEL_SDK_DISABLED", "hunter2"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@a"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:70000"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a?hunter2"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://a"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://:1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "=hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0a"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a b=hunter2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2049"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "x"),
        ] {
            let errors = of(&[(name, value)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{name}={value}: {errors:?}");
            assert!(errors[0].starts_with(&format!("{name}: ")), "{errors:?}");
            let shown = errors[0].contains("hunter2") && name != "OTEL_SDK_DISABLED";
            assert!(!shown, "{errors:?}");
        }
        let part = [
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ];
        assert_eq!(
            of(&part).unwrap_err(),
            ["OTEL_TRACES_SAMPLER_ARG: `1.5` is not a number from 0 to 1"]
        );
    }
}
