//! How many requests sessions and stores make, and when, on servers that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stores;
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use secrets_sync::clock::Stop;
use secrets_sync::failure::{ErrorType, Retry};
use secrets_sync::plan::{Auth, Interval, Layout, Secret, Source};
use secrets_sync::store::{BreakerState, Mode, StoreEvent};
use serde_json::json;
use stores::{Lab, approle, source, text, wait_until};
use support::{Action, Request, Response, ScriptedServer};

const POLICY: &str = "1 error occurred:\n\t* permission denied\n\n";

fn login(token: &str) -> Action {
    let auth = json!({
        "client_token": token, "accessor": "abcd1234", "lease_duration": 3600,
        "renewable": true, "token_type": "service",
    });
    Response::json(200, &json!({ "auth": auth })).act()
}

fn lookup() -> Action {
    let data = json!({"ttl": 3600, "renewable": true, "type": "service", "num_uses": 0});
    Response::json(200, &json!({ "data": data })).act()
}

fn secret() -> Action {
    let data = json!({"data": {"x": "1"}, "metadata": {"version": 1}});
    Response::json(200, &json!({ "data": data })).act()
}

fn denied(text: &str) -> Action {
    Response::error(403, text).act()
}

fn is_login(request: &Request) -> bool {
    request.is("POST", "auth/approle/login")
}

fn is_read(request: &Request) -> bool {
    request.target.starts_with("/v1/secret/")
}

/// A plan with so many reads, that the rate limit is no matter.
fn large(server: &ScriptedServer, auth: Auth) -> Lab {
    Lab::with(&server.endpoint(), auth, Mode::Use, |plan| {
        plan.secrets = vec![Arc::new(Secret {
            name: "many".into(),
            sources: (0..200).map(|i| source("secret", &i.to_string())).collect(),
            interval: Interval::Every(Duration::from_secs(10)),
            optional: false,
            layout: Layout::Files,
            outputs: Vec::new(),
            max_file_bytes: 1,
        })];
    })
}

fn inline_approle() -> Auth {
    approle("role", text("secret-id"))
}

