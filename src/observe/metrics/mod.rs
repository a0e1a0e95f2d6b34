//! The metrics, in Prometheus' text format: one registry of our own, told by the supervisor, read
//! by the HTTP server. Every label comes from the configuration or from a fixed set, so that there
//! are never more series than the plan has secrets and stores; what leaves the plan loses its
//! series.

mod family;
pub mod process;
mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::core::Collector;
use prometheus::{Gauge, IntGauge, Registry, TextEncoder};

pub use family::{Family, families};
use series::{Count, Labelled, Level, Spread, Value, labelled};

use crate::failure::ErrorType;
use crate::observe::build_info::BUILD;

const RESULTS: [&str; 2] = ["success", "error"];

/// All series. Told by the supervisor, read by the HTTP server.
pub struct Metrics {
    registry: Registry,
    fetches: Labelled<Count>,
    fetch_errors: Labelled<Count>,
    sync_duration: Labelled<Spread>,
    breaker: Labelled<Level>,
    configured: IntGauge,
    in_sync: IntGauge,
    last_success: Labelled<Level>,
    version: Labelled<Level>,
    stale: Labelled<Level>,
    writes: Labelled<Count>,
    token_expiry: Labelled<Level>,
    reload_successful: IntGauge,
    reload_time: Gauge,
    /// The sessions that have a `token_expiry` series, by store and credentials.
    tokens: Mutex<BTreeSet<(String, String)>>,
}

/// The labels of one secret's series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretLabels {
    /// Its name.
    pub secret: String,
    /// Its store's name.
    pub store: String,
    /// Mount and key, without `data/`; of the first source.
    pub vault_path: String,
}

impl SecretLabels {
    fn short(&self) -> [&str; 2] {
        [&self.secret, &self.store]
    }

    fn with<'a>(&'a self, last: &'a str) -> [&'a str; 4] {
        [&self.secret, &self.store, &self.vault_path, last]
    }
}

impl Metrics {
    /// Empty, but for the build information and what counts from zero.
    #[must_use]
    pub fn new() -> Self {
        Self::declare(&mut Vec::new())
    }

    /// The same; what it declares is added to a list.
    fn declare(families: &mut Vec<Family>) -> Self {
        let registry = Registry::new();
        let mut with = Registrar {
            registry: &registry,
            families,
        };
        let metrics = Self {
            fetches: with.add(labelled(
                "secret_fetch_total",
                "Syncs of a secret, by how they ended.",
                &["secret_name", "store", "vault_path", "status"],
            )),
            fetch_errors: with.add(labelled(
                "secret_fetch_errors_total",
                "Failed syncs of a secret, by the class of the failure.",
                &["secret_name", "store", "vault_path", "error_type"],
            )),
            sync_duration: with.add(labelled(
                "secret_sync_duration_seconds",
                "How long a sync took: fetch, render and write.",
                &["secret_name", "store"],
            )),
            breaker: with.add(labelled(
                "circuit_breaker_state",
                "State of a store's circuit breaker: 0 closed, 1 half-open, 2 open.",
                &["name"],
            )),
            configured: with.add(IntGauge::new(
                "secrets_configured",
                "Secrets in the running configuration.",
            )),
            in_sync: with.add(IntGauge::new("secrets_synced", "Secrets in sync now.")),
            last_success: with.add(labelled(
                "secrets_sync_secret_last_success_timestamp_seconds",
                "When a secret was last wholly in sync.",
                &["secret_name", "store"],
            )),
            version: with.add(labelled(
                "secrets_sync_secret_version",
                "The version on disk.",
                &["secret_name", "store"],
            )),
            stale: with.add(labelled(
                "secrets_sync_secret_stale_seconds",
                "Time since the last complete success; 0 while in sync.",
                &["secret_name", "store"],
            )),
            writes: with.add(labelled(
                "secrets_sync_file_writes_total",
                "Files written.",
                &["secret_name", "store"],
            )),
            token_expiry: with.add(labelled(
                "secrets_sync_token_expiry_timestamp_seconds",
                "When a token expires; absent where it does not.",
                &["store", "credentials"],
            )),
            reload_successful: with.add(IntGauge::new(
                "secrets_sync_config_last_reload_successful",
                "Whether the last configuration read was taken up.",
            )),
            reload_time: with.add(Gauge::new(
                "secrets_sync_config_last_reload_success_timestamp_seconds",
                "When a configuration was last taken up.",
            )),
            tokens: Mutex::default(),
            registry: registry.clone(),
        };
        let build = with.add(labelled(
            "secrets_sync_build_info",
            "This build; always 1.",
            &["version", "revision", "target", "rustc"],
        ));
        set(
            &build,
            &[BUILD.version, BUILD.revision, BUILD.target, BUILD.rustc],
            1.0,
        );
        metrics
    }

