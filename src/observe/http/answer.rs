//! What is at which path.

use serde::Serialize;
use tiny_http::{HTTPVersion, Header, Method, Response, StatusCode};

use super::board::Board;
use super::page;
use super::request::Request;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' exposition format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const HTML: &str = "text/html; charset=utf-8";

/// What is said to who asks by a name that a stranger may have made point here.
const OTHER_NAME: &str = "this is shown to who asks for it by an address or as localhost\n";

/// A page before it is spelled out.
struct Page {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    degraded: bool,
    secret_count: usize,
    synced_count: usize,
}

/// The whole answer, as it goes over the wire. `loopback`: only the machine itself can ask, and a
/// browser on it, which a page elsewhere can send here under a name of its own (DNS rebinding): names
/// of secrets are not for that page to read.
pub(super) fn answer(request: &Request, board: &Board, loopback: bool) -> Vec<u8> {
    if request.method != Method::Get {
        // The answer to a HEAD has no body, whatever it says.
        let head = request.method == Method::Head;
        return Page::text(405, "method not allowed\n").spell(
            request.version.clone(),
            head,
            Some("GET"),
        );
    }
    let is_shown = !loopback || request.is_by_own_name;
    let page = match request.path.as_str() {
        "/" | "/status" if !is_shown => Page::text(421, OTHER_NAME),
        "/" => Page {
            status: 200,
            content_type: HTML,
            body: page::page(&board.document(), board.wall()).into_bytes(),
        },
        "/health" => health(board),
        "/ready" => ready(board),
        "/metrics" => Page {
            status: 200,
            content_type: METRICS,
            body: board.metrics().encode().into_bytes(),
        },
        "/status" => Page::json(200, &*board.document()),
        _ => Page::text(404, "not found\n"),
    };
    page.spell(request.version.clone(), false, None)
}

/// The answer to what is no request that we can read.
pub(super) fn refusal(status: StatusCode) -> Vec<u8> {
    let mut text = status.default_reason_phrase().to_lowercase();
    text.push('\n');
    Page::text(status.0, &text).spell(HTTPVersion(1, 1), false, None)
}

fn health(board: &Board) -> Page {
    if board.is_healthy() {
        Page::literal(200, r#"{"status":"healthy"}"#)
    } else {
        Page::literal(503, r#"{"status":"unhealthy"}"#)
    }
}

fn ready(board: &Board) -> Page {
    let document = board.document();
    let ready = Ready {
        ready: document.ready,
        degraded: document.degraded,
        secret_count: document.secret_count,
        synced_count: document.synced_count,
    };
    Page::json(if ready.ready { 200 } else { 503 }, &ready)
}

impl Page {
    fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: text.as_bytes().to_vec(),
        }
    }

    fn literal(status: u16, json: &str) -> Self {
        Self {
            status,
            content_type: JSON,
            body: json.as_bytes().to_vec(),
        }
    }

    fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self {
                status,
                content_type: JSON,
                body,
            },
            Err(_) => Self::text(500, "internal server error\n"),
        }
    }

    fn spell(self, version: HTTPVersion, head: bool, allow: Option<&str>) -> Vec<u8> {
        let length = self.body.len();
        let is_html = self.content_type == HTML;
        let headers = [
            ("Server", "secrets-sync"),
            ("Content-Type", self.content_type),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        .into_iter()
        .chain(allow.map(|methods| ("Allow", methods)))
        .chain(is_html.then(|| ("Content-Security-Policy", page::policy())))
        .chain(is_html.then_some(("Referrer-Policy", "no-referrer")))
        .chain(is_html.then_some(("X-Frame-Options", "DENY")))
        .filter_map(|(name, value)| Header::from_bytes(name, value).ok())
        .collect();
        let response = Response::new(
            StatusCode(self.status),
            headers,
            self.body.as_slice(),
            Some(length),
            None,
        )
        .with_chunked_threshold(usize::MAX);
        let mut bytes = Vec::with_capacity(length + 256);
        if response
            .raw_print(&mut bytes, version, &[], head, None)
            .is_err()
        {
            bytes.clear(); // a vector takes all that it is given
        }
        announce_close(&mut bytes);
        bytes
    }
}

