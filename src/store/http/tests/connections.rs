//! Connections: made, kept, found closed, redirected, refused.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::super::dial::Dialer;
use super::super::{Http, HttpError, Request};
use super::support::{Server, TIMEOUT, body, get, plan};
use crate::failure::{ErrorType, Retry};
use crate::plan::Address;
use crate::secret::SecretString;
use crate::store::StoreError;

#[test]
fn one_connection_serves_request_after_request() {
    let server = Server::start(|peer| peer.answer_all("{}"));
    let http = server.http();
    for _ in 0..5 {
        get(&http).unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 5));
}

/// The first connection answers once, and closes when it has read the next request; the others
/// answer.
fn closes_on_the_second_request() -> Server {
    Server::start(|peer| {
        if peer.number == 0 {
            peer.request();
            peer.answer("{}");
            peer.request();
        } else {
            peer.answer_all("again");
        }
    })
}

#[test]
fn a_get_that_meets_a_closed_connection_is_sent_once_more() {
    let server = closes_on_the_second_request();
    let http = server.http();
    get(&http).unwrap();
    assert_eq!(body(&get(&http).unwrap()), "again");
    assert_eq!((server.connections(), server.requests().len()), (2, 3));
}

#[test]
fn the_resend_takes_a_new_connection_though_others_are_pooled() {
    let both = std::sync::Barrier::new(2);
    let server = Server::start(move |peer| {
        if peer.number < 2 {
            peer.request();
            both.wait();
            peer.answer("{}");
            peer.request();
        } else {
            peer.answer_all("again");
        }
    });
    let http = server.http();
    let other = http.clone();
    let thread = std::thread::spawn(move || get(&other).unwrap());
    get(&http).unwrap();
    thread.join().unwrap();
    assert_eq!(body(&get(&http).unwrap()), "again");
    assert_eq!((server.connections(), server.requests().len()), (3, 4));
}

