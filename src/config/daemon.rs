//! The daemon's own settings, from its environment alone.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Environment;
use super::duration::{self, DurationError};
use super::mask::may_hold_credential;
use super::merge::shown;
use super::scalar::env_bool;
use super::tracing::Tracing;
use super::variables::is_ours;
use crate::clock::Growth;

/// The daemon's own settings, from its environment (section 3 of the manual); read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Daemon {
    /// `WATCH_CONFIG`.
    pub watch_config: bool,
    /// `LOG_LEVEL`.
    pub log_level: log::LevelFilter,
    /// `LOG_FORMAT` is `json`, else `text`.
    pub log_json: bool,
    /// `METRICS_ADDR`.
    pub metrics_addr: std::net::IpAddr,
    /// `METRICS_PORT`, `None` for 0 or `ENABLE_METRICS=false`.
    pub metrics_port: Option<u16>,
    /// `STATUS_FILE`, else its default.
    pub status_file: PathBuf,
    /// `CIRCUIT_BREAKER_MAX_REQUESTS`.
    pub breaker_max_requests: u32,
    /// `CIRCUIT_BREAKER_INTERVAL`.
    pub breaker_interval: Duration,
    /// `CIRCUIT_BREAKER_TIMEOUT`.
    pub breaker_timeout: Duration,
    /// `INITIAL_BACKOFF`.
    pub initial_backoff: Duration,
    /// `MAX_BACKOFF`.
    pub max_backoff: Duration,
    /// `BACKOFF_MULTIPLIER`.
    pub backoff_multiplier: f64,
    /// `SHUTDOWN_TIMEOUT`.
    pub shutdown_timeout: Duration,
    /// `SANDBOX` is `on`.
    pub sandbox: bool,
    /// `SANDBOX_WRITE_PATHS`: directories that may be written in beside those of the targets.
    pub sandbox_write_paths: Vec<PathBuf>,
    /// `ENABLE_TRACING`, and the variables of OpenTelemetry; `None`: nothing is traced.
    pub tracing: Option<Arc<Tracing>>,
}

impl Daemon {
    /// How waits grow after failures.
    #[must_use]
    pub fn growth(&self) -> Growth {
        Growth {
            initial: self.initial_backoff,
            max: self.max_backoff,
            multiplier: self.backoff_multiplier,
        }
    }
}

/// Reads the settings.
///
/// # Errors
///
/// Every variable whose value does not parse, each as one line that names it. A variable that is
/// set but empty is as good as unset.
pub fn daemon_settings(environment: &Environment) -> Result<Daemon, Vec<String>> {
    let mut reader = Reader {
        environment,
        errors: Vec::new(),
    };
    let daemon = reader.settings();
    if reader.errors.is_empty() {
        Ok(daemon)
    } else {
        Err(reader.errors)
    }
}

pub(super) struct Reader<'e> {
    pub(super) environment: &'e Environment,
    pub(super) errors: Vec<String>,
}