/// All at once, each its own secret.
fn all<T: Send>(count: usize, act: impl Fn(Source) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|i| {
                let act = &act;
                scope.spawn(move || act(source("secret", &i.to_string())))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// A server with one valid token at a time: `t1`, `t2`, …
fn one_token_at_a_time() -> (ScriptedServer, Arc<AtomicUsize>) {
    let valid = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&valid);
    let server = ScriptedServer::start(move |request| {
        if is_login(request) {
            return login(&format!("t{}", now.fetch_add(1, Ordering::SeqCst) + 1));
        }
        let token = format!("t{}", now.load(Ordering::SeqCst));
        if request.header("x-vault-token") != Some(&token) {
            return denied("permission denied");
        }
        if is_read(request) { secret() } else { lookup() }
    });
    (server, valid)
}

#[test]
fn a_hundred_workers_with_one_dead_token_log_in_once() {
    let (server, valid) = one_token_at_a_time();
    let lab = large(&server, inline_approle());
    for result in all(100, |source| lab.fetch(&source)) {
        result.unwrap();
    }
    assert_eq!(server.count(is_login), 1);
    server.clear();
    // The token dies: another one, that nobody has, takes its place.
    valid.fetch_add(1, Ordering::SeqCst);
    for result in all(100, |source| lab.fetch(&source)) {
        result.unwrap();
    }
    assert_eq!(server.count(is_login), 1);
    assert!(server.count(is_read) <= 200, "more than one retry each");
    assert!(server.most_open() <= 8, "{} at once", server.most_open());
}

#[test]
fn a_policy_causes_no_storm() {
    let server = ScriptedServer::start(|request| match request {
        _ if is_login(request) => login("t"),
        _ if is_read(request) => denied(POLICY),
        _ => lookup(),
    });
    let lab = large(&server, inline_approle());
    for _ in 0..3 {
        for result in all(50, |source| lab.fetch(&source)) {
            let failure = result.unwrap_err().failure;
            assert_eq!(failure.error_type, ErrorType::Denied);
            assert_eq!(failure.retry, Retry::Settled);
        }
    }
    assert_eq!(server.count(is_login), 1);
    assert_eq!(server.count(is_read), 150);
}

#[test]
fn a_plain_refusal_of_a_living_token_is_doubted() {
    let logins = Arc::new(AtomicUsize::new(0));
    let server = ScriptedServer::start(move |request| match request {
        _ if is_login(request) => login(&format!("t{}", logins.fetch_add(1, Ordering::SeqCst))),
        // One secret is refused as if the token were dead, the others are not.
        _ if request.is("GET", "secret/data/0") => denied("permission denied"),
        _ if is_read(request) => secret(),
        _ => lookup(),
    });
    let lab = large(&server, inline_approle());
    for _ in 0..20 {
        let failure = lab.fetch(&source("secret", "0")).unwrap_err().failure;
        assert_eq!(failure.error_type, ErrorType::Denied);
        lab.fetch(&source("secret", "1")).unwrap();
    }
    assert_eq!(server.count(is_login), 2, "the first, and one in doubt");
    let lookups = server.count(|request| request.is("GET", "auth/token/lookup-self"));
    assert_eq!(lookups, 3, "one after each login, and one for all in doubt");
}

#[test]
fn a_proxys_refusal_is_no_reason_to_log_in() {
    let server = ScriptedServer::start(|request| match request {
        _ if is_login(request) => login("t"),
        _ if is_read(request) => Response {
            status: 403,
            headers: Vec::new(),
            body: b"<html>Forbidden</html>".to_vec(),
        }
        .act(),
        _ => lookup(),
    });
    let lab = large(&server, inline_approle());
    for _ in 0..3 {
        let failure = lab.fetch(&source("secret", "0")).unwrap_err().failure;
        assert_eq!(failure.error_type, ErrorType::Denied);
        assert!(failure.message.contains("not by the server"), "{failure}");
    }
    assert_eq!(server.count(is_login), 1);
}

#[test]
fn a_refused_look_up_leaves_the_token_in_use() {
    for text in [POLICY, "permission denied"] {
        let server = ScriptedServer::start(move |request| match request {
            _ if is_read(request) => secret(),
            _ => denied(text),
        });
        let lab = Lab::new(&server.endpoint(), Auth::Token(stores::text("theirs")));
        lab.fetch(&source("secret", "0")).unwrap();
        lab.fetch(&source("secret", "1")).unwrap();
        assert_eq!(server.requests().len(), 3);
        assert!(
            lab.notices()[0]
                .contains("look-up of the token (`auth/token/lookup-self`) told nothing")
        );
    }
}

#[test]
fn without_authentication_no_token_is_sent() {
    let server = ScriptedServer::start(|request| {
        assert_eq!(request.header("x-vault-token"), None);
        assert_eq!(request.header("x-vault-request"), Some("true"));
        secret()
    });
    let lab = Lab::new(&server.endpoint(), Auth::None);
    lab.fetch(&source("secret", "0")).unwrap();
    assert_eq!(server.requests().len(), 1, "nothing but the read");
}

#[test]
fn a_credential_that_changes_is_used_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret-id");
    std::fs::write(&path, "old").unwrap();
    let file = path.clone();
    let server = ScriptedServer::start(move |request| {
        if is_login(request) {
            if request.json()["secret_id"] == "new" {
                return login("t");
            }
            // Replaced while we were logging in.
            std::fs::write(&file, "new\n").unwrap();
            return Response::error(400, "invalid role or secret ID").act();
        }
        if is_read(request) { secret() } else { lookup() }
    });
    let auth = approle("role", secrets_sync::plan::Credential::File(path));
    let lab = Lab::new(&server.endpoint(), auth);
    lab.fetch(&source("secret", "0")).unwrap();
    assert_eq!(server.count(is_login), 2);
}

