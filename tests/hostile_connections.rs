//! Redirects, stale connections and TLS that cannot be trusted: a token goes to its server alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod hostile;
mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use hostile::{RETRIES, check_bound, paced};
use serde_json::json;
use support::{Action, Daemon, LogLine, Request, Response, SOON, ScriptedServer};

fn kv(value: &str) -> Response {
    Response::json(
        200,
        &json!({"data": {"data": {"x": value}, "metadata": {"version": 1}}}),
    )
}

/// A secret of a store; its name is its key.
fn secret(name: &str, store: &str, interval: &str) -> String {
    format!(
        "- {{name: {name}, key: {name}, store: {store}, refreshInterval: {interval}, files: \
         [{{path: @DIR@/{name}, field: x}}]}}\n"
    )
}

fn failure(daemon: &Daemon, secret: &str) -> LogLine {
    daemon.wait_for_log(SOON, |line| {
        line.has("secret", secret) && line.json["error_type"].is_string()
    })
}

fn reads(name: &str) -> impl Fn(&Request) -> bool {
    let path = format!("secret/data/{name}");
    move |request: &Request| request.is("GET", &path)
}

/// Of a read, of a login, and of unwrapping a secret ID; 301 to 308.
#[test]
fn no_request_follows_a_redirect_to_another_origin() {
    let other = ScriptedServer::start(|_| kv("stolen").act());
    let elsewhere = other.address();
    let target = elsewhere.clone();
    let port = elsewhere.rsplit(':').next().unwrap().to_owned();
    let other_port = port.clone();
    let own = Arc::new(Mutex::new(String::new()));
    let own_address = Arc::clone(&own);
    let server = ScriptedServer::start(move |request| {
        let to = |status: u16, target: &str| {
            Response {
                status,
                headers: vec![("Location".into(), target.into())],
                body: Vec::new(),
            }
            .act()
        };
        let path = request.target.trim_start_matches("/v1/");
        let own = own_address.lock().unwrap().clone();
        match path {
            "secret/data/once" => to(307, "/v1/secret/data/there"),
            "secret/data/absolute" => to(308, &format!("{own}/v1/secret/data/there")),
            "secret/data/there" => kv("followed").act(),
            "secret/data/loop" => to(307, "/v1/secret/data/loop"),
            "secret/data/twice" => to(307, "/v1/secret/data/once"),
            "secret/data/nowhere" => Response { status: 307, headers: vec![], body: vec![] }.act(),
            "secret/data/no-url" => to(307, "/v1/what is this"),
            "secret/data/https" => to(307, &format!("{}/v1/x", own.replace("http", "https"))),
            "secret/data/name" => to(307, &format!("http://localhost:{other_port}/v1/x")),
            "secret/data/user" => to(307, &format!("{own}@127.0.0.1:{other_port}/v1/x")),
            "secret/data/slashes" => to(302, &format!("//127.0.0.1:{other_port}/v1/x")),
            "auth/token/lookup-self" => Response::json(
                200,
                &json!({"data": {"ttl": 0, "renewable": false, "type": "service", "accessor": "a"}}),
            )
            .act(),
            // Or else the breaker opens, and not every request is made.
            _ if path.starts_with("sys/health") => Response::json(200, &json!({})).act(),
            _ => to(
                if path.ends_with("301") { 301 } else { 307 },
                &format!("{target}{}", request.target),
            ),
        }
    });
    *own.lock().unwrap() = server.address();
    let address = server.address();
    let refused = [
        ("away", format!("to `{elsewhere}`")),
        ("away301", format!("to `{elsewhere}`")),
        (
            "https",
            format!("to `{}`", address.replace("http", "https")),
        ),
        ("name", format!("to `http://localhost:{port}`")),
        ("user", format!("to `{elsewhere}`")),
        ("slashes", format!("to `{elsewhere}`")),
        ("loop", "more than once".to_owned()),
        ("twice", "more than once".to_owned()),
        ("nowhere", "to nowhere".to_owned()),
        ("no-url", "to what is no URL".to_owned()),
    ];
    let mut config = format!(
        "secretStore: {{address: '{address}', token: canary-token}}\n\
         secretStores:\n  login: {{address: '{address}', roleId: canary-role, secretId: canary-id}}\n  \
         unwrap: {{address: '{address}', roleId: canary-role, secretId: canary-wrapped, \
         secretIdWrappingPath: auth/approle/role/a/secret-id}}\nsecrets:\n"
    );
    for (name, _) in &refused {
        config.push_str(&secret(name, "default", "1h"));
    }
    for name in ["once", "absolute"] {
        config.push_str(&secret(name, "default", "1h"));
    }
    config.push_str(&secret("of-login", "login", "1h"));
    config.push_str(&secret("of-unwrap", "unwrap", "1h"));
    let mut daemon = paced(Daemon::new(&config)).start();
    daemon.wait_file("once", "followed", SOON);
    daemon.wait_file("absolute", "followed", SOON);
    let of_login = format!("to `{elsewhere}`");
    let of_unwrap = format!("to `{elsewhere}`");
    let sessions = [("of-login", of_login), ("of-unwrap", of_unwrap)];
    for (name, to) in refused.iter().chain(&sessions) {
        let line = failure(&daemon, name);
        assert_eq!(line.text("error_type"), "unavailable", "{}", line.raw);
        assert_eq!(
            line.text("error"),
            format!("`{address}` redirects {to}: not followed")
        );
        assert!(!daemon.path(name).exists(), "{name}");
    }
    assert_eq!(other.connections(), 0, "the other server was reached");
    // Each is tried again with backoff; a second hop, or a further one, is no request.
    let of = |what: &'static str| move |request: &Request| request.target.ends_with(what);
    for (name, _) in &refused {
        let each = if *name == "loop" { 2 } else { 1 };
        let its = server.wait_for(RETRIES.expected() * each, SOON, reads(name));
        RETRIES.check(
            name,
            &its.iter().map(|request| request.at).collect::<Vec<_>>(),
        );
    }
    for path in ["/auth/approle/login", "/sys/wrapping/lookup"] {
        let its = server.wait_for(RETRIES.expected(), SOON, of(path));
        RETRIES.check(
            path,
            &its.iter().map(|request| request.at).collect::<Vec<_>>(),
        );
    }
    let all: Vec<_> = server.requests().iter().map(|request| request.at).collect();
    check_bound("the server", &all, refused.len() + 4, 0.0, 0);
    // One hop is followed, with the token; a second is not.
    let there = server.wait_for(2, SOON, reads("there"));
    assert!(
        there
            .iter()
            .all(|request| request.header("x-vault-token") == Some("canary-token"))
    );
    assert_eq!(there.len(), 2);
    daemon.stop();
    assert!(!daemon.log().iter().any(|line| line.raw.contains("canary-")));
}

