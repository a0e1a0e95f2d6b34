//! A hundred secrets, and a server that comes back: killed and started again, or sealed and unsealed.
//! Here the outages are short; `make outages` measures those of 30 to 150 s.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod support;
mod traffic;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{CountingProxy, Daemon, LogLine, OpenBao, SOON, poll};
use traffic::{all_read_after, config, is_health, names, secret};

/// A splay of 1 s, and the work; the contract's bound.
const CURRENT: Duration = Duration::from_secs(2);
/// The longest time between two probes, what a probe itself may take, and the above.
const LONGEST: Duration = Duration::from_secs(10 + 5 + 2);

#[test]
fn a_killed_server_returns_and_a_hundred_secrets_are_current_in_time() {
    return_in_time(OpenBao::kill9, OpenBao::restart);
}

#[test]
fn a_sealed_server_is_unsealed_and_a_hundred_secrets_are_current_in_time() {
    return_in_time(OpenBao::seal, OpenBao::unseal);
}

/// A machine that has no time for the test says nothing of the daemon: two outages may be spoilt.
#[track_caller]
fn return_in_time(leave: fn(&OpenBao), come_back: fn(&OpenBao)) {
    let site = Site::start();
    let mut after_probe = Duration::MAX;
    for number in 1..=3 {
        after_probe = site.outage(number, leave, come_back);
        if after_probe < CURRENT {
            return;
        }
    }
    panic!("three times not within {CURRENT:?} after the probe; last: {after_probe:?}");
}

/// A server and a daemon as it is set up by default.
struct Site {
    bao: OpenBao,
    proxy: CountingProxy,
    names: Vec<String>,
    daemon: Daemon,
}

impl Site {
    fn start() -> Self {
        let bao = OpenBao::raft().start();
        bao.enable_kv("kv", 2);
        let policy = bao.reader_policy("kv");
        let role = json!({ "token_policies": [policy], "token_ttl": "1h" });
        let (role_id, secret_id) = bao.approle("app", &role);
        let proxy = CountingProxy::start(bao.endpoint());
        let auth = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
        let names = names(100);
        let secrets: Vec<_> = names.iter().map(|name| secret("kv", name, "1s")).collect();
        let daemon = Daemon::new(&config(&proxy.address(), &auth, &secrets)).start();
        let site = Self {
            bao,
            proxy,
            names,
            daemon,
        };
        site.put_all("v0");
        site.daemon.wait_ready(SOON * 3);
        site
    }

    fn put_all(&self, value: &str) {
        for name in &self.names {
            self.bao.kv2_put("kv", name, &json!({ "value": value }));
        }
    }

    /// One outage, until every file has the value of this number; how long that took from the probe
    /// that found the server.
    fn outage(&self, number: u32, leave: fn(&OpenBao), come_back: fn(&OpenBao)) -> Duration {
        let said = |what: &'static str| move |line: &LogLine| line.msg().starts_with(what);
        let mark = self.daemon.mark();
        leave(&self.bao);
        let gone = Instant::now();
        self.daemon
            .wait_for_log_after(mark, SOON * 2, said("the store is away"));
        // Until the probes are far apart, as they are in a long outage.
        let is_probe = |r: &support::Request| r.at > gone && is_health(r);
        self.proxy.wait_for(4, SOON * 2, is_probe);
        come_back(&self.bao);
        let back = Instant::now();
        let value = format!("v{number}");
        self.put_all(&value);
        let is_current = |name: &String| {
            let file = self.daemon.path("out").join(name);
            fs::read(file).is_ok_and(|content| content == value.as_bytes())
        };
        let all = || self.names.iter().all(is_current).then(|| back.elapsed());
        let whole = poll(SOON * 3, all).expect("all files current");

        let lines = self.daemon.log();
        let mut lines = lines.iter().rev();
        let tried = lines.find(|line| said("the store is being tried")(line));
        let tried = tried.expect("a probe that found it").at;
        let requests = self.proxy.requests();
        let mut probes = requests.iter().filter(|r| is_health(r) && r.at < tried);
        let probe = probes.next_back().expect("a probe").at;
        let after_probe = all_read_after(&requests, &self.names, probe).expect("all of them");
        println!(
            "measured: all current {whole:.2?} after the return, {after_probe:.2?} after the probe"
        );
        assert!(whole < LONGEST, "{whole:?}");
        after_probe
    }
}