#[test]
fn a_bad_credential_is_no_storm_either() {
    let server = ScriptedServer::start(|_| Response::error(400, "invalid role or secret ID").act());
    let lab = large(&server, inline_approle());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        for result in all(20, |source| lab.fetch(&source)) {
            let error = result.unwrap_err();
            assert_eq!(error.failure.error_type, ErrorType::Auth);
            assert!(error.wake.is_some());
            assert!(!error.to_string().contains("secret-id"), "{error}");
        }
    }
    // Full jitter from 0.2 s by 2.
    let logins = server.requests().len();
    assert!((1..=12).contains(&logins), "{logins} logins");
}

#[test]
fn the_store_is_back_and_everybody_knows_within_two_seconds() {
    let down = Arc::new(AtomicBool::new(false));
    let probes = Arc::new(Mutex::new(Vec::new()));
    let (is_down, seen) = (Arc::clone(&down), Arc::clone(&probes));
    let server = ScriptedServer::start(move |request| {
        let health = request.target.starts_with("/v1/sys/health");
        if health {
            seen.lock().unwrap().push(request.clone());
        }
        match request {
            _ if is_down.load(Ordering::SeqCst) => Response::error(503, "Vault is sealed").act(),
            _ if health => Response::json(200, &json!({"sealed": false})).act(),
            _ if is_login(request) => login("t"),
            _ if is_read(request) => secret(),
            _ => lookup(),
        }
    });
    let lab = large(&server, inline_approle());
    lab.fetch(&source("secret", "0")).unwrap();
    down.store(true, Ordering::SeqCst);
    // Workers as they are: by backoff, or woken.
    let healthy_again = Mutex::new(None::<Instant>);
    let done = all(20, |source| {
        let mut current = false;
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(Instant::now() < patience, "never current again");
            match lab.fetch(&source) {
                Ok(_) if current => return Instant::now(),
                Ok(_) => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => {
                    current = true;
                    let mut back = healthy_again.lock().unwrap();
                    let open = lab.stores.status()[0].breaker == BreakerState::Open;
                    if back.is_none() && open {
                        down.store(false, Ordering::SeqCst);
                        *back = Some(Instant::now());
                    }
                    drop(back);
                    match error.wake {
                        Some(wake) => drop(wake.recv_timeout(Duration::from_secs(60))),
                        None => std::thread::sleep(Duration::from_millis(200)),
                    }
                }
            }
        }
    });
    let found = {
        let probes = probes.lock().unwrap();
        let good = probes.iter().find(|probe| {
            healthy_again
                .lock()
                .unwrap()
                .is_some_and(|back| probe.at >= back)
        });
        good.expect("a probe").at
    };
    for at in done {
        let took = at.saturating_duration_since(found);
        assert!(
            took < Duration::from_secs(2),
            "current only {took:?} after the probe"
        );
    }
    let probes = probes.lock().unwrap();
    for probe in probes.iter() {
        assert!(
            probe.target.contains("standbyok=true&perfstandbyok=true"),
            "{}",
            probe.target
        );
        assert_eq!(probe.header("x-vault-namespace"), None);
        assert_eq!(probe.header("x-vault-token"), None);
    }
    let states: Vec<BreakerState> = lab
        .events
        .try_iter()
        .filter_map(|event| match event {
            StoreEvent::Breaker { state, .. } => Some(state),
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        [
            BreakerState::Open,
            BreakerState::HalfOpen,
            BreakerState::Closed
        ]
    );
}

#[test]
fn one_broken_secret_does_not_open_the_breaker() {
    let server = ScriptedServer::start(|request| match request {
        _ if request.is("GET", "secret/data/0") => Response::error(500, "broken").act(),
        _ if request.target.starts_with("/v1/sys/health") => Response::json(200, &json!({})).act(),
        _ if is_login(request) => login("t"),
        _ if is_read(request) => secret(),
        _ => lookup(),
    });
    let lab = large(&server, inline_approle());
    for _ in 0..30 {
        let failure = lab.fetch(&source("secret", "0")).unwrap_err().failure;
        assert_eq!(failure.error_type, ErrorType::Unavailable);
        assert!(failure.message.contains("500: broken"), "{failure}");
    }
    lab.fetch(&source("secret", "1")).unwrap();
    assert_eq!(lab.stores.status()[0].breaker, BreakerState::Closed);
}

