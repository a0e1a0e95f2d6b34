//! What is asked.

use std::time::Duration;

use bytes::Bytes;
use ureq::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use ureq::http::{HeaderMap, Method as HttpMethod};
use zeroize::Zeroizing;

use super::HttpError;
use crate::failure::ErrorType;
use crate::observe::trace;
use crate::secret::{SecretBytes, SecretString};

/// What is shorter is no secret, and would be found anywhere.
const SHORTEST_SECRET: usize = 4;

/// Shorter words of a body may as well be names.
const SHORTEST_WORD: usize = 16;

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len())
        .any(|window| window.eq_ignore_ascii_case(part))
}

/// The methods that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Logs in, renews, looks up, revokes, unwraps.
    Post,
    /// As [`Method::Post`], where the API documents PUT.
    Put,
}

impl Method {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }

    pub(super) fn http(self) -> HttpMethod {
        match self {
            Self::Get => HttpMethod::GET,
            Self::Post => HttpMethod::POST,
            Self::Put => HttpMethod::PUT,
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// How.
    pub method: Method,
    /// `/v1/…`, percent-encoded.
    pub path: &'a str,
    /// `a=b&c=d`, percent-encoded; empty for none.
    pub query: &'a str,
    /// `X-Vault-Namespace`; empty for none.
    pub namespace: &'a str,
    /// `X-Vault-Token`.
    pub token: Option<&'a SecretString>,
    /// JSON; ignored for a GET.
    pub body: Option<&'a SecretBytes>,
    /// The longest that all of it may take: look-up, connection, TLS, request, whole answer, and
    /// a resend or redirect where there is one.
    pub timeout: Duration,
    /// Whether it does no harm to send it twice: then it is sent once more, at once, when a
    /// pooled connection turns out to have been closed before a byte of the answer came. True for
    /// reads; false for whatever creates (a login makes a token, an unwrapping spends one).
    pub idempotent: bool,
    /// Of a request that is none of the API's: these headers, and none of those above.
    pub foreign: Option<&'a HeaderMap>,
    /// What its span is called where it is traced; empty: its method and path.
    pub span: &'static str,
}

impl<'a> Request<'a> {
    /// A read.
    #[must_use]
    pub fn get(path: &'a str, timeout: Duration) -> Self {
        Self {
            method: Method::Get,
            path,
            query: "",
            namespace: "",
            token: None,
            body: None,
            timeout,
            idempotent: true,
            foreign: None,
            span: "",
        }
    }

    /// A POST that is not sent twice.
    #[must_use]
    pub fn post(path: &'a str, body: Option<&'a SecretBytes>, timeout: Duration) -> Self {
        Self {
            method: Method::Post,
            body,
            idempotent: false,
            ..Self::get(path, timeout)
        }
    }

    /// Whether a text that the server chose holds what was sent to it in confidence: the token, or a
    /// longer word of the body (a secret ID). Letters of either case: in the name of a host they are
    /// the same.
    pub(super) fn is_echoed_in(&self, text: &str) -> bool {
        let token = self
            .token
            .map_or(&[][..], |token| token.expose().as_bytes());
        let body = self.body.map_or(&[][..], SecretBytes::expose);
        let foreign = self.foreign.into_iter().flat_map(HeaderMap::values);
        let mut secrets = foreign
            .filter(|value| value.is_sensitive())
            .map(HeaderValue::as_bytes)
            .chain([token]);
        secrets.any(|secret| secret.len() >= SHORTEST_SECRET && holds(text.as_bytes(), secret))
            || text
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .any(|word| word.len() >= SHORTEST_WORD && holds(body, word.as_bytes()))
    }

    pub(super) fn headers(&self) -> Result<HeaderMap, HttpError> {
        if let Some(foreign) = self.foreign {
            return Ok(foreign.clone());
        }
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(
            HeaderName::from_static("x-vault-request"),
            HeaderValue::from_static("true"),
        );
        if !self.namespace.is_empty() {
            let value = HeaderValue::from_bytes(self.namespace.as_bytes()).map_err(|_| {
                HttpError::new(
                    ErrorType::BadRequest,
                    "the namespace holds characters that no header may carry",
                )
                .remedy("correct `namespace`")
            })?;
            headers.insert(HeaderName::from_static("x-vault-namespace"), value);
        }
        if let Some(token) = self.token {
            // The value owns bytes that are wiped when the last of its clones is dropped.
            let bytes = Zeroizing::new(token.expose().as_bytes().to_vec());
            let mut value =
                HeaderValue::from_maybe_shared(Bytes::from_owner(bytes)).map_err(|_| {
                    HttpError::new(
                        ErrorType::Auth,
                        "the token holds characters that no header may carry",
                    )
                    .remedy("bring the token without the line break or control character in it")
                })?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-vault-token"), value);
        }
        if let Some(value) = trace::traceparent()
            && let Ok(value) = HeaderValue::try_from(value)
        {
            headers.insert(HeaderName::from_static("traceparent"), value);
        }
        if self.method != Method::Get && self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(headers)
    }
}