impl Reader<'_> {
    fn settings(&mut self) -> Daemon {
        let metrics = self.flag("ENABLE_METRICS", true);
        let port = self.get("METRICS_PORT", 8080, |text| match text.parse::<u16>() {
            Ok(port) if port == 0 || port > 1024 => Ok(port),
            _ => Err("is not a port from 1025 to 65535, or 0 for none".to_owned()),
        });
        let daemon = Daemon {
            watch_config: self.flag("WATCH_CONFIG", false),
            log_level: self.get("LOG_LEVEL", log::LevelFilter::Info, |text| {
                match text.to_ascii_lowercase().as_str() {
                    "trace" => Ok(log::LevelFilter::Trace),
                    "debug" => Ok(log::LevelFilter::Debug),
                    "info" => Ok(log::LevelFilter::Info),
                    "warn" => Ok(log::LevelFilter::Warn),
                    "error" => Ok(log::LevelFilter::Error),
                    _ => Err("is not one of `trace`, `debug`, `info`, `warn`, `error`".to_owned()),
                }
            }),
            log_json: self.get("LOG_FORMAT", true, |text| {
                match text.to_ascii_lowercase().as_str() {
                    "json" => Ok(true),
                    "text" => Ok(false),
                    _ => Err("is neither `json` nor `text`".to_owned()),
                }
            }),
            metrics_addr: self.get("METRICS_ADDR", IpAddr::from([127, 0, 0, 1]), |text| {
                text.trim_start_matches('[')
                    .trim_end_matches(']')
                    .parse()
                    .map_err(|_| "is not an IP address".to_owned())
            }),
            metrics_port: Some(port).filter(|port| metrics && *port != 0),
            status_file: self.status_file(),
            breaker_max_requests: self.number("CIRCUIT_BREAKER_MAX_REQUESTS", 3),
            breaker_interval: self.time("CIRCUIT_BREAKER_INTERVAL", 60),
            breaker_timeout: self.time("CIRCUIT_BREAKER_TIMEOUT", 30),
            initial_backoff: self.time("INITIAL_BACKOFF", 1),
            max_backoff: self.time("MAX_BACKOFF", 300),
            backoff_multiplier: self.get("BACKOFF_MULTIPLIER", 2.0, |text| {
                text.parse::<f64>()
                    .ok()
                    .filter(|number| (1.0..=100.0).contains(number))
                    .ok_or_else(|| "is not a number from 1 to 100".to_owned())
            }),
            shutdown_timeout: self.time("SHUTDOWN_TIMEOUT", 30),
            sandbox: self.get("SANDBOX", true, |text| {
                match text.to_ascii_lowercase().as_str() {
                    "on" => Ok(true),
                    "off" => Ok(false),
                    _ => Err("is neither `on` nor `off`".to_owned()),
                }
            }),
            sandbox_write_paths: self.get("SANDBOX_WRITE_PATHS", Vec::new(), directories),
            tracing: self.tracing(),
        };
        if daemon.initial_backoff > daemon.max_backoff {
            self.errors.push(format!(
                "INITIAL_BACKOFF: {} is more than MAX_BACKOFF, which is {}",
                duration::show(daemon.initial_backoff),
                duration::show(daemon.max_backoff)
            ));
        }
        self.check_text();
        daemon
    }

    /// What is not even text would look as if it were not set: a default in its place, or another
    /// server's.
    fn check_text(&mut self) {
        for name in self.environment.not_text().filter(|name| is_ours(name)) {
            self.errors
                .push(format!("{name}: the value is not UTF-8 text"));
        }
    }

    pub(super) fn get<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = self.environment.get_non_empty(name) else {
            return default;
        };
        parse(text.trim()).unwrap_or_else(|message| {
            let value = if may_hold_credential(text) {
                "the value".to_owned()
            } else {
                format!("`{}`", shown(text))
            };
            self.errors.push(format!("{name}: {value} {message}"));
            default
        })
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        self.get(name, default, |text| {
            env_bool(text).ok_or_else(|| "is not a boolean: write `true` or `false`".to_owned())
        })
    }

    fn number(&mut self, name: &str, default: u32) -> u32 {
        self.get(name, default, |text| {
            within(text, 1, 1000).ok_or_else(|| "is not a whole number from 1 to 1000".to_owned())
        })
    }

    fn time(&mut self, name: &str, default_seconds: u64) -> Duration {
        self.get(
            name,
            Duration::from_secs(default_seconds),
            |text| match duration::parse(text) {
                Ok(Duration::ZERO) => Err("is zero".to_owned()),
                Ok(duration) => Ok(duration),
                Err(error) => Err(with_help(error.message(), DurationError::HELP)),
            },
        )
    }

    /// `STATUS_FILE`, else in the first entry of `RUNTIME_DIRECTORY`, else in `/tmp`.
    fn status_file(&self) -> PathBuf {
        if let Some(file) = self.environment.get_non_empty("STATUS_FILE") {
            return PathBuf::from(file);
        }
        self.environment
            .get_non_empty("RUNTIME_DIRECTORY")
            .and_then(|list| list.split(':').find(|entry| !entry.is_empty()))
            .map_or_else(
                || PathBuf::from("/tmp/.ready-state"),
                |directory| Path::new(directory).join("status.json"),
            )
    }
}

/// A `:` list of absolute paths, none of them `/`.
fn directories(text: &str) -> Result<Vec<PathBuf>, String> {
    text.split(':')
        .filter(|path| !path.is_empty())
        .map(|path| {
            let absolute = Path::new(path);
            if absolute.is_absolute() && absolute.components().count() > 1 {
                Ok(absolute.to_owned())
            } else {
                Err(format!(
                    "holds `{}`, which is not an absolute path below `/`",
                    shown(path)
                ))
            }
        })
        .collect()
}

fn within(text: &str, least: u32, most: u32) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
}

