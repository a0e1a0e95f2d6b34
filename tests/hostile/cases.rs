//! What a server of the API never does, and what only looks so: each answer to a read with the class,
//! the words and the pace that it must lead to.

use std::time::Duration;

use serde_json::json;

use super::Pace::{self, Settles, Waits};
use super::RETRIES;
use crate::support::{Action, Response};

/// `timeout` of the store.
const TIMEOUT: Duration = Duration::from_secs(2);

/// `MAX_BACKOFF`.
const LONGEST: Duration = Duration::from_secs(300);

/// One misbehaviour: its name, which is the secret's and its key; what the server does; the class;
/// what the message says; the pace.
pub struct Case(
    pub &'static str,
    pub Action,
    pub &'static str,
    pub &'static str,
    pub Pace,
);

pub fn kv(value: &str) -> Response {
    Response::json(
        200,
        &json!({"data": {"data": {"x": value}, "metadata": {"version": 1}}}),
    )
}

const OK: &str = "HTTP/1.1 200 OK\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn status(status: u16, body: &str) -> Action {
    Response {
        status,
        headers: Vec::new(),
        body: body.into(),
    }
    .act()
}

fn raw(text: impl Into<Vec<u8>>) -> Action {
    Action::Raw(text.into())
}

fn throttled(retry_after: &str) -> Action {
    Response::error(429, "slow")
        .header("Retry-After", retry_after)
        .act()
}

fn body(text: &str) -> Action {
    status(200, text)
}

