//! A server that misbehaves in every way: each is a failure of its class that says what and where,
//! asked again at the pace of that class, and no file and no other secret feels it.

mod support;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use support::{Action, Daemon, Request, Response, SOON, ScriptedServer, Signal};

use Pace::{Retries, Settles};

/// How a failure is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// With backoff: it may pass by itself.
    Retries,
    /// At the refresh interval: somebody must change something.
    Settles,
}

/// One misbehaviour: its name, which is the secret's and its key; what the server does; the class;
/// what the message says; the pace.
struct Case(&'static str, Action, &'static str, &'static str, Pace);

fn kv(value: &str) -> Response {
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

fn body(text: &str) -> Action {
    status(200, text)
}

/// `@A@` is the server's address. What is throttled waits as long as it was told.
fn cases() -> Vec<Case> {
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
            Retries,
        ),
        Case(
            "a-huge-chunk",
            raw(format!("{CHUNKED}ffffffffffffffff\r\n{{}}")),
            "unavailable",
            "`@A@`: the request failed: the server closed the connection",
            Retries,
        ),
        Case(
            "half-a-body",
            Action::HalfBody(kv("new"), 20),
            "unavailable",
            "`@A@`: the request failed: the server closed the connection",
            Retries,
        ),
        Case(
            "100-mb",
            body(&format!("{{\"data\":\"{}\"}}", "x".repeat(100 << 20))),
            "bad_response",
            "the answer of `@A@` is larger than 10485760 bytes",
            Settles,
        ),
        Case(
            "endless-chunks",
            raw(format!(
                "{CHUNKED}{}",
                format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(200)
            )),
            "bad_response",
            "the answer of `@A@` is larger than 10485760 bytes",
            Settles,
        ),
        Case(
            "slow",
            Action::Slow(kv("new"), Duration::from_millis(200)),
            "timeout",
            "no complete answer from `@A@` within 2s",
            Retries,
        ),
        Case(
            "silent",
            Action::Hang,
            "timeout",
            "no complete answer from `@A@` within 2s",
            Retries,
        ),
        Case(
            "reset",
            Action::Reset,
            "unavailable",
            "`@A@`: before it answered: the server reset the connection",
            Retries,
        ),
        Case(
            "closed",
            Action::Close,
            "unavailable",
            "`@A@`: before it answered: the server closed the connection",
            Retries,
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
            Retries,
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
            Settles,
        ),
        Case(
            "status-500",
            Response::error(500, "internal error").act(),
            "unavailable",
            "the server answered 500: internal error",
            Retries,
        ),
        Case(
            "status-502",
            status(502, "<html>"),
            "unavailable",
            "the server answered 502",
            Retries,
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
    ]
}

#[test]
fn each_misbehaviour_is_a_failure_of_its_class_and_the_file_stays() {
    let cases = cases();
    let hostile = Arc::new(AtomicBool::new(false));
    let good = Arc::new(Mutex::new("good 1"));
    let (turned, told) = (Arc::clone(&hostile), Arc::clone(&good));
    let script: HashMap<_, _> = cases.iter().map(|case| (case.0, case.1.clone())).collect();
    let server = ScriptedServer::start(move |request| {
        let key = request.target.rsplit('/').next().unwrap();
        match script.get(key) {
            Some(action) if turned.load(Ordering::SeqCst) => action.clone(),
            Some(_) => kv("old").act(),
            None if key == "good" => kv(*told.lock().unwrap()).act(),
            None => body("{}"),
        }
    });
    let mut config = format!(
        "secretStore: {{address: '{}', authMethod: none, timeout: 2s, maxConcurrent: 64}}\n\
         secrets:\n- {{name: good, key: good, refreshInterval: 1s, files: [{{path: @DIR@/good, \
         field: x}}]}}\n",
        server.address()
    );
    for Case(name, ..) in &cases {
        config.push_str(&format!(
            "- {{name: {name}, key: {name}, refreshInterval: 1h, files: [{{path: @DIR@/{name}, \
             field: x}}]}}\n"
        ));
    }
    let mut daemon = Daemon::new(&config).start();
    daemon.wait_ready(SOON);
    let inode = |name: &str| fs::metadata(daemon.path(name)).unwrap().ino();
    let inodes: Vec<_> = cases.iter().map(|case| inode(case.0)).collect();

    hostile.store(true, Ordering::SeqCst);
    server.clear();
    daemon.signal(Signal::USR1);
    let asked = |name: &str| {
        let path = format!("secret/data/{name}");
        move |request: &Request| request.is("GET", &path)
    };
    for Case(name, _, error_type, message, pace) in &cases {
        let line = daemon.wait_for_log(SOON, |line| {
            line.has("secret", name) && line.json["error_type"].is_string()
        });
        assert_eq!(line.text("error_type"), *error_type, "{}", line.raw);
        let message = message.replace("@A@", &server.address());
        assert!(
            line.text("error").contains(&message),
            "{message}: {}",
            line.raw
        );
        assert!(
            !line.text("error").contains(char::is_control),
            "{}",
            line.raw
        );
        assert_eq!(line.text("path"), format!("secret/{name}"));
        let level = match pace {
            Retries => "warn",
            Settles => "error",
        };
        if *error_type != "throttled" {
            assert_eq!(line.text("level"), level, "{}", line.raw);
        }
    }
    // Backoff. Only a pooled connection that was closed under a request makes it go out twice.
    for Case(name, .., pace) in &cases {
        if *pace == Retries {
            let requests = server.wait_for(3, SOON * 2, asked(name));
            let gap = requests[2].at - requests[0].at;
            assert!(gap >= Duration::from_millis(100), "{name}: {gap:?}");
        }
    }
    *good.lock().unwrap() = "good 2";
    daemon.wait_file("good", "good 2", SOON);
    for Case(name, _, error_type, _, pace) in &cases {
        if *pace == Settles {
            assert_eq!(server.count(asked(name)), 1, "{name}");
        }
        daemon.wait_status(SOON, |status| {
            status["secrets"].as_array().unwrap().iter().any(|secret| {
                secret["name"] == *name
                    && secret["state"] == "failed"
                    && secret["error_type"] == *error_type
            })
        });
    }
    for (Case(name, ..), before) in cases.iter().zip(inodes) {
        assert_eq!(
            fs::read_to_string(daemon.path(name)).unwrap(),
            "old",
            "{name}"
        );
        assert_eq!(inode(name), before, "{name} was written");
    }
    let status = daemon.status().unwrap();
    assert_eq!(
        (&status["ready"], &status["degraded"]),
        (&json!(true), &json!(true))
    );
    assert!(
        daemon.peak_rss_kib() < 150 * 1024,
        "{} KiB",
        daemon.peak_rss_kib()
    );
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!daemon.log().iter().any(|line| line.raw.contains("panic")));
}