fn with_help(message: &str, help: impl Display) -> String {
    format!("{message}: {help}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Daemon, Vec<String>> {
        daemon_settings(&variables.iter().copied().collect())
    }

    #[test]
    fn the_defaults() {
        let daemon = of(&[("LOG_LEVEL", ""), ("METRICS_PORT", "")]).unwrap();
        assert!(!daemon.watch_config && daemon.log_json);
        assert_eq!(daemon.log_level, log::LevelFilter::Info);
        assert_eq!(daemon.metrics_addr.to_string(), "127.0.0.1");
        assert_eq!(daemon.metrics_port, Some(8080));
        assert_eq!(daemon.status_file, Path::new("/tmp/.ready-state"));
        assert_eq!(daemon.breaker_max_requests, 3);
        assert_eq!(daemon.breaker_interval, Duration::from_secs(60));
        assert_eq!(daemon.breaker_timeout, Duration::from_secs(30));
        assert_eq!(daemon.initial_backoff, Duration::from_secs(1));
        assert_eq!(daemon.max_backoff, Duration::from_secs(300));
        assert!((daemon.backoff_multiplier - 2.0).abs() < f64::EPSILON);
        assert_eq!(daemon.shutdown_timeout, Duration::from_secs(30));
        assert!(daemon.sandbox && daemon.sandbox_write_paths.is_empty());
    }

    #[test]
    fn what_is_written_counts() {
        let daemon = of(&[
            ("WATCH_CONFIG", "Yes"),
            ("LOG_LEVEL", "WARN"),
            ("LOG_FORMAT", "text"),
            ("METRICS_ADDR", "::"),
            ("METRICS_PORT", "9000"),
            ("RUNTIME_DIRECTORY", "/run/a:/run/b"),
            ("MAX_BACKOFF", "1h"),
            ("SANDBOX", "off"),
            ("SANDBOX_WRITE_PATHS", "/a:/b"),
            ("OTEL_EXPORTER_ENDPOINT", "http://otel:4318"),
        ])
        .unwrap();
        assert!(daemon.watch_config && !daemon.log_json);
        assert_eq!(daemon.log_level, log::LevelFilter::Warn);
        assert_eq!(daemon.metrics_addr.to_string(), "::");
        assert_eq!(daemon.metrics_port, Some(9000));
        assert_eq!(daemon.status_file, Path::new("/run/a/status.json"));
        assert_eq!(daemon.max_backoff, Duration::from_secs(3600));
        assert!(!daemon.sandbox);
        assert_eq!(daemon.sandbox_write_paths, ["/a", "/b"].map(PathBuf::from));
    }

    #[test]
    fn no_port_is_none_either_way() {
        assert_eq!(of(&[("METRICS_PORT", "0")]).unwrap().metrics_port, None);
        assert_eq!(of(&[("ENABLE_METRICS", "off")]).unwrap().metrics_port, None);
    }

    #[test]
    fn every_bad_value_is_named() {
        for (name, value) in [
            ("WATCH_CONFIG", "maybe"),
            ("LOG_LEVEL", "loud"),
            ("LOG_FORMAT", "xml"),
            ("METRICS_ADDR", "localhost"),
            ("METRICS_PORT", "80"),
            ("METRICS_PORT", "65536"),
            ("ENABLE_METRICS", "2"),
            ("CIRCUIT_BREAKER_MAX_REQUESTS", "0"),
            ("CIRCUIT_BREAKER_INTERVAL", "60"),
            ("CIRCUIT_BREAKER_TIMEOUT", "-1s"),
            ("INITIAL_BACKOFF", "1d"),
            ("INITIAL_BACKOFF", "10m"),
            ("MAX_BACKOFF", "0"),
            ("BACKOFF_MULTIPLIER", "0.5"),
            ("BACKOFF_MULTIPLIER", "NaN"),
            ("SHUTDOWN_TIMEOUT", "soon"),
            ("SANDBOX", "maybe"),
            ("SANDBOX_WRITE_PATHS", "/a:b"),
            ("SANDBOX_WRITE_PATHS", "/"),
            ("ENABLE_TRACING", "x"),
            ("OTEL_EXPORTER_ENDPOINT", "otel:4318"),
        ] {
            let errors = of(&[(name, value)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{name}={value}");
            assert!(errors[0].starts_with(&format!("{name}: ")), "{errors:?}");
        }
        assert_eq!(
            of(&[("WATCH_CONFIG", "maybe"), ("MAX_BACKOFF", "10")]).unwrap_err(),
            [
                "WATCH_CONFIG: `maybe` is not a boolean: write `true` or `false`",
                "MAX_BACKOFF: `10` is a duration without a unit: write a number and a unit, as in \
                 `300ms`, `30s`, `5m`, `1h30m`; a day is `24h`"
            ]
        );
    }
}