/// `@A@` is the server's address. What is throttled waits as long as it was told.
pub fn cases() -> Vec<Case> {
    vec![
        Case(
            "garbage",
            raw("\x16\x03\x01 no HTTP at all\r\n\r\n"),
            "bad_response",
            "`@A@` does not speak proper HTTP: ",
            Settles,
        ),
        Case(
            "http-2",
            raw("HTTP/2 200\r\ncontent-length: 0\r\n\r\n"),
            "bad_response",
            "`@A@` does not speak proper HTTP: ",
            Settles,
        ),
        Case(
            "status-line",
            raw("HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"),
            "bad_response",
            "`@A@` does not speak proper HTTP: ",
            Settles,
        ),
        Case(
            "endless-headers",
            raw(format!("{OK}{}", "X-More: and more\r\n".repeat(50_000))),
            "bad_response",
            "`@A@` does not speak proper HTTP: http parse resulted in too many headers",
            Settles,
        ),
        Case(
            "endless-header",
            raw(format!("{OK}X-More: {}", "x".repeat(1_000_000))),
            "bad_response",
            "`@A@` does not speak proper HTTP: its response head is larger than 16 KiB",
            Settles,
        ),
        Case(
            "continues",
            raw("HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000)),
            "bad_response",
            "`@A@` does not speak proper HTTP: its response head is larger than 16 KiB",
            Settles,
        ),
        Case(
            "negative-length",
            raw(format!("{OK}Content-Length: -5\r\n\r\n{{}}")),
            "bad_response",
            "`@A@` does not speak proper HTTP: content-length header not a number",
            Settles,
        ),
        Case(
            "two-lengths",
            raw(format!(
                "{OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"
            )),
            "bad_response",
            "`@A@` does not speak proper HTTP: conflicting content-length headers",
            Settles,
        ),
        Case(
            "short-length",
            raw(format!("{OK}Content-Length: 5\r\n\r\n{{\"data\":{{}}}}")),
            "bad_response",
            "`@A@`: read of `secret/short-length`: the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "no-chunks",
            raw(format!("{CHUNKED}zz\r\n{{}}\r\n0\r\n\r\n")),
            "bad_response",
            "`@A@` does not speak proper HTTP: chunk length cannot be read as a number",
            Settles,
        ),
        Case(
            "half-a-chunk",
            raw(format!("{CHUNKED}10\r\n{{}}")),
            "unavailable",
            "`@A@`: the request failed: the server closed the connection",
            RETRIES,
        ),
        Case(
            "a-huge-chunk",
            raw(format!("{CHUNKED}ffffffffffffffff\r\n{{}}")),
            "unavailable",
            "`@A@`: the request failed: the server closed the connection",
            RETRIES,
        ),
        Case(
            "half-a-body",
            Action::HalfBody(kv("new"), 20),
            "unavailable",
            "`@A@`: the request failed: the server closed the connection",
            RETRIES,
        ),
        Case(
            "100-mb",
            raw(format!(
                "{OK}Content-Length: 104857600\r\n\r\n{}",
                "x".repeat(1 << 20)
            )),
            "bad_response",
            "the answer of `@A@` is larger than 2097152 bytes",
            Settles,
        ),
        Case(
            "endless-chunks",
            raw(format!(
                "{CHUNKED}{}",
                format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(40)
            )),
            "bad_response",
            "the answer of `@A@` is larger than 2097152 bytes",
            Settles,
        ),
        Case(
            "slow",
            Action::Slow(kv("new"), Duration::from_millis(200)),
            "timeout",
            "no complete answer from `@A@` within 2s",
            Pace::Retries(TIMEOUT),
        ),
        Case(
            "silent",
            Action::Hang,
            "timeout",
            "no complete answer from `@A@` within 2s",
            Pace::Retries(TIMEOUT),
        ),
        Case(
            "reset",
            Action::Reset,
            "unavailable",
            "`@A@`: before it answered: the server reset the connection",
            RETRIES,
        ),
        Case(
            "closed",
            Action::Close,
            "unavailable",
            "`@A@`: before it answered: the server closed the connection",
            RETRIES,
        ),
        Case(
            "html",
            body("<html><body>Sign in</body></html>"),
            "bad_response",
            "`@A@`: read of `secret/html`: the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "empty",
            body(""),
            "bad_response",
            "`@A@`: read of `secret/empty`: the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "no-content",
            status(204, ""),
            "bad_response",
            "`@A@`: read of `secret/no-content`: the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "a-list",
            body("[]"),
            "bad_response",
            "the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "nothing",
            body("null"),
            "bad_response",
            "the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "no-utf-8",
            Response {
                status: 200,
                headers: vec![],
                body: b"{\"data\":{\"data\":{\"x\":\"\xff\"}}}".to_vec(),
            }
            .act(),
            "bad_response",
            "the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "trailing",
            body(r#"{"data":{"data":{"x":"new"},"metadata":{"version":1}}}{}"#),
            "bad_response",
            "the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "deep",
            body(&"{\"data\":".repeat(100_000)),
            "bad_response",
            "the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "deep-value",
            body(&format!(
                r#"{{"data":{{"data":{{"x":{}1{}}},"metadata":{{"version":1}}}}}}"#,
                "[".repeat(10_000),
                "]".repeat(10_000)
            )),
            "bad_response",
            "the data is nested deeper than 64 levels",
            Settles,
        ),
        Case(
            "no-data",
            body("{}"),
            "bad_response",
            "`@A@`: read of `secret/no-data`: the body has no `data`",
            Settles,
        ),
        Case(
            "data-is-text",
            body(r#"{"data":"x"}"#),
            "bad_response",
            "does the mount speak version 1?",
            Settles,
        ),
        Case(
            "data-is-a-list",
            body(r#"{"data":{"data":[1],"metadata":{"version":1}}}"#),
            "bad_response",
            "the data is not a JSON object",
            Settles,
        ),
        Case(
            "version-is-text",
            body(r#"{"data":{"data":{"x":"new"},"metadata":{"version":"one"}}}"#),
            "bad_response",
            "does the mount speak version 1?",
            Settles,
        ),
        Case(
            "gzip",
            Response {
                status: 200,
                headers: vec![("Content-Encoding".into(), "gzip".into())],
                body: b"\x1f\x8b\x08\0\0\0".to_vec(),
            }
            .act(),
            "bad_response",
            "the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "status-101",
            raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
            "bad_response",
            "`@A@`: read of `secret/status-101`: answered 101, which no server of the API does",
            Settles,
        ),
        Case(
            "status-304",
            status(304, ""),
            "unavailable",
            "the server answered 304",
            RETRIES,
        ),
        Case(
            "status-403",
            status(403, "<html>"),
            "denied",
            "answered 403, and not by the server",
            Settles,
        ),
        Case(
            "status-404",
            status(404, "<html>"),
            "not_found",
            "`@A@`: read of `secret/status-404`: answered 404",
            Settles,
        ),
        Case(
            "status-418",
            Response::error(418, "short \u{1b}[31mand\nstout").act(),
            "bad_request",
            "the server refused the request (418): short \\u{1b}[31mand; stout",
            Settles,
        ),
        Case(
            "status-429",
            Response::error(429, "slow")
                .header("Retry-After", "3600")
                .act(),
            "throttled",
            "the server asks for fewer requests (429, again after 5m)",
            Waits(LONGEST),
        ),
        Case(
            "status-500",
            Response::error(500, "internal error").act(),
            "unavailable",
            "the server answered 500: internal error",
            RETRIES,
        ),
        Case(
            "status-502",
            status(502, "<html>"),
            "unavailable",
            "the server answered 502",
            RETRIES,
        ),
        Case(
            "status-999",
            raw("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
            "bad_response",
            "answered 999, which no server of the API does",
            Settles,
        ),
        Case(
            "no-fields",
            body(r#"{"data":{"data":{},"metadata":{"version":2}}}"#),
            "render",
            "field `x` is missing",
            Settles,
        ),
        Case(
            "an-empty-value",
            body(r#"{"data":{"data":{"x":""},"metadata":{"version":2}}}"#),
            "write",
            "the content is empty; the old file stays",
            Settles,
        ),
        Case(
            "429-soon",
            throttled("1"),
            "throttled",
            "the server asks for fewer requests (429, again after 1s)",
            Waits(Duration::from_secs(1)),
        ),
        Case(
            "429-date",
            Response::error(429, "slow")
                .header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
                .header("Retry-After", "Sun, 06 Nov 1994 08:49:39 GMT")
                .act(),
            "throttled",
            "the server asks for fewer requests (429, again after 2s)",
            Waits(Duration::from_secs(2)),
        ),
        Case(
            "429-past",
            Response::error(429, "slow")
                .header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
                .header("Retry-After", "Sun, 06 Nov 1993 08:49:37 GMT")
                .act(),
            "throttled",
            "the server asks for fewer requests (429)",
            RETRIES,
        ),
        Case(
            "429-huge",
            throttled("99999999999999999999999"),
            "throttled",
            "the server asks for fewer requests (429, again after 5m)",
            Waits(LONGEST),
        ),
        Case(
            "429-negative",
            throttled("-1"),
            "throttled",
            "the server asks for fewer requests (429)",
            RETRIES,
        ),
        Case(
            "429-garbage",
            throttled("soon, please"),
            "throttled",
            "the server asks for fewer requests (429)",
            RETRIES,
        ),
        Case(
            "status-408",
            status(408, ""),
            "timeout",
            "something before the server gave up (408)",
            RETRIES,
        ),
        Case(
            "status-412",
            Response::error(412, "required index state not present").act(),
            "unavailable",
            "the replica is behind (412): required index state not present",
            RETRIES,
        ),
        Case(
            "status-472",
            status(472, ""),
            "unavailable",
            "the server is a disaster recovery standby (472)",
            RETRIES,
        ),
        Case(
            "status-473",
            status(473, ""),
            "unavailable",
            "the server is a performance standby (473)",
            RETRIES,
        ),
        Case(
            "status-501",
            status(501, "{}"),
            "unavailable",
            "the server is not initialised",
            RETRIES,
        ),
        Case(
            "status-503-sealed",
            Response::error(503, "Vault is sealed").act(),
            "sealed",
            "the server is sealed",
            RETRIES,
        ),
        Case(
            "status-503-later",
            Response::error(503, "maintenance")
                .header("Retry-After", "2")
                .act(),
            "unavailable",
            "the server answered 503: maintenance",
            Waits(Duration::from_secs(2)),
        ),
        Case(
            "errors-of-a-wrong-type",
            status(500, r#"{"errors":{"a":1}}"#),
            "unavailable",
            "the server answered 500",
            RETRIES,
        ),
        Case(
            "countless-errors",
            status(
                400,
                &format!("{{\"errors\":[\"x\"{}]}}", ",\"x\"".repeat(200_000)),
            ),
            "bad_request",
            "the server refused the request (400): x; x; x",
            Settles,
        ),
        Case(
            "an-error-without-end",
            status(
                400,
                &format!("{{\"errors\":[\"{}\"]}}", "x".repeat(900_000)),
            ),
            "bad_request",
            "xxx…",
            Settles,
        ),
        Case(
            "countless-values",
            body(&format!(
                r#"{{"data":{{"data":{{"x":[1{}]}},"metadata":{{"version":1}}}}}}"#,
                ",1".repeat(60_000)
            )),
            "bad_response",
            "the data has more than 50000 values",
            Settles,
        ),
        Case(
            "a-chunk-line-without-end",
            raw(format!("{CHUNKED}1;{}", "x".repeat(1_000_000))),
            "bad_response",
            "`@A@` does not speak proper HTTP: ",
            Settles,
        ),
        Case(
            "half-a-head",
            raw("HTTP/1.1 200 OK\r\nContent-Le"),
            "unavailable",
            "`@A@`: the request failed: the server closed the connection",
            RETRIES,
        ),
        Case(
            "twice-the-same-key",
            body(r#"{"data":{"data":{"x":"new"},"metadata":{"version":1}},"data":{}}"#),
            "bad_response",
            "the body is not the JSON of the API",
            Settles,
        ),
        Case(
            "half-a-character",
            body(r#"{"data":{"data":{"x":"\ud800"},"metadata":{"version":1}}}"#),
            "bad_response",
            "the data is not a JSON object",
            Settles,
        ),
        Case(
            "a-list-for-data",
            body(r#"{"data":[{"x":"new"},{"version":1}]}"#),
            "bad_response",
            "does the mount speak version 1?",
            Settles,
        ),
        Case(
            "a-lease-of-a-wrong-type",
            body(r#"{"lease_id":5,"data":{"data":{"x":"new"},"metadata":{"version":1}}}"#),
            "bad_response",
            "the body is not the JSON of the API",
            Settles,
        ),
    ]
}

/// What looks odd and is right: the secret is read as ever, at the first attempt.
pub fn harmless() -> Vec<(&'static str, Action)> {
    let json = r#"{"data":{"data":{"x":"new"},"metadata":{"version":2}}}"#;
    let length = json.len();
    let sized = format!("Content-Length: {length}\r\n\r\n{json}");
    vec![
        (
            "interim-answers",
            raw(format!(
                "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}{sized}"
            )),
        ),
        ("until-the-end", raw(format!("{OK}\r\n{json}"))),
        ("http-1.0", raw(format!("HTTP/1.0 200 OK\r\n\r\n{json}"))),
        (
            "chunks",
            raw(format!(
                "{CHUNKED}1;a=b\r\n{}\r\n{:x}\r\n{}\r\n0\r\nX-Sum: y\r\n\r\n",
                &json[..1],
                length - 1,
                &json[1..]
            )),
        ),
        (
            "trailers-without-end",
            raw(format!(
                "{CHUNKED}{length:x}\r\n{json}\r\n0\r\n{}",
                "X-More: and more\r\n".repeat(50_000)
            )),
        ),
        // What comes after an answer is the answer to nothing.
        (
            "more-than-was-asked-for",
            Action::RespondAndMore(kv("new"), kv("of another secret")),
        ),
        (
            "nulls",
            body(
                r#"{"lease_id":null,"lease_duration":null,"warnings":null,"errors":null,"auth":null,"data":{"data":{"x":"new"},"metadata":{"version":null}}}"#,
            ),
        ),
        (
            "a-negative-lease",
            body(r#"{"lease_duration":-5,"data":{"data":{"x":"new"},"metadata":{}}}"#),
        ),
        (
            "a-lease-for-ever",
            body(
                r#"{"lease_duration":9223372036854775807,"data":{"data":{"x":"new"},"metadata":{}}}"#,
            ),
        ),
    ]
}
