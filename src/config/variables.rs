//! The variables that the program reads by itself, each named once. [`Environment`] gives no other
//! one out but for `${VAR}`, whose names the configuration chooses.
//!
//! [`Environment`]: super::Environment

/// Every variable by its exact name. The manual and `docs/environment.md` name these, and no others.
pub const VARIABLES: &[&str] = &[
    // The daemon.
    "CONFIG_FILE",
    "WATCH_CONFIG",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "METRICS_ADDR",
    "METRICS_PORT",
    "ENABLE_METRICS",
    "STATUS_FILE",
    "CIRCUIT_BREAKER_MAX_REQUESTS",
    "CIRCUIT_BREAKER_INTERVAL",
    "CIRCUIT_BREAKER_TIMEOUT",
    "INITIAL_BACKOFF",
    "MAX_BACKOFF",
    "BACKOFF_MULTIPLIER",
    "SHUTDOWN_TIMEOUT",
    "SANDBOX",
    "SANDBOX_WRITE_PATHS",
    "ENABLE_TRACING",
    "OTEL_EXPORTER_ENDPOINT",
    // Traces: the standard ones of OpenTelemetry.
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    // The default store, and its twins.
    "VAULT_ADDR",
    "BAO_ADDR",
    "VAULT_TOKEN",
    "BAO_TOKEN",
    "VAULT_TOKEN_FILE",
    "VAULT_ROLE_ID",
    "VAULT_SECRET_ID",
    "VAULT_SECRET_ID_FILE",
    "VAULT_NAMESPACE",
    "BAO_NAMESPACE",
    "VAULT_CACERT",
    "BAO_CACERT",
    "VAULT_CAPATH",
    "BAO_CAPATH",
    "VAULT_SKIP_VERIFY",
    "BAO_SKIP_VERIFY",
    "VAULT_CLIENT_CERT",
    "BAO_CLIENT_CERT",
    "VAULT_CLIENT_KEY",
    "BAO_CLIENT_KEY",
    "VAULT_TLS_SERVER_NAME",
    "BAO_TLS_SERVER_NAME",
    // Trust and proxies.
    "SSL_CERT_FILE",
    "VAULT_PROXY_ADDR",
    "BAO_PROXY_ADDR",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    // Set by systemd.
    "RUNTIME_DIRECTORY",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    // Of the terminal.
    "NO_COLOR",
    "TERM",
];

/// Families of names: one of them that the program does not know is worth a message where it holds
/// no text.
const PREFIXES: [&str; 4] = ["CIRCUIT_BREAKER_", "OTEL_", "VAULT_", "BAO_"];

/// Whether the program reads a variable of this name by itself, or one of its family.
pub(super) fn is_ours(name: &str) -> bool {
    VARIABLES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_once() {
        let mut sorted = VARIABLES.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), VARIABLES.len());
    }

    #[test]
    fn families_are_ours_and_strangers_are_not() {
        for (name, ours) in [
            ("STATUS_FILE", true),
            ("no_proxy", true),
            ("VAULT_WHATEVER", true),
            ("OTEL_SERVICE_NAME", true),
            ("PATH", false),
            ("MY_VAULT_ADDR", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