/// Says behind the status line that this is the last answer; the library lets nobody but itself
/// set that header.
fn announce_close(bytes: &mut Vec<u8>) {
    if let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        bytes.splice(end + 2..end + 2, *b"Connection: close\r\n");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::observe::StatusDocument;

    fn ask(board: &Board, method: Method, path: &str) -> (String, String) {
        let request = Request {
            method,
            path: path.to_owned(),
            version: HTTPVersion(1, 1),
            is_by_own_name: true,
        };
        let text = String::from_utf8(answer(&request, board, true)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn board() -> (ManualClock, Board) {
        let clock = ManualClock::new();
        let board = Board::new(Arc::new(clock.clone()));
        (clock, board)
    }

    #[test]
    fn a_response_is_whole_and_says_that_it_is_the_last() {
        let (_, board) = board();
        let (head, body) = ask(&board, Method::Get, "/health");
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
        let mut lines: Vec<_> = lines.filter(|line| !line.starts_with("Date: ")).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "Cache-Control: no-store",
                "Connection: close",
                "Content-Length: 20",
                "Content-Type: application/json",
                "Server: secrets-sync",
                "X-Content-Type-Options: nosniff",
            ]
        );
        assert_eq!(body, r#"{"status":"healthy"}"#);
    }

    #[test]
    fn health_is_the_main_loops() {
        let (clock, board) = board();
        clock.advance(Duration::from_secs(11));
        let (head, body) = ask(&board, Method::Get, "/health");
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(body, r#"{"status":"unhealthy"}"#);
    }

    #[test]
    fn ready_and_status_show_the_document() {
        let (_, board) = board();
        assert!(
            ask(&board, Method::Get, "/ready")
                .0
                .starts_with("HTTP/1.1 503 ")
        );
        let document = StatusDocument {
            schema: 1,
            ready: true,
            secret_count: 3,
            synced_count: 3,
            ..StatusDocument::default()
        };
        board.publish(std::sync::Arc::new(document.clone()));
        let (head, body) = ask(&board, Method::Get, "/ready");
        assert!(head.starts_with("HTTP/1.1 200 "));
        assert_eq!(
            body,
            r#"{"ready":true,"degraded":false,"secret_count":3,"synced_count":3}"#
        );
        let (_, body) = ask(&board, Method::Get, "/status");
        assert_eq!(
            serde_json::from_str::<StatusDocument>(&body).unwrap(),
            document
        );
    }

    #[test]
    fn metrics_are_prometheus_text_in_one_piece() {
        let (_, board) = board();
        for n in 0..500 {
            board
                .metrics()
                .breaker(&format!("store-{n}"), Default::default());
        }
        let (head, body) = ask(&board, Method::Get, "/metrics");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.len() > 10_000 && body.contains("secrets_configured 0\n"));
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let (_, board) = board();
        for path in [
            "/index.html",
            "/health/",
            "//health",
            "/healthz",
            "*",
            "/%68ealth",
        ] {
            let (head, body) = ask(&board, Method::Get, path);
            assert!(head.starts_with("HTTP/1.1 404 "), "{path}");
            assert_eq!(body, "not found\n");
        }
        for method in [Method::Post, Method::Options, Method::Delete] {
            let (head, body) = ask(&board, method, "/health");
            assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
            assert!(head.contains("\r\nAllow: GET\r\n"), "{head}");
            assert_eq!(body, "method not allowed\n");
        }
        let (head, body) = ask(&board, Method::Head, "/health");
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
        assert!(head.contains("\r\nAllow: GET\r\n"), "{head}");
        assert_eq!(body, "", "the answer to a HEAD has no body");
    }

    #[test]
    fn the_page_is_html_that_may_do_nothing_but_be_shown() {
        let (_, board) = board();
        let (head, body) = ask(&board, Method::Get, "/");
        for header in [
            "Content-Type: text/html; charset=utf-8".to_owned(),
            format!("Content-Security-Policy: {}", page::policy()),
            "Cache-Control: no-store".to_owned(),
            "Referrer-Policy: no-referrer".to_owned(),
            "X-Content-Type-Options: nosniff".to_owned(),
            "X-Frame-Options: DENY".to_owned(),
        ] {
            assert!(head.lines().any(|line| line == header), "{header}\n{head}");
        }
        assert!(body.starts_with("<!doctype html>"));
        let (head, _) = ask(&board, Method::Get, "/health");
        assert!(!head.contains("Security-Policy"), "{head}");
    }

    #[test]
    fn under_another_name_a_loopback_server_shows_no_names_of_secrets() {
        let (_, board) = board();
        for (path, loopback, status) in [
            ("/", true, 421),
            ("/status", true, 421),
            ("/metrics", true, 200),
            ("/health", true, 200),
            ("/", false, 200),
            ("/status", false, 200),
        ] {
            let request = Request {
                method: Method::Get,
                path: path.to_owned(),
                version: HTTPVersion(1, 1),
                is_by_own_name: false,
            };
            let text = String::from_utf8(answer(&request, &board, loopback)).unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        }
    }

    #[test]
    fn a_refusal_names_its_reason() {
        let text = String::from_utf8(refusal(StatusCode(431))).unwrap();
        assert!(text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(text.ends_with("\r\n\r\nrequest header fields too large\n"));
    }
}