    /// One sync ended (fetch, render and commit): `secret_fetch_total`,
    /// `secret_fetch_errors_total`, `secret_sync_duration_seconds`.
    pub fn synced(&self, labels: &SecretLabels, result: Result<(), ErrorType>, took: Duration) {
        // Both exist from the first sync on, so that the first failure shows as an increase.
        for (status, count) in RESULTS
            .into_iter()
            .zip([u64::from(result.is_ok()), u64::from(result.is_err())])
        {
            add(&self.fetches, &labels.with(status), count);
        }
        if let Err(error_type) = result {
            add(&self.fetch_errors, &labels.with(error_type.as_str()), 1);
        }
        update(&self.sync_duration, &labels.short(), |spread| {
            spread.observe(took.as_secs_f64());
        });
    }

    /// A failure outside a sync: a stalled worker, a thread that could not be started.
    pub fn failed(&self, labels: &SecretLabels, error_type: ErrorType) {
        add(&self.fetch_errors, &labels.with(error_type.as_str()), 1);
    }

    /// A complete success: time stamp, version, files written.
    pub fn success(
        &self,
        labels: &SecretLabels,
        at: SystemTime,
        version: Option<u64>,
        files: usize,
    ) {
        set(&self.last_success, &labels.short(), unix(at));
        match version {
            // No server counts beyond 2^53.
            #[allow(clippy::cast_precision_loss)]
            Some(version) => set(&self.version, &labels.short(), version as f64),
            None => forget(&self.version, &labels.short()),
        }
        let files = u64::try_from(files).unwrap_or(u64::MAX);
        add(&self.writes, &labels.short(), files);
        self.stale(labels, Duration::ZERO);
    }

    /// Seconds since the last complete success; 0 in sync.
    pub fn stale(&self, labels: &SecretLabels, stale: Duration) {
        set(&self.stale, &labels.short(), stale.as_secs_f64());
    }

    /// How many secrets there are, and how many are in sync now.
    pub fn secrets(&self, configured: usize, synced: usize) {
        self.configured.set(count(configured));
        self.in_sync.set(count(synced));
    }

    /// A store's breaker: 0 closed, 1 half-open, 2 open.
    pub fn breaker(&self, store: &str, state: i64) {
        #[allow(clippy::cast_precision_loss)] // one of three
        set(&self.breaker, &[store], state as f64);
    }

