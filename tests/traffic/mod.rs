//! Configurations and servers for tests that count requests: many small secrets of one store, and a
//! store by script that does everything right until a test says otherwise.

#![allow(
    dead_code,
    reason = "each test program uses its own part of this module"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what is for the tests; a test program exports nothing"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Action, Daemon, LogLine, Request, Response, ScriptedServer, Setup};

/// A secret `name` at `mount/name`, whose field `value` is the file `out/name`.
pub fn secret(mount: &str, name: &str, interval: &str) -> String {
    format!(
        "  - name: {name}\n    key: {name}\n    mountPath: {mount}\n    refreshInterval: {interval}\n    \
         files: [{{ path: '@DIR@/out/{name}', field: value }}]\n"
    )
}

/// `s0`, `s1`, …
pub fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number}")).collect()
}

/// A configuration: the store at `address` with these further keys (`authMethod: …, …`), and
/// secrets as [`secret`] writes them.
pub fn config(address: &str, keys: &str, secrets: &[String]) -> String {
    format!(
        "secretStore: {{ address: '{address}', {keys} }}\nsecrets:\n{}",
        secrets.concat()
    )
}

/// A daemon that backs off in tenths of a second, for tests that wait for what comes after.
pub fn brisk(config: &str) -> Setup {
    Daemon::new(config)
        .env("INITIAL_BACKOFF", "100ms")
        .env("MAX_BACKOFF", "2s")
}

/// Whether it reads the secret `name` (KV v2, any mount).
pub fn reads(request: &Request, name: &str) -> bool {
    request.method == "GET" && request.target.ends_with(&format!("/data/{name}"))
}

/// Whether it reads any secret.
pub fn is_read(request: &Request) -> bool {
    request.method == "GET" && request.target.contains("/data/")
}

/// Whether it is a login by AppRole.
pub fn is_login(request: &Request) -> bool {
    request.is("POST", "auth/approle/login")
}

/// Whether it asks after the store's health.
pub fn is_health(request: &Request) -> bool {
    request.target.starts_with("/v1/sys/health")
}

/// A line that says that a secret could not be synced.
pub fn is_failure(line: &LogLine, name: &str) -> bool {
    line.has("secret", name) && line.msg().starts_with("the secret could not be synced")
}

/// The answer to a login.
pub fn login(token: &str) -> Action {
    let auth = json!({
        "client_token": token, "accessor": "accessor-of-a-test", "lease_duration": 3600,
        "renewable": true, "token_type": "service",
    });
    Response::json(200, &json!({ "auth": auth })).act()
}

/// A KV v2 secret with this value.
pub fn value(value: &str) -> Action {
    let data = json!({"data": {"value": value}, "metadata": {"version": 1}});
    Response::json(200, &json!({ "data": data })).act()
}

/// What a store answers while all is well: `None` for reads of secrets.
fn well(request: &Request) -> Option<Action> {
    if is_read(request) {
        None
    } else if request.target.contains("/login") {
        Some(login("t"))
    } else if is_health(request) {
        Some(Response::json(200, &json!({"initialized": true, "sealed": false})).act())
    } else {
        let data = json!({"ttl": 3600, "renewable": true, "type": "service", "num_uses": 0});
        Some(Response::json(200, &json!({ "data": data })).act())
    }
}

type Rule = dyn Fn(&Request) -> Option<Action> + Send;

/// A store by script: every secret is `v1`, every login succeeds; a rule may answer first.
pub struct Store {
    server: ScriptedServer,
    rule: Arc<Mutex<Box<Rule>>>,
}

impl Store {
    /// Where all is well.
    pub fn start() -> Self {
        Self::with(|_| None)
    }

    /// With a rule from the beginning.
    pub fn with(rule: impl Fn(&Request) -> Option<Action> + Send + 'static) -> Self {
        let rule: Arc<Mutex<Box<Rule>>> = Arc::new(Mutex::new(Box::new(rule)));
        let asked = Arc::clone(&rule);
        let server = ScriptedServer::start(move |request| {
            let ruled = asked.lock().unwrap()(request);
            ruled
                .or_else(|| well(request))
                .unwrap_or_else(|| value("v1"))
        });
        Self { server, rule }
    }

    /// From now on this rule.
    pub fn rule(&self, rule: impl Fn(&Request) -> Option<Action> + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.rule(|_| None);
    }
}

impl std::ops::Deref for Store {
    type Target = ScriptedServer;

    fn deref(&self) -> &ScriptedServer {
        &self.server
    }
}

/// The times of these requests, from the first on.
pub fn gaps(requests: &[Request]) -> Vec<Duration> {
    requests
        .windows(2)
        .map(|pair| pair[1].at - pair[0].at)
        .collect()
}

/// How long after `from` the last of `names` was first read with success. `None` when one never
/// was.
pub fn all_read_after(requests: &[Request], names: &[String], from: Instant) -> Option<Duration> {
    let times = names.iter().map(|name| {
        requests
            .iter()
            .find(|r| r.at >= from && r.status == Some(200) && reads(r, name))
            .map(|r| r.at - from)
    });
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}
