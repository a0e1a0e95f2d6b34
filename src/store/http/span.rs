//! What a trace is told of a request, by the names of OpenTelemetry
//! ([HTTP client](https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client)): each sending is
//! a span of its own, one that follows a redirect too.

use ureq::http::Version;

use super::origin::Origin;
use super::request::Request;
use super::{Answer, HttpError};
use crate::observe::trace::{self, Span};

/// Begins the span of one sending; `resends` came before it.
pub(super) fn begin(origin: &Origin, request: &Request<'_>, url: &str, resends: i64) -> Span {
    let mut span = trace::client(|| match request.span {
        "" => format!("{} {}", request.method.as_str(), request.path).into(),
        name => name.into(),
    });
    if !span.is_recorded() {
        return span;
    }
    span.set("http.request.method", request.method.as_str());
    span.set("server.address", origin.server().to_owned());
    if let Some(port) = origin.server_port() {
        span.set("server.port", i64::from(port));
    }
    // Where a redirect leads is the server's to say: it may say what was sent to it.
    if !request.is_echoed_in(url) {
        span.set("url.full", url.to_owned());
    }
    if !request.namespace.is_empty() {
        span.set("secrets_sync.namespace", request.namespace.to_owned());
    }
    if resends > 0 {
        span.set("http.request.resend_count", resends);
    }
    span
}

/// The head of the answer is here.
pub(super) fn answered(span: &mut Span, status: u16, version: Version) {
    if span.is_recorded() {
        span.set(
            "network.protocol.version",
            match version {
                Version::HTTP_10 => "1.0",
                _ => "1.1",
            },
        );
        span.answered(status);
    }
}

/// It is over. The caller says what a whole answer means.
pub(super) fn over(
    mut span: Span,
    mut result: Result<Answer, HttpError>,
) -> Result<Answer, HttpError> {
    span.leave();
    match &mut result {
        Ok(Answer::Final(response)) => response.span = span,
        Ok(Answer::Redirect { .. }) => {}
        Err(error) => span.failed(error.error_type, &error.message),
    }
    result
}