    /// When the tokens of all sessions there are expire, by store and credentials: the earliest of
    /// each, where several sessions share the two (their logins are in different namespaces). Series
    /// of other sessions disappear.
    pub fn token_expiries<'a>(
        &self,
        tokens: impl IntoIterator<Item = (&'a str, &'a str, SystemTime)>,
    ) {
        let mut now: BTreeMap<(String, String), SystemTime> = BTreeMap::new();
        for (store, credentials, expires) in tokens {
            now.entry((store.to_owned(), credentials.to_owned()))
                .and_modify(|earliest| *earliest = expires.min(*earliest))
                .or_insert(expires);
        }
        for ((store, credentials), expires) in &now {
            set(&self.token_expiry, &[store, credentials], unix(*expires));
        }
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        for (store, credentials) in tokens.iter().filter(|token| !now.contains_key(*token)) {
            forget(&self.token_expiry, &[store, credentials]);
        }
        *tokens = now.into_keys().collect();
    }

    /// A reload (or the start) succeeded at `at`, or failed (`None`).
    pub fn reloaded(&self, at: Option<SystemTime>) {
        self.reload_successful.set(i64::from(at.is_some()));
        if let Some(at) = at {
            self.reload_time.set(unix(at));
        }
    }

    /// A secret is gone: its series disappear.
    pub fn forget_secret(&self, labels: &SecretLabels) {
        for status in RESULTS {
            forget(&self.fetches, &labels.with(status));
        }
        for error_type in ErrorType::ALL {
            forget(&self.fetch_errors, &labels.with(error_type.as_str()));
        }
        let short = labels.short();
        forget(&self.sync_duration, &short);
        forget(&self.last_success, &short);
        forget(&self.version, &short);
        forget(&self.stale, &short);
        forget(&self.writes, &short);
    }

    /// A store is gone: its series disappears.
    pub fn forget_store(&self, store: &str) {
        forget(&self.breaker, &[store]);
    }

    /// The page.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut page = String::new();
        // Into a string, it can fail for nothing but a family without series, and `gather` gives
        // none of those.
        let _ = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut page);
        process::encode(&mut page);
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

struct Registrar<'a> {
    registry: &'a Registry,
    families: &'a mut Vec<Family>,
}

impl Registrar<'_> {
    /// Registers what was just made.
    #[allow(clippy::expect_used)]
    fn add<C: Collector + Clone + 'static>(&mut self, made: prometheus::Result<C>) -> C {
        // Names and labels are constants, each used once: every test that makes a `Metrics`
        // proves that this cannot fire.
        let collector = made.expect("a metric's name or label is malformed");
        self.families.extend(Family::of(&collector));
        self.registry
            .register(Box::new(collector.clone()))
            .expect("a metric is registered twice");
        collector
    }
}

/// Changes one series, which is made where it is new.
fn update<V: Value>(of: &Labelled<V>, labels: &[&str], change: impl FnOnce(&mut V)) {
    if let Ok(series) = of.get_metric_with_label_values(labels) {
        series.update(change);
    }
}

fn add(to: &Labelled<Count>, labels: &[&str], count: u64) {
    update(to, labels, |series| series.0 += count);
}

fn set(of: &Labelled<Level>, labels: &[&str], level: f64) {
    update(of, labels, |series| series.0 = level);
}