#[test]
fn throttling_is_heeded_and_never_opens_the_breaker() {
    let server = ScriptedServer::start(|request| match request {
        _ if is_login(request) => login("t"),
        _ if request.is("GET", "secret/data/0") => {
            Response::error(429, "rate limit quota exceeded")
                .header("Retry-After", "3")
                .act()
        }
        _ if is_read(request) => Response::error(429, "no")
            .header("Retry-After", "9999")
            .act(),
        _ => lookup(),
    });
    let lab = large(&server, inline_approle());
    for _ in 0..20 {
        let failure = lab.fetch(&source("secret", "0")).unwrap_err().failure;
        assert_eq!(failure.error_type, ErrorType::Throttled);
        assert_eq!(failure.retry, Retry::Backoff(Some(Duration::from_secs(3))));
    }
    // No longer than MAX_BACKOFF.
    let failure = lab.fetch(&source("secret", "1")).unwrap_err().failure;
    assert_eq!(failure.retry, Retry::Backoff(Some(Duration::from_secs(5))));
    assert_eq!(lab.stores.status()[0].breaker, BreakerState::Closed);
}

#[test]
fn a_worker_that_is_told_to_stop_does_not_wait_for_a_login() {
    let server = ScriptedServer::start(|_| Action::Hang);
    let lab = Lab::new(&server.endpoint(), inline_approle());
    let (source_of_stop, stop) = Stop::new();
    let store = lab.stores.get("default").unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| store.fetch(&source("secret", "0"), &stop).map(drop));
        wait_until("the login", || server.count(|_| true) >= 1);
        drop(source_of_stop);
        assert!(worker.join().unwrap().is_err());
    });
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn the_end_takes_no_longer_than_it_may() {
    let server = ScriptedServer::start(|request| match request {
        _ if is_login(request) => login("t"),
        _ if is_read(request) => secret(),
        _ if request.is("POST", "auth/token/revoke-self") => Action::Hang,
        _ => lookup(),
    });
    let lab = Lab::new(&server.endpoint(), inline_approle());
    lab.fetch(&source("secret", "0")).unwrap();
    let began = Instant::now();
    lab.stores.close(Duration::from_millis(500));
    assert!(began.elapsed() < Duration::from_millis(1500));
    let revocations = server.count(|request| request.is("POST", "auth/token/revoke-self"));
    assert_eq!(revocations, 1);
}

#[test]
fn a_token_that_leases_hang_on_is_not_revoked() {
    let server = ScriptedServer::start(|request| match request {
        _ if is_login(request) => login("t"),
        _ if is_read(request) => Response::json(
            200,
            &json!({"lease_id": "secret/0/abc", "lease_duration": 60, "renewable": true,
                "data": {"username": "u"}}),
        )
        .act(),
        _ => lookup(),
    });
    let lab = Lab::new(&server.endpoint(), inline_approle());
    let mut leased = source("secret", "0");
    leased.kv = secrets_sync::plan::KvVersion::V1;
    let fetched = lab.fetch(&leased).unwrap();
    assert!(fetched.leased);
    assert_eq!(fetched.ttl, Some(Duration::from_secs(60)));
    lab.stores.close(Duration::from_secs(1));
    let revocations = server.count(|request| request.is("POST", "auth/token/revoke-self"));
    assert_eq!(revocations, 0);
}

#[test]
fn what_is_not_the_servers_answer_never_becomes_a_secret() {
    let bodies: [&[u8]; 6] = [
        b"<html>sign in</html>",
        b"{\"data\":{\"data\":{\"x\":\"1\"}",
        b"",
        b"[]",
        b"{\"data\":{\"x\":\"1\"}}",
        b"{\"errors\":[]}",
    ];
    for body in bodies {
        let server = ScriptedServer::start(move |_| {
            Response {
                status: 200,
                headers: Vec::new(),
                body: body.to_vec(),
            }
            .act()
        });
        let lab = Lab::new(&server.endpoint(), Auth::None);
        let failure = lab.fetch(&source("secret", "0")).unwrap_err().failure;
        assert_eq!(failure.error_type, ErrorType::BadResponse, "{failure}");
        assert!(failure.remedy.is_some());
    }
}
