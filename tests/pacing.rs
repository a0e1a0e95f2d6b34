//! How many requests each class of failure costs, and how far apart they are, on a store by script.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
mod traffic;

use std::time::Duration;

use serde_json::json;
use support::{Action, Daemon, Response, SOON, Signal};
use traffic::{Store, brisk, config, gaps, is_failure, is_login, is_read, names, reads, secret};

/// The shortest time between two of these requests.
fn shortest(requests: &[support::Request]) -> Duration {
    gaps(requests).into_iter().min().unwrap()
}

/// A secret that answers in a certain way: its name, the class, whether it is permanent.
fn failing() -> Vec<(&'static str, &'static str, bool, Action)> {
    let body = |status: u16, body: &str| {
        let mut response = Response::json(status, &json!({}));
        response.body = body.as_bytes().to_vec();
        response.act()
    };
    let deleted = r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z","destroyed":false,"version":1}}}"#;
    vec![
        ("absent", "not_found", true, body(404, r#"{"errors":[]}"#)),
        ("deleted", "deleted", true, body(404, deleted)),
        ("denied", "denied", true, body(403, "<html>no</html>")),
        ("bad", "bad_request", true, Response::error(400, "no").act()),
        (
            "throttled",
            "throttled",
            false,
            Response::error(429, "no").act(),
        ),
        (
            "broken",
            "unavailable",
            false,
            Response::error(500, "no").act(),
        ),
        (
            "lagging",
            "unavailable",
            false,
            Response::error(412, "no").act(),
        ),
        ("closed", "unavailable", false, Action::Close),
        ("slow", "timeout", false, Action::Hang),
    ]
}

#[test]
fn permanent_failures_settle_at_the_interval_and_passing_ones_back_off() {
    let store = Store::with(|r| {
        let failing = failing().into_iter().find(|(name, ..)| reads(r, name));
        failing.map(|(.., action)| action)
    });
    let secrets: Vec<_> = failing()
        .iter()
        .map(|(name, ..)| secret("kv", name, "2s"))
        .chain([secret("kv", "good", "2s")])
        .collect();
    let keys = "authMethod: none, timeout: 1s";
    // Without jitter's lower end there is no bound: what is counted is the ceiling's growth.
    let daemon = Daemon::new(&config(&store.address(), keys, &secrets))
        .env("INITIAL_BACKOFF", "1s")
        .env("BACKOFF_MULTIPLIER", "100")
        .env("MAX_BACKOFF", "1h")
        .start();
    store.wait_for(5, SOON, |r| reads(r, "good"));
    for (name, class, permanent, _) in failing() {
        let line = daemon.wait_for_log(SOON, |line| is_failure(line, name));
        let level = if permanent { "error" } else { "warn" };
        assert_eq!(
            (line.text("error_type"), line.text("level")),
            (class, level),
            "{}",
            line.raw
        );
        let asked = store
            .requests()
            .into_iter()
            .filter(|r| reads(r, name))
            .collect::<Vec<_>>();
        if permanent {
            assert!((3..=7).contains(&asked.len()), "{name}: {}", asked.len());
            assert!(shortest(&asked) > Duration::from_millis(1700), "{name}");
        } else {
            // At once, within 1 s, then within 100 s; one more where a connection
            // that was closed under a read is tried anew.
            assert!(asked.len() <= 6, "{name}: {}", asked.len());
        }
    }
    assert_eq!(store.count(is_login), 0);
    assert!(shortest(&store.wait_for(5, SOON, |r| reads(r, "good"))) > Duration::from_millis(1700));
}

#[test]
fn by_default_each_retry_may_wait_twice_as_long_as_the_one_before() {
    // By defaults: 1 s, doubling, full jitter. Each failure in a row may wait twice as long.
    let store = Store::with(|r| is_read(r).then(|| Response::error(412, "later").act()));
    let daemon = Daemon::new(&config(
        &store.address(),
        "authMethod: none",
        &[secret("kv", "s0", "1h")],
    ))
    .start();
    let asked = store.wait_for(4, SOON * 2, is_read);
    for (gap, ceiling) in gaps(&asked).iter().zip([1.0, 2.0, 4.0]) {
        let line = gap.as_secs_f64();
        assert!(line >= 0.09 && line < ceiling + 3.0, "{line} of {ceiling}");
    }
    drop(daemon);
}

#[test]
fn a_secret_that_is_fetched_once_is_not_read_again_but_at_sigusr1_which_refreshes_all_once() {
    let store = Store::start();
    let secrets = [
        secret("kv", "once", "once"),
        secret("kv", "hourly", "1h"),
        secret("kv", "often", "1s"),
    ];
    let daemon = brisk(&config(&store.address(), "authMethod: none", &secrets)).start();
    daemon.wait_ready(SOON);
    store.wait_for(4, SOON, |r| reads(r, "often"));
    for name in ["once", "hourly"] {
        assert_eq!(store.count(|r| reads(r, name)), 1, "{name}");
    }
    store.rule(|r| is_read(r).then(|| traffic::value("v2")));
    daemon.signal(Signal::USR1);
    for name in ["once", "hourly", "often"] {
        daemon.wait_file(format!("out/{name}"), "v2", SOON);
    }
    let seen = store.count(|r| reads(r, "often"));
    store.wait_for(seen + 3, SOON, |r| reads(r, "often"));
    for name in ["once", "hourly"] {
        assert_eq!(store.count(|r| reads(r, name)), 2, "{name}");
    }
}

#[test]
fn a_secret_that_is_fetched_once_is_tried_until_it_succeeds() {
    let store = Store::with(|r| is_read(r).then(|| Response::error(500, "no").act()));
    let secrets = [secret("kv", "s0", "once")];
    let daemon = brisk(&config(&store.address(), "authMethod: none", &secrets)).start();
    store.wait_for(2, SOON, is_read);
    store.heal();
    daemon.wait_file("out/s0", "v1", SOON);
}

#[test]
fn a_storm_of_signals_meets_the_rate_limit_and_no_more_than_it_passes() {
    let store = Store::start();
    let names = names(10);
    let secrets: Vec<_> = names.iter().map(|n| secret("kv", n, "1h")).collect();
    let daemon = brisk(&config(&store.address(), "authMethod: none", &secrets)).start();
    daemon.wait_ready(SOON);
    // Until a burst of two for each read and 20 more a second are long passed.
    let mut seen = 10;
    for _ in 0..400 {
        daemon.signal(Signal::USR1);
        store.wait_for(seen + 1, SOON, is_read);
        seen = store.count(is_read);
        if seen > 80 {
            break;
        }
    }
    let asked = store.wait_for(80, SOON, is_read);
    // What a bucket of 20, filled at 20 a second, lets pass between any two requests. The server's
    // own time stamps may be some requests late.
    for (first, one) in asked.iter().enumerate() {
        for (last, other) in asked.iter().enumerate().skip(first + 30) {
            let passed = (other.at - one.at).as_secs_f64();
            let count = f64::from(u32::try_from(last - first).unwrap());
            assert!(
                count <= 20.1f64.mul_add(passed + 0.25, 21.0),
                "{count} in {passed} s"
            );
        }
    }
}

/// As of two servers behind one address that do not know each other's tokens.
#[test]
fn a_server_that_knows_none_of_the_tokens_it_makes_is_not_asked_for_ever_more_of_them() {
    let unknown = || Some(Response::error(403, "permission denied").act());
    let is_lookup = |r: &support::Request| r.target.ends_with("/lookup-self");
    let store = Store::with(move |r| (is_read(r) || is_lookup(r)).then(unknown).flatten());
    let secrets: Vec<_> = names(40).iter().map(|n| secret("kv", n, "1s")).collect();
    let keys = "authMethod: approle, roleId: r, secretId: s";
    let daemon = Daemon::new(&config(&store.address(), keys, &secrets)).start();
    let line = daemon.wait_for_log(SOON, |line| line.has("msg", "the session has trouble"));
    assert_eq!(line.text("error_type"), "auth", "{}", line.raw);
    assert!(
        line.text("error")
            .contains("its token is refused soon after"),
        "{}",
        line.raw
    );
    // By default spacing: some at once, then after 1, 2, 4, 8, … s at most.
    let logins = store.wait_for(7, SOON * 2, is_login);
    let lasted = logins[6].at - logins[0].at;
    assert!(lasted > Duration::from_millis(190), "{lasted:?}");
    store.heal();
    daemon.wait_ready(SOON * 2);
    // Each of the readers' next tries made a login: ten in a second.
    let logins = store.count(is_login);
    assert!(logins <= 20, "{logins} logins");
}