/// Removes one series; it need not exist.
fn forget<V: Value>(of: &Labelled<V>, labels: &[&str]) {
    let _ = of.remove_label_values(labels);
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(secret: &str) -> SecretLabels {
        SecretLabels {
            secret: secret.into(),
            store: "default".into(),
            vault_path: "secret/common/tls".into(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The lines of the page that are ours, comments and histogram buckets left out.
    fn lines(metrics: &Metrics) -> Vec<String> {
        metrics
            .encode()
            .lines()
            .filter(|line| {
                !line.starts_with('#')
                    && !line.starts_with("process_")
                    && !line.contains("_bucket{")
                    && !line.starts_with("secrets_sync_build_info")
            })
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_page_has_the_contracts_names_and_labels() {
        let metrics = Metrics::new();
        let tls = labels("tls-cert");
        metrics.secrets(3, 2);
        metrics.breaker("default", 1);
        metrics.reloaded(Some(at(1_700_000_000)));
        metrics.reloaded(None);
        metrics.token_expiries([("default", "team-b", at(1_700_003_600))]);
        metrics.synced(&tls, Ok(()), Duration::from_millis(250));
        metrics.success(&tls, at(1_700_000_001), Some(7), 2);
        metrics.synced(&tls, Err(ErrorType::NotFound), Duration::from_millis(250));
        metrics.stale(&tls, Duration::from_secs(30));
        assert_eq!(
            lines(&metrics),
            [
                r#"circuit_breaker_state{name="default"} 1"#,
                r#"secret_fetch_errors_total{error_type="not_found",secret_name="tls-cert",store="default",vault_path="secret/common/tls"} 1"#,
                r#"secret_fetch_total{secret_name="tls-cert",status="error",store="default",vault_path="secret/common/tls"} 1"#,
                r#"secret_fetch_total{secret_name="tls-cert",status="success",store="default",vault_path="secret/common/tls"} 1"#,
                r#"secret_sync_duration_seconds_sum{secret_name="tls-cert",store="default"} 0.5"#,
                r#"secret_sync_duration_seconds_count{secret_name="tls-cert",store="default"} 2"#,
                r#"secrets_configured 3"#,
                r#"secrets_sync_config_last_reload_success_timestamp_seconds 1700000000"#,
                r#"secrets_sync_config_last_reload_successful 0"#,
                r#"secrets_sync_file_writes_total{secret_name="tls-cert",store="default"} 2"#,
                r#"secrets_sync_secret_last_success_timestamp_seconds{secret_name="tls-cert",store="default"} 1700000001"#,
                r#"secrets_sync_secret_stale_seconds{secret_name="tls-cert",store="default"} 30"#,
                r#"secrets_sync_secret_version{secret_name="tls-cert",store="default"} 7"#,
                r#"secrets_sync_token_expiry_timestamp_seconds{credentials="team-b",store="default"} 1700003600"#,
                r#"secrets_synced 2"#,
            ]
        );
    }

    #[test]
    fn the_buckets_are_the_usual_ones() {
        let metrics = Metrics::new();
        metrics.synced(&labels("a"), Ok(()), Duration::ZERO);
        let page = metrics.encode();
        let buckets: Vec<_> = page
            .lines()
            .filter_map(|line| line.split_once("le=\"")?.1.split_once('"'))
            .map(|(le, _)| le)
            .collect();
        assert_eq!(
            buckets,
            [
                "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10",
                "+Inf"
            ]
        );
    }

    #[test]
    fn series_of_what_is_gone_disappear() {
        let metrics = Metrics::new();
        let before = lines(&metrics);
        for secret in ["a", "b"] {
            for error_type in ErrorType::ALL {
                metrics.synced(&labels(secret), Err(error_type), Duration::ZERO);
            }
            metrics.success(&labels(secret), at(1), Some(1), 1);
        }
        metrics.breaker("lab", 2);
        metrics.token_expiries([("lab", "default", at(1)), ("lab", "team-b", at(1))]);
        metrics.forget_secret(&labels("a"));
        assert!(!metrics.encode().contains("secret_name=\"a\""));
        metrics.forget_secret(&labels("b"));
        metrics.forget_store("lab");
        metrics.token_expiries([("lab", "team-b", at(1))]);
        assert!(!metrics.encode().contains("credentials=\"default\""));
        metrics.token_expiries([]);
        assert_eq!(lines(&metrics), before);
    }

    #[test]
    fn a_version_or_expiry_that_no_longer_exists_is_absent() {
        let metrics = Metrics::new();
        metrics.success(&labels("a"), at(1), Some(1), 0);
        metrics.success(&labels("a"), at(2), None, 0);
        metrics.token_expiries([("default", "default", at(1))]);
        metrics.token_expiries([]);
        let page = metrics.encode();
        assert!(!page.contains("secrets_sync_secret_version"));
        assert!(!page.contains("secrets_sync_token_expiry_timestamp_seconds"));
    }

    #[test]
    fn sessions_that_share_a_series_show_the_token_that_ends_first() {
        let metrics = Metrics::new();
        let team = |seconds| ("default", "team", at(seconds));
        metrics.token_expiries([team(9), team(7), team(8)]);
        let line =
            r#"secrets_sync_token_expiry_timestamp_seconds{credentials="team",store="default"} 7"#;
        assert!(lines(&metrics).contains(&line.to_owned()));
    }

    #[test]
    fn the_build_is_named() {
        let page = Metrics::new().encode();
        let line = page
            .lines()
            .find(|line| line.starts_with("secrets_sync_build_info{"))
            .unwrap();
        assert!(line.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))));
        assert!(line.ends_with("} 1"));
    }
}
