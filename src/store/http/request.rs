//! What is asked.

use std::time::Duration;

use bytes::Bytes;
use ureq::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use ureq::http::{HeaderMap, Method as HttpMethod};
use zeroize::Zeroizing;

use super::HttpError;
use crate::failure::ErrorType;
use crate::secret::{SecretBytes, SecretString};

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

    pub(super) fn headers(&self) -> Result<HeaderMap, HttpError> {
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
                    .remedy("look for a line break or a control character in it")
                })?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-vault-token"), value);
        }
        if self.method != Method::Get && self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(headers)
    }
}
