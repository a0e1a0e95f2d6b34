//! CONNECT.

use super::super::Http;
use super::support::{Peer, Server, body, get, plan};
use crate::failure::ErrorType;
use crate::plan::{Proxy, StorePlan};
use crate::secret::SecretString;

fn through(proxy: &str) -> StorePlan {
    StorePlan {
        proxy: Some(Proxy {
            url: SecretString::new(proxy.to_owned()),
        }),
        ..plan(false, "vault.invalid", 8200)
    }
}

fn tunnel(peer: &mut Peer<'_>) {
    peer.request();
    peer.send("HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n");
    peer.answer_all("from behind");
}

#[test]
fn the_proxy_connects_us_by_name_and_is_told_who_we_are() {
    let proxy = Server::start(tunnel);
    let url = format!("http://me:p%40ss@127.0.0.1:{}", proxy.port);
    let http = Http::build(&through(&url), None).unwrap();
    for _ in 0..2 {
        assert_eq!(body(&get(&http).unwrap()), "from behind");
    }
    let requests = proxy.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[0].starts_with("CONNECT vault.invalid:8200 HTTP/1.1\r\n"));
    // me:p@ss
    assert!(requests[0].contains("Proxy-Authorization: Basic bWU6cEBzcw==\r\n"));
    assert!(requests[1].starts_with("GET /v1/secret/data/a HTTP/1.1\r\n"));
    assert!(!requests[1].to_lowercase().contains("proxy-authorization"));
}

#[test]
fn a_refusal_names_both_and_hides_the_password() {
    for (status, words) in [
        (407, "it asks for a user and a password (407)"),
        (403, "status 403"),
        (502, "status 502"),
    ] {
        let proxy = Server::start(move |peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
        });
        let url = format!("me:hunter2@127.0.0.1:{}", proxy.port);
        let error = get(&Http::build(&through(&url), None).unwrap()).unwrap_err();
        assert_eq!(error.error_type, ErrorType::Unavailable);
        assert_eq!(
            error.message,
            format!(
                "proxy `http://127.0.0.1:{}` does not connect us to \
                 `http://vault.invalid:8200`: {words}",
                proxy.port
            )
        );
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[test]
fn a_proxy_without_end_or_without_http_is_cut_off() {
    let endless = Server::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n");
        while peer.send("X: y\r\n".repeat(100)) {}
    });
    let other = Server::start(|peer| {
        peer.request();
        peer.send("SSH-2.0\r\n\r\n");
    });
    for proxy in [endless, other] {
        let url = format!("http://127.0.0.1:{}", proxy.port);
        let error = get(&Http::build(&through(&url), None).unwrap()).unwrap_err();
        assert!(error.message.ends_with("its answer is no HTTP"), "{error}");
    }
}

#[test]
fn socks_and_nonsense_are_refused_without_a_panic() {
    for (url, words) in [
        ("socks5://u:hunter2@10.0.0.1:1080", "is a SOCKS proxy"),
        ("http://", "cannot be understood"),
        ("gopher://x", "cannot be understood"),
    ] {
        let error = get(&Http::build(&through(url), None).unwrap()).unwrap_err();
        assert_eq!(error.error_type, ErrorType::Unavailable);
        assert!(error.message.contains(words), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(error.remedy.unwrap().contains("HTTPS_PROXY"));
    }
}
