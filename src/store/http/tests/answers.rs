//! What is sent, and what is made of the answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{Http, Material, Method, Request};
use super::support::{Server, TIMEOUT, body, get, plan};
use crate::clock::ManualClock;
use crate::failure::ErrorType;
use crate::secret::{SecretBytes, SecretString};

#[test]
fn a_read_carries_these_headers_and_no_others() {
    let server = Server::start(|peer| peer.answer_all("{}"));
    let token = SecretString::new("hvs.abc".to_owned());
    let response = server
        .http()
        .send(&Request {
            namespace: "team-a",
            token: Some(&token),
            query: "version=3",
            ..Request::get("/v1/secret/data/a%20b", TIMEOUT)
        })
        .unwrap();
    assert_eq!((response.status, body(&response)), (200, "{}"));
    let requests = server.requests();
    let mut lines: Vec<&str> = requests[0].trim_end().split("\r\n").collect();
    assert_eq!(
        lines.remove(0),
        "GET /v1/secret/data/a%20b?version=3 HTTP/1.1"
    );
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept: */*",
            &format!("host: 127.0.0.1:{}", server.port),
            concat!("user-agent: secrets-sync/", env!("CARGO_PKG_VERSION")),
            "x-vault-namespace: team-a",
            "x-vault-request: true",
            "x-vault-token: hvs.abc",
        ]
    );
}

#[test]
fn without_token_and_namespace_neither_is_sent() {
    let server = Server::start(|peer| peer.answer_all("{}"));
    get(&server.http()).unwrap();
    let request = &server.requests()[0];
    assert!(!request.contains("x-vault-token") && !request.contains("x-vault-namespace"));
    assert!(request.contains("x-vault-request: true"));
}

#[test]
fn a_post_carries_its_json_with_a_length() {
    let server = Server::start(|peer| peer.answer_all("{}"));
    let json = SecretBytes::new(br#"{"role_id":"r"}"#.to_vec());
    let http = server.http();
    http.send(&Request::post(
        "/v1/auth/approle/login",
        Some(&json),
        TIMEOUT,
    ))
    .unwrap();
    http.send(&Request {
        method: Method::Put,
        ..Request::post("/v1/auth/token/renew-self", None, TIMEOUT)
    })
    .unwrap();
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /v1/auth/approle/login HTTP/1.1\r\n"));
    assert!(requests[0].contains("content-type: application/json\r\n"));
    assert!(requests[0].contains("content-length: 15\r\n"));
    assert!(requests[0].ends_with("\r\n\r\n{\"role_id\":\"r\"}"));
    assert!(requests[1].starts_with("PUT /v1/auth/token/renew-self HTTP/1.1\r\n"));
    assert!(requests[1].contains("content-length: 0\r\n"));
}

#[test]
fn a_token_that_no_header_may_carry_is_refused_and_not_shown() {
    let server = Server::start(|peer| peer.answer_all("{}"));
    let token = SecretString::new("hvs.abc\ndef".to_owned());
    let error = server
        .http()
        .send(&Request {
            token: Some(&token),
            ..Request::get("/v1/a", TIMEOUT)
        })
        .unwrap_err();
    assert_eq!(error.error_type, ErrorType::Auth);
    assert!(!format!("{error:?}").contains("abc"));
    assert_eq!(server.connections(), 0);
}

#[test]
fn every_status_is_an_answer_with_its_headers() {
    let server = Server::start(|peer| {
        while peer.request() {
            peer.send(
                "HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\n\
                 Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 Content-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
            );
        }
    });
    let response = get(&server.http()).unwrap();
    assert_eq!(response.status, 429);
    assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
    assert!(response.date.is_some() && response.is_json);
    assert_eq!(body(&response), "{}");
}

#[test]
fn answers_without_a_body_and_of_odd_status_are_answers() {
    for status in [204, 200, 403, 472, 473, 503, 599] {
        let server = Server::start(move |peer| {
            while peer.request() {
                let length = if status == 204 {
                    ""
                } else {
                    "Content-Length: 0\r\n"
                };
                peer.send(format!("HTTP/1.1 {status} X\r\n{length}\r\n"));
            }
        });
        let response = get(&server.http()).unwrap();
        assert_eq!((response.status, body(&response)), (status, ""));
    }
}

#[test]
fn a_chunked_body_is_read_and_bounded() {
    let server = Server::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        peer.send("3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n");
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while peer.send(format!("1000\r\n{}\r\n", "x".repeat(4096))) {}
    });
    let http = server.http();
    assert_eq!(body(&get(&http).unwrap()), "abcdefg");
    let error = get(&http).unwrap_err();
    assert_eq!(error.error_type, ErrorType::BadResponse);
    assert_eq!(
        error.message,
        format!(
            "the answer of `http://127.0.0.1:{}` is larger than 65536 bytes",
            server.port
        )
    );
    assert!(error.remedy.unwrap().contains("maxResponseBytes"));
    assert_eq!(server.connections(), 1, "the connection was used again");
}

#[test]
fn a_body_at_the_limit_is_read_and_one_byte_more_is_not() {
    let server = Server::start(|peer| {
        for length in [65_536, 65_537] {
            peer.request();
            peer.answer(&"x".repeat(length));
        }
    });
    let http = server.http();
    assert_eq!(get(&http).unwrap().body.len(), 65_536);
    let error = get(&http).unwrap_err();
    assert_eq!(error.error_type, ErrorType::BadResponse);
    assert!(!error.is_retryable());
}

#[test]
fn a_body_that_ends_with_the_connection_is_read_and_bounded() {
    let server = Server::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nabc");
        if peer.number == 1 {
            while peer.send("x".repeat(4096)) {}
        }
    });
    let http = server.http();
    assert_eq!(body(&get(&http).unwrap()), "abc");
    assert_eq!(get(&http).unwrap_err().error_type, ErrorType::BadResponse);
}

#[test]
fn half_a_body_is_no_answer() {
    let server = Server::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    });
    let error = get(&server.http()).unwrap_err();
    assert_eq!(error.error_type, ErrorType::Unavailable);
    assert!(error.message.contains("closed the connection"), "{error}");
    assert_eq!(server.requests().len(), 1, "not sent twice");
}

#[test]
fn a_head_without_end_is_cut_off() {
    let server = Server::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n");
        let mut number = 0;
        while peer.send(format!("X-{number}: {}\r\n", "y".repeat(500))) {
            number += 1;
        }
    });
    let error = get(&server.http()).unwrap_err();
    assert_eq!(error.error_type, ErrorType::BadResponse, "{error}");
}

#[test]
fn one_header_without_end_is_cut_off() {
    let server = Server::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nX: ");
        while peer.send("y".repeat(1000)) {}
    });
    let error = get(&server.http()).unwrap_err();
    assert_eq!(error.error_type, ErrorType::BadResponse, "{error}");
}

#[test]
fn what_is_no_http_is_said_to_be_none() {
    for junk in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let server = Server::start(move |peer| {
            peer.request();
            peer.send(junk);
            peer.hang();
        });
        let error = get(&server.http()).unwrap_err();
        assert_eq!(
            error.error_type,
            ErrorType::BadResponse,
            "{junk:?}: {error}"
        );
        assert!(
            error.message.contains("does not speak proper HTTP"),
            "{error}"
        );
    }
}

#[test]
fn the_time_out_is_for_all_of_it() {
    let silent = Server::start(|peer| {
        peer.request();
        peer.hang();
    });
    let slow_body = Server::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while peer.send("x") {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let slow_head = Server::start(|peer| {
        peer.request();
        while peer.send("H") {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for (server, slow) in [(silent, "silent"), (slow_body, "body")] {
        let started = Instant::now();
        let error = server
            .http()
            .send(&Request::get("/v1/a", Duration::from_millis(300)))
            .unwrap_err();
        let took = started.elapsed();
        assert_eq!(error.error_type, ErrorType::Timeout, "{slow}: {error}");
        assert!((280..1500).contains(&took.as_millis()), "{slow}: {took:?}");
        assert!(error.message.contains("within 300ms"), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
    let started = Instant::now();
    let error = slow_head
        .http()
        .send(&Request::get("/v1/a", Duration::from_millis(300)))
        .unwrap_err();
    assert!(error.message.contains(&slow_head.port.to_string()));
    assert!(started.elapsed().as_millis() < 1500);
}

/// A machine that was suspended under a request does not wait for the rest of its time-out.
#[test]
fn the_time_out_is_a_moment_on_the_clock() {
    let silent = Server::start(|peer| {
        peer.request();
        peer.hang();
    });
    let clock = ManualClock::new();
    let plan = plan(false, "127.0.0.1", silent.port);
    let hour = Duration::from_secs(3600);
    let http = Http::new(&plan, Material::default(), Arc::new(clock.clone())).unwrap();
    let request = std::thread::spawn(move || http.send(&Request::get("/v1/a", hour)));
    clock.wait_for_sleepers(1);
    clock.advance(hour);
    let error = request.join().unwrap().unwrap_err();
    assert_eq!(error.error_type, ErrorType::Timeout, "{error}");
    assert!(clock.next_alarm().is_none());
}