/// The server closes every connection as the second request comes on it. That says nothing of the
/// server: the request goes out again at once, and nobody hears of it.
#[test]
fn a_pooled_connection_that_was_closed_is_no_failure() {
    let used = Mutex::new(HashSet::new());
    let server = ScriptedServer::start(move |request| {
        if used.lock().unwrap().insert(request.connection) {
            kv("1").act()
        } else if request.connection % 2 == 0 {
            Action::Close
        } else {
            Action::Reset
        }
    });
    let config = format!(
        "secretStore: {{address: '{}', authMethod: none}}\nsecrets:\n{}",
        server.address(),
        secret("a", "default", "1s")
    );
    let mut daemon = Daemon::new(&config)
        .env("LOG_LEVEL", "debug")
        .env("INITIAL_BACKOFF", "1h")
        .env("MAX_BACKOFF", "1h")
        .start();
    // Answered on the connections 0, 1, 2 and 3; before each but the first a request died with the
    // connection before it.
    let requests = server.wait_for(7, SOON, |_| true);
    let seen: Vec<_> = requests
        .iter()
        .take(6)
        .map(|request| (request.connection, request.status.is_some()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, true),
            (0, false),
            (1, true),
            (1, false),
            (2, true),
            (2, false)
        ]
    );
    daemon.wait_status(SOON, |status| {
        let secret = &status["secrets"][0];
        secret["state"] == "in_sync" && secret["error_type"] == json!(null)
    });
    daemon.stop();
    let troubled = |line: &LogLine| line.has("level", "warn") || line.has("level", "error");
    assert!(!daemon.log().iter().any(troubled));
}