#[test]
fn a_post_that_meets_a_closed_connection_is_not_sent_again() {
    let server = closes_on_the_second_request();
    let http = server.http();
    get(&http).unwrap();
    let error = http
        .send(&Request::post("/v1/auth/approle/login", None, TIMEOUT))
        .unwrap_err();
    assert_eq!(error.error_type, ErrorType::Unavailable);
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[test]
fn a_new_connection_that_is_closed_is_no_reason_to_send_again() {
    let server = Server::start(|peer| {
        peer.request();
    });
    let error = get(&server.http()).unwrap_err();
    assert_eq!(error.error_type, ErrorType::Unavailable);
    assert_eq!(
        error.message,
        format!(
            "`http://127.0.0.1:{}`: before it answered: the server closed the connection",
            server.port
        )
    );
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
}

#[test]
fn when_the_resend_fails_too_that_is_the_answer() {
    let server = Server::start(|peer| {
        peer.request();
        if peer.number == 0 {
            peer.answer("{}");
            peer.request();
        }
    });
    let http = server.http();
    get(&http).unwrap();
    assert_eq!(get(&http).unwrap_err().error_type, ErrorType::Unavailable);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_connection_closed_while_idle_is_replaced_even_for_a_post() {
    let (closed, wait) = mpsc::channel();
    let closed = std::sync::Mutex::new(closed);
    let server = Server::start(move |peer| {
        peer.request();
        peer.answer("{}");
        if peer.number > 0 {
            peer.answer_all("{}");
        }
        let _ = closed.lock().unwrap().send(());
    });
    let http = server.http();
    get(&http).unwrap();
    wait.recv().unwrap();
    // The script has ended; the socket is closed right after.
    while http.send(&Request::post("/v1/a", None, TIMEOUT)).is_err() {}
    assert!(server.connections() >= 2);
}

fn redirecting(location: &'static str) -> Server {
    Server::start(move |peer| {
        while peer.request() {
            peer.send(format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            ));
        }
    })
}

#[test]
fn one_redirect_on_the_same_origin_is_followed_with_all_of_the_request() {
    let server = Server::start(|peer| {
        if peer.number == 0 {
            peer.request();
            peer.send("HTTP/1.1 307 X\r\nLocation: /v1/new?x=1\r\nContent-Length: 4\r\n\r\nbody");
        }
        peer.answer_all("there");
    });
    let token = SecretString::new("hvs.abc".to_owned());
    let json = crate::secret::SecretBytes::new(b"{}".to_vec());
    let http = server.http();
    let request = Request {
        token: Some(&token),
        ..Request::post("/v1/old", Some(&json), TIMEOUT)
    };
    assert_eq!(body(&http.send(&request).unwrap()), "there");
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /v1/old "));
    assert!(requests[1].starts_with("POST /v1/new?x=1 "), "{requests:?}");
    assert!(requests[1].contains("x-vault-token: hvs.abc"));
    assert!(requests[1].ends_with("\r\n\r\n{}"));
}

#[test]
fn a_redirect_to_another_origin_is_not_followed_and_named_without_its_path() {
    let other = Server::start(|peer| peer.answer_all("{}"));
    let location = format!("http://127.0.0.1:{}/v1/a?token=x", other.port).leak();
    let server = redirecting(location);
    let error = get(&server.http()).unwrap_err();
    assert_eq!(error.error_type, ErrorType::Unavailable);
    assert_eq!(
        error.message,
        format!(
            "`http://127.0.0.1:{}` redirects to `http://127.0.0.1:{}`: not followed",
            server.port, other.port
        )
    );
    assert_eq!(other.connections(), 0, "no token went there");
}

/// A host name may be as long as a token, and letters, digits and dots are all there is in one.
#[test]
fn what_was_sent_does_not_come_back_as_the_name_of_a_place() {
    let server = redirecting("https://a.HVS.caesij2k.example:8200/");
    let token = SecretString::new("hvs.CAESIJ2K".to_owned());
    let request = Request {
        token: Some(&token),
        ..Request::get("/v1/a", TIMEOUT)
    };
    let error = server.http().send(&request).unwrap_err();
    assert!(
        error
            .message
            .ends_with("redirects to a place whose name holds what was sent: not followed"),
        "{error}"
    );
    let server = redirecting("https://84f3b0a2-7c3e-d6f0-ef94-e2c8f6a2a1b3.example/");
    let body = br#"{"role_id":"example","secret_id":"84f3b0a2-7c3e-d6f0-ef94-e2c8f6a2a1b3"}"#;
    let body = crate::secret::SecretBytes::new(body.to_vec());
    let login = Request::post("/v1/a", Some(&body), TIMEOUT);
    let error = server.http().send(&login).unwrap_err();
    assert!(!error.to_string().contains("84f3b0a2"), "{error}");
}

#[test]
fn a_request_that_goes_out_again_is_counted() {
    let server = Server::start(|peer| {
        while peer.request() {
            let to = format!("/v1/{}", peer.number);
            peer.send(format!(
                "HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
            ));
            if peer.number == 0 {
                return;
            }
        }
    });
    let mut again = 0;
    let request = Request::get("/v1/a", TIMEOUT);
    let sent = server.http().send_counted(&request, &mut || again += 1);
    assert!(sent.is_err());
    // One that meets a connection as it closes is counted, though the server may not have read it.
    let read = server.requests().len();
    assert!(
        (2..=1 + again).contains(&read),
        "{read} read, {again} again"
    );
}

#[test]
fn a_redirect_loop_ends_after_one() {
    let server = redirecting("/v1/secret/data/a");
    let error = get(&server.http()).unwrap_err();
    assert_eq!(error.error_type, ErrorType::Unavailable);
    assert!(
        error
            .message
            .ends_with("redirects more than once: not followed")
    );
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_post_is_not_repeated_for_see_other() {
    let server = Server::start(|peer| {
        while peer.request() {
            peer.send("HTTP/1.1 303 See Other\r\nLocation: /v1/b\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let error = server
        .http()
        .send(&Request::post("/v1/a", None, TIMEOUT))
        .unwrap_err();
    assert_eq!(error.error_type, ErrorType::Unavailable);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_refused_connection_says_so_and_may_be_retried() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let http = Http::build(&plan(false, "127.0.0.1", port), None).unwrap();
    let error = get(&http).unwrap_err();
    assert_eq!(
        error.message,
        format!("`http://127.0.0.1:{port}`: cannot connect: connection refused")
    );
    assert!(error.remedy.is_some());
    assert!(error.nobody);
    let store = StoreError::from(error);
    assert_eq!(store.failure.error_type, ErrorType::Unavailable);
    assert_eq!(store.failure.retry, Retry::Backoff(None));
}

#[test]
fn nobody_listens_where_each_address_refuses_and_only_there() {
    let refusing = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (full, _held) = full_backlog();
    let full = full.local_addr().unwrap();
    let http = Http::build(&plan(false, "127.0.0.1", 1), None).unwrap();
    let is_nobody = |addresses: &[SocketAddr]| {
        let until = Some(http.route.clock.now() + Duration::from_millis(400));
        let dialer = Dialer(Arc::clone(&http.route));
        match dialer.open(addresses, until, ureq::Timeout::Connect, |_| Ok(())) {
            Err(ureq::Error::Other(error)) => error.downcast::<HttpError>().unwrap().nobody,
            Err(_) => false,
            Ok(_) => panic!("a connection"),
        }
    };
    assert!(is_nobody(&[refusing()]));
    assert!(is_nobody(&[refusing(), refusing()]));
    assert!(
        !is_nobody(&[full, refusing()]),
        "who swallows it may be there"
    );
    assert!(!is_nobody(&[refusing(), full]));
    // Somebody was there.
    let server = Server::start(|_| {});
    assert!(!get(&server.http()).unwrap_err().nobody);
}

#[test]
fn a_name_that_is_not_known_says_so() {
    let http = Http::build(&plan(false, "no-such-host.invalid", 8200), None).unwrap();
    let error = get(&http).unwrap_err();
    assert_eq!(error.error_type, ErrorType::Unavailable, "{error}");
    assert!(!error.nobody);
    assert!(
        error
            .message
            .starts_with("the name in `http://no-such-host.invalid:8200` cannot be resolved: "),
        "{error}"
    );
}

#[test]
fn a_name_is_looked_up() {
    let server = Server::start(|peer| peer.answer_all("{}"));
    let http = Http::build(&plan(false, "localhost", server.port), None).unwrap();
    assert_eq!(get(&http).unwrap().status, 200);
    assert!(server.requests()[0].contains(&format!("host: localhost:{}\r\n", server.port)));
}

#[test]
fn a_unix_socket_speaks_plain_http() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("v.sock");
    let server = Server::start_unix(&path, |peer| peer.answer_all("{}"));
    let mut plan = plan(false, "", 0);
    plan.address = Address::Unix(path.clone());
    let http = Http::build(&plan, None).unwrap();
    assert_eq!(http.address(), format!("unix://{}", path.display()));
    for _ in 0..3 {
        assert_eq!(body(&get(&http).unwrap()), "{}");
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 3));
    assert!(server.requests()[0].contains("host: localhost\r\n"));
}

#[test]
fn a_unix_socket_that_is_not_there_or_not_served_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("v.sock");
    let mut plan = plan(false, "", 0);
    plan.address = Address::Unix(path.clone());
    let http = Http::build(&plan, None).unwrap();
    let cause = |http: &Http| {
        let error = get(http).unwrap_err();
        assert!(error.nobody);
        error.message
    };
    assert!(cause(&http).ends_with("cannot connect: no such socket"));
    drop(UnixListener::bind(&path).unwrap());
    assert!(cause(&http).ends_with("cannot connect: connection refused"));
}

/// A listener that swallows what comes, and what fills it.
fn full_backlog() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let moment = Duration::from_millis(30);
    let held = (0..200)
        .map_while(|_| TcpStream::connect_timeout(&address, moment).ok())
        .collect();
    (listener, held)
}

#[test]
fn a_connection_that_is_not_answered_ends_at_the_time_out() {
    let (listener, _held) = full_backlog();
    let port = listener.local_addr().unwrap().port();
    let http = Http::build(&plan(false, "127.0.0.1", port), None).unwrap();
    let started = Instant::now();
    let error = http
        .send(&Request::get("/v1/a", Duration::from_millis(300)))
        .unwrap_err();
    assert_eq!(error.error_type, ErrorType::Timeout, "{error}");
    assert!(started.elapsed() < Duration::from_millis(1500));
}

#[test]
fn an_abort_interrupts_what_is_under_way() {
    let (arrived, wait) = mpsc::channel();
    let arrived = std::sync::Mutex::new(arrived);
    let server = Server::start(move |peer| {
        peer.request();
        arrived.lock().unwrap().send(()).unwrap();
        peer.hang();
    });
    let http = server.http();
    let asking = http.clone();
    let thread = std::thread::spawn(move || get(&asking));
    wait.recv().unwrap();
    let started = Instant::now();
    http.abort();
    let error = thread.join().unwrap().unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(error.error_type, ErrorType::Unavailable);
    assert_eq!(get(&http).unwrap_err().error_type, ErrorType::Unavailable);
    assert_eq!(server.connections(), 1);
}
