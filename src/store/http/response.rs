//! What is answered.

use std::io::Read;
use std::time::{Duration, SystemTime};

use ureq::http::HeaderMap;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER};
use zeroize::Zeroizing;

use crate::observe::trace::Span;
use crate::secret::SecretBytes;
use crate::store::limiter::Permit;

/// An answer is large when it is longer. A server's storage takes no larger secret by default.
const LARGE: usize = 1 << 20;

/// The first guess at the size of a body that does not say.
const FIRST_CAPACITY: usize = 8 << 10;

/// An answer of any status but a redirect.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// How long the server asks us to wait (`Retry-After`, in seconds or as a date against the
    /// answer's own `Date`), not capped.
    pub retry_after: Option<Duration>,
    /// The server's clock.
    pub date: Option<SystemTime>,
    /// Whether the body calls itself JSON: the server's own answers do, most proxies' do not.
    pub is_json: bool,
    /// The body.
    pub body: SecretBytes,
    /// Of a large body: to be kept as long as that.
    pub place: Option<Permit>,
    /// Of the request, which is over: what is made of the answer is yet to be told.
    pub span: Span,
}

impl Response {
    pub(super) fn new(status: u16, headers: &HeaderMap, (body, place): Body) -> Self {
        let date = text(headers, &DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        Self {
            status,
            retry_after: text(headers, &RETRY_AFTER).and_then(|after| retry_after(after, date)),
            date,
            is_json: text(headers, &CONTENT_TYPE).is_some_and(|kind| {
                kind.split(';')
                    .next()
                    .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
            }),
            body,
            place,
            span: Span::none(),
        }
    }
}

/// A body, and where it is large the right to it.
pub(super) type Body = (SecretBytes, Option<Permit>);

/// The value of a header, as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn retry_after(value: &str, date: Option<SystemTime>) -> Option<Duration> {
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // What does not fit is longer than anybody waits.
        return (!value.is_empty())
            .then(|| Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(date?).unwrap_or(Duration::ZERO))
}

/// Why a body could not be read.
pub(super) enum BodyFault {
    TooLarge,
    /// There are other large ones, and they stayed too long.
    NoRoom,
    Broken(ureq::Error),
}

/// Reads a body of at most `max` bytes into memory of which no copy is left behind when it grows. For
/// a large one it asks for a place first.
pub(super) fn read_body(
    headers: &HeaderMap,
    mut reader: impl Read,
    max: usize,
    place: impl Fn() -> Option<Permit>,
) -> Result<Body, BodyFault> {
    let announced = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
    if announced.is_some_and(|length: usize| length > max) {
        return Err(BodyFault::TooLarge);
    }
    let mut taken = None;
    let mut body = Zeroizing::new(Vec::with_capacity(
        announced.unwrap_or(FIRST_CAPACITY).min(LARGE),
    ));
    let mut chunk = Zeroizing::new([0; 2048]);
    loop {
        let read = reader
            .read(chunk.as_mut())
            .map_err(|error| BodyFault::Broken(error.into()))?;
        if read == 0 {
            return Ok((SecretBytes::new(std::mem::take(&mut *body)), taken));
        }
        if body.len() + read > max {
            return Err(BodyFault::TooLarge);
        }
        if body.len() + read > LARGE && taken.is_none() {
            taken = Some(place().ok_or(BodyFault::NoRoom)?);
        }
        if body.len() + read > body.capacity() {
            let most = announced.unwrap_or(max);
            let room = (body.capacity().max(read) * 2).min(most.max(body.len() + read));
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(&chunk[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").ok();
        let after = |value| retry_after(value, date).map(|after| after.as_secs());
        assert_eq!(after("0"), Some(0));
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:51:37 GMT"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(after("99999999999999999999999"), Some(u64::from(u32::MAX)));
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:51:37 GMT", None), None);
    }
}
