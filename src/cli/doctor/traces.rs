//! The receiver of traces, where there is one: whether it takes what the daemon would send.

use std::sync::Arc;
use std::time::Duration;

use super::report::{Check, TROUBLE};
use crate::clock::SystemClock;
use crate::config::{Environment, Tracing};
use crate::observe::trace::Carrier as _;
use crate::store::collector::Collector;

const KIND: &str = "traces";

/// An answer may take as long.
const WITHIN: Duration = Duration::from_secs(5);

/// Sends what a daemon sends that has nothing to tell: a message without spans. Nothing waits for traces, so that
/// nothing here is worse than a warning.
pub(super) fn check(tracing: &Arc<Tracing>, environment: &Environment) -> Check {
    let collector = match Collector::new(tracing, environment, Arc::new(SystemClock)) {
        Ok(collector) => collector,
        Err(error) => return Check::fail(KIND, error),
    };
    let address = collector.address().to_owned();
    let status = match collector.carry(Vec::new(), WITHIN.min(tracing.timeout)) {
        Ok(answer) => answer.status,
        Err((error, _)) => return Check::warning(KIND, error, TROUBLE),
    };
    let answered = format!("`{address}`: the receiver of traces answered {status}");
    match status {
        200..=299 => match collector.warning() {
            Some(open) => Check::warning(
                KIND,
                open,
                "let the receiver speak TLS, and write `https://`",
            ),
            None => Check::ok(KIND, format!("`{address}`: the receiver takes traces")),
        },
        401 | 403 => Check::warning(
            KIND,
            answered,
            "put the header that it asks for into `OTEL_EXPORTER_OTLP_HEADERS`",
        ),
        404 | 405 | 415 => Check::warning(
            KIND,
            answered,
            "name its OTLP/HTTP port, mostly 4318, in `OTEL_EXPORTER_OTLP_ENDPOINT`: `/v1/traces` is added to it",
        ),
        _ => Check::warning(KIND, answered, "look at the receiver's log"),
    }
}
