//! Servers that go away, seal themselves, freeze, throttle and come back: how soon every secret is
//! current again, who asks meanwhile, and that neighbours of what is broken notice nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod support;
mod traffic;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use support::{
    CountingProxy, Daemon, OpenBao, Request, Response, SOON, ScriptedServer, Stolen, poll, ports,
};
use traffic::{
    Store, all_read_after, brisk, config, is_failure, is_health, is_read, names, reads, secret,
};

/// A splay of 1 s, and the work; the contract's bound.
const CURRENT: Duration = Duration::from_secs(2);

fn list(mount: &str, names: &[String], interval: &str) -> Vec<String> {
    names.iter().map(|n| secret(mount, n, interval)).collect()
}

fn put_all(bao: &OpenBao, names: &[String], value: &str) {
    for name in names {
        bao.kv2_put("kv", name, &json!({ "value": value }));
    }
}

fn wait_all(daemon: &Daemon, names: &[String], value: &str) {
    for name in names {
        daemon.wait_file(format!("out/{name}"), value, SOON);
    }
}

fn breaker(daemon: &Daemon, state: &str) {
    daemon.wait_status(SOON * 2, |status| status["stores"][0]["breaker"] == state);
}

/// Waits for the breaker's opening in the log, and gives the time.
fn opened(daemon: &Daemon, mark: support::Mark) -> Instant {
    let away = |line: &support::LogLine| line.msg().starts_with("the store is away");
    daemon.wait_for_log_after(mark, SOON * 2, away).at
}

fn looks_at(daemon: &Daemon, bao: &Arc<OpenBao>) -> Stolen {
    let (daemon, bao) = (daemon.pid(), Arc::clone(bao));
    Stolen::from(move || bao.pid().into_iter().chain([daemon]).collect())
}

/// All secrets were read within the bound after the probe that found the server, and say how long
/// that took, less what a busy machine had those wait for who could run. The probe is the last one before the daemon
/// says so: the answer to an earlier one may have come too late for it.
#[track_caller]
fn back_in_time(
    daemon: &Daemon,
    mark: support::Mark,
    server: &ScriptedServer,
    names: &[String],
    stolen: &Stolen,
    what: &str,
) {
    let tried = |line: &support::LogLine| line.msg().starts_with("the store is being tried");
    let tried = daemon.wait_for_log_after(mark, SOON * 2, tried).at;
    let of = |requests: &[Request]| {
        let mut probes = requests.iter().filter(|r| is_health(r) && r.at < tried);
        let probe = probes.next_back().expect("the probe that found it").at;
        Some((probe, all_read_after(requests, names, probe)?))
    };
    let (probe, took) = poll(SOON, || of(&server.requests())).expect("all of them");
    let waited = stolen.between(probe, probe + took);
    println!(
        "measured: {} secrets current {took:?} after the probe ({what}), {waited:?} of it without a processor",
        names.len()
    );
    assert!(took.saturating_sub(waited) < CURRENT, "{took:?} {waited:?}");
}

#[test]
fn after_kill_freeze_and_refusal_all_secrets_are_current_within_two_seconds_of_the_probe() {
    let bao = Arc::new(OpenBao::raft().start());
    bao.enable_kv("kv", 2);
    let names = names(40);
    put_all(&bao, &names, "v1");
    let token = bao.token(&["root"], "1h", &json!({}));
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!("authMethod: token, token: {token}, timeout: 1s");
    let daemon = Daemon::new(&config(&proxy.address(), &auth, &list("kv", &names, "1s"))).start();
    daemon.wait_ready(SOON);
    let stolen = looks_at(&daemon, &bao);

    for (what, value) in [("kill and restart", "v2"), ("freeze", "v3")] {
        let mark = daemon.mark();
        if value == "v2" {
            bao.kill9()
        } else {
            bao.stop()
        }
        let open = opened(&daemon, mark);
        let failed = daemon.wait_status(SOON, |status| status["degraded"] == true);
        assert_eq!(
            failed["ready"], true,
            "it stays ready: its files are the last good ones"
        );
        // While it is open the probe alone asks.
        proxy.wait_for(2, SOON, |r| r.at > open && is_health(r));
        let others: Vec<_> = proxy
            .requests()
            .into_iter()
            .filter(|r| r.at > open + Duration::from_millis(500) && !is_health(r))
            .collect();
        assert!(others.is_empty(), "{}", others[0].target);
        for name in &names {
            let text = fs::read_to_string(daemon.path("out").join(name)).unwrap();
            assert!(text.starts_with('v'), "{name}: {text}");
        }
        if value == "v2" {
            bao.restart()
        } else {
            bao.cont()
        }
        put_all(&bao, &names, value);
        wait_all(&daemon, &names, value);
        breaker(&daemon, "closed");
        back_in_time(&daemon, mark, &proxy, &names, &stolen, what);
        daemon.wait_status(SOON, |status| status["degraded"] == false);
    }
}

#[test]
fn a_sealed_server_is_named_so_and_unsealed_all_secrets_are_current() {
    let bao = Arc::new(OpenBao::sealable().start());
    bao.enable_kv("kv", 2);
    let names = names(10);
    put_all(&bao, &names, "v1");
    let token = bao.root_token();
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!("authMethod: token, token: {token}");
    // By default spacing of everything: nothing is set but the interval.
    let daemon = Daemon::new(&config(&proxy.address(), &auth, &list("kv", &names, "1s"))).start();
    daemon.wait_ready(SOON);
    let stolen = looks_at(&daemon, &bao);
    let mark = daemon.mark();
    bao.seal();
    let status = daemon.wait_status(SOON, |status| {
        status["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .any(|s| s["error_type"] == "sealed")
    });
    assert_eq!(status["ready"], true);
    let line = daemon.wait_for_log(SOON, |line| line.has("error_type", "sealed"));
    assert!(line.text("error").contains("sealed"), "{}", line.raw);
    breaker(&daemon, "open");
    bao.unseal();
    put_all(&bao, &names, "v2");
    wait_all(&daemon, &names, "v2");
    back_in_time(&daemon, mark, &proxy, &names, &stolen, "seal and unseal");
}

#[test]
fn a_server_that_refuses_connections_from_the_start_is_waited_for() {
    let store = Store::start();
    let port = ports::reserve();
    let address = format!("http://127.0.0.1:{}", port.number());
    let names = names(5);
    let auth = "authMethod: approle, roleId: r, secretId: s";
    let mut daemon = brisk(&config(&address, auth, &list("kv", &names, "1m"))).start();
    let line = daemon.wait_for_log(SOON, |line| line.has("error_type", "unavailable"));
    assert!(line.text("error").contains(&address), "{}", line.raw);
    breaker(&daemon, "open");
    assert!(daemon.is_running());
    assert!(!daemon.path("out").join("s0").exists());
    // The same server, at last.
    let _relay = Relay::start(port.number(), &store);
    daemon.wait_ready(SOON);
    wait_all(&daemon, &names, "v1");
}

/// Listens on a chosen port and hands each connection on to the scripted store.
struct Relay;

impl Relay {
    fn start(port: u16, to: &Store) -> Self {
        use std::net::{TcpListener, TcpStream};
        let to = to.address().replace("http://", "");
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let Ok(onward) = TcpStream::connect(&to) else {
                    continue;
                };
                let halves = [
                    (from.try_clone().unwrap(), onward.try_clone().unwrap()),
                    (onward, from),
                ];
                for (mut one, mut other) in halves {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut one, &mut other);
                        let _ = other.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self
    }
}

#[test]
fn a_server_that_is_gone_is_looked_for_every_two_seconds_and_asked_anew_once_it_is_started() {
    let store = Store::with(|_| Some(Response::error(503, "sealed").act()));
    let port = ports::reserve();
    let address = format!("http://127.0.0.1:{}", port.number());
    let names = names(5);
    // Everything by default.
    let list = list("kv", &names, "1s");
    let daemon = Daemon::new(&config(&address, "authMethod: none", &list)).start();
    breaker(&daemon, "open");
    // With 1, 2, 4 and 8 s, ± 25 %, one of five would be 6 s away at least.
    let mut planned: Vec<String> = Vec::new();
    while planned.len() < 5 {
        let status = daemon.wait_status(SOON, |status| {
            let next = status["stores"][0]["next_probe"].as_str();
            next.is_some_and(|next| !planned.iter().any(|known| known == next))
        });
        let next = status["stores"][0]["next_probe"].as_str().unwrap();
        let wait = seconds_until(next);
        println!("measured: looked for again at {next}, in {wait} s");
        assert!(wait <= 3, "{planned:?}, and then {next}: in {wait} s");
        planned.push(next.to_owned());
    }
    // It is started, sealed.
    let _relay = Relay::start(port.number(), &store);
    let started = Instant::now();
    let seen = store.wait_for(3, SOON, is_health);
    let waited = seen[0].at.saturating_duration_since(started);
    println!("measured: found {waited:?} after its start");
    assert!(waited < Duration::from_millis(2500 + 1500), "{waited:?}");
    for (gap, seconds) in traffic::gaps(&seen).iter().zip([1.0, 2.0]) {
        let gap = gap.as_secs_f64();
        let wanted = seconds * 0.74..seconds * 1.25 + 1.5;
        assert!(wanted.contains(&gap), "{gap} for {seconds}");
    }
    assert_eq!(store.count(is_read), 0, "the probe alone asks");
    store.heal();
    wait_all(&daemon, &names, "v1");
}

/// From now to a moment such as `2026-11-24T12:00:08Z`, which is less than half a day away.
fn seconds_until(moment: &str) -> i64 {
    const DAY: i64 = 86_400;
    let part = |at: usize| moment[at..at + 2].parse::<i64>().unwrap();
    let since_midnight = (part(11) * 60 + part(14)) * 60 + part(17);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let away = since_midnight - i64::try_from(now.as_secs()).unwrap();
    (away + DAY / 2).rem_euclid(DAY) - DAY / 2
}

#[test]
fn a_hundred_secrets_cost_a_server_that_answers_503_under_sixty_requests_in_a_minute() {
    let store = Store::start();
    let names = names(100);
    let auth = "authMethod: approle, roleId: r, secretId: s";
    // Everything by default; the interval of 1 s is the hardest that can be asked for.
    let daemon = Daemon::new(&config(&store.address(), auth, &list("kv", &names, "1s"))).start();
    daemon.wait_ready(SOON);
    let down = Instant::now();
    store.rule(|_| Some(Response::error(503, "no").act()));
    // The bound is for a minute. Requests come first, before the breaker opens, then probes at
    // 8 s at most (6 with jitter) apart: whoever has 25 seconds knows the minute.
    let mark = daemon.mark();
    opened(&daemon, mark);
    let seen = store.wait_for(5, Duration::from_secs(40), |r| r.at > down && is_health(r));
    let span = seen[4].at - down;
    let requests: Vec<_> = store
        .requests()
        .into_iter()
        .filter(|r| r.at > down && r.at <= seen[4].at)
        .collect();
    let probes = requests.iter().filter(|r| is_health(r)).count();
    let left = Duration::from_secs(60).saturating_sub(span);
    let more = left.as_millis().div_ceil(6000) as usize;
    println!(
        "measured: {} requests in the first {span:?} of 503, {probes} of them probes; {more} more at most in the minute",
        requests.len()
    );
    assert!(requests.len() + more < 60, "{} and {more}", requests.len());
    // 1, 2, 4, 8 s, each ± 25 %, after one that asks before it opens.
    let times: Vec<_> = traffic::gaps(&seen);
    for (gap, seconds) in times.iter().zip([1.0, 2.0, 4.0, 8.0]) {
        let gap = gap.as_secs_f64();
        assert!(
            gap >= seconds * 0.74 && gap < seconds * 1.25 + 1.5,
            "{times:?}"
        );
    }
    // Back: with a splay, not all in one moment, and within the bound.
    let pid = daemon.pid();
    let stolen = Stolen::from(move || vec![pid]);
    store.heal();
    back_in_time(&daemon, mark, &store, &names, &stolen, "503");
    let requests = store.requests();
    let back = seen[4].at;
    let first = |name: &String| {
        requests
            .iter()
            .find(|r| r.at > back && r.status == Some(200) && reads(r, name))
            .unwrap()
            .at
    };
    let mut times: Vec<_> = names.iter().map(first).collect();
    times.sort();
    let spread = times[90] - times[10];
    assert!(spread > Duration::from_millis(300), "no splay: {spread:?}");
}

#[test]
fn a_quota_on_one_path_and_an_error_on_another_leave_the_neighbours_alone() {
    let bao = OpenBao::dev().start();
    let neighbours = names(6);
    bao.enable_kv("kv", 2);
    put_all(&bao, &neighbours, "v1");
    bao.enable_kv("limited", 2);
    bao.kv2_put("limited", "q", &json!({ "value": "v1" }));
    bao.rate_limit("q", "limited", 1.0, "1m");
    let proxy = CountingProxy::start(bao.endpoint());
    proxy.inject(|r| reads(r, "broken").then(|| Response::error(500, "internal error").act()));
    let mut secrets = list("kv", &neighbours, "1s");
    secrets.push(secret("limited", "q", "1s"));
    secrets.push(secret("kv", "broken", "1s"));
    let auth = "authMethod: token, token: root";
    let daemon = brisk(&config(&proxy.address(), auth, &secrets))
        .env("MAX_BACKOFF", "300ms")
        .metrics()
        .start();
    let line = daemon.wait_for_log(SOON, |line| is_failure(line, "q"));
    assert_eq!(line.text("error_type"), "throttled", "{}", line.raw);
    let line = daemon.wait_for_log(SOON, |line| is_failure(line, "broken"));
    assert_eq!(line.text("error_type"), "unavailable", "{}", line.raw);
    proxy.wait_for(20, SOON, |r| reads(r, "broken"));
    proxy.wait_for(10, SOON, |r| reads(r, "q") && r.status == Some(429));
    put_all(&bao, &neighbours, "v2");
    wait_all(&daemon, &neighbours, "v2");
    assert!(
        !daemon
            .log()
            .iter()
            .any(|line| line.msg().starts_with("the store is away"))
    );
    assert_eq!(
        daemon.metric("circuit_breaker_state{name=\"default\"}"),
        Some(0.0)
    );
    for name in &neighbours {
        assert_eq!(
            proxy.count(|r| reads(r, name) && r.status.is_some_and(|s| s != 200)),
            0
        );
    }
    // Health is asked when failures add up, not for each.
    let health = proxy.count(is_health);
    assert!(
        health <= proxy.count(|r| reads(r, "broken")) / 3 + 1,
        "{health} health checks"
    );
}

#[test]
fn the_time_that_a_throttling_server_asks_for_is_kept_up_to_the_longest_backoff() {
    let store = Store::with(|r| {
        let asked = if reads(r, "s0") { "2" } else { "3600" };
        is_read(r).then(|| {
            Response::error(429, "slow down")
                .header("Retry-After", asked)
                .act()
        })
    });
    let auth = "authMethod: none";
    let daemon = Daemon::new(&config(
        &store.address(),
        auth,
        &list("kv", &names(2), "1s"),
    ))
    .env("INITIAL_BACKOFF", "50ms")
    .env("BACKOFF_MULTIPLIER", "1")
    .env("MAX_BACKOFF", "3s")
    .start();
    let asked = store.wait_for(3, SOON, |r| reads(r, "s0"));
    let capped = store.wait_for(3, SOON, |r| reads(r, "s1"));
    for (requests, seconds) in [(asked, 2.0), (capped, 3.0)] {
        for gap in traffic::gaps(&requests) {
            let gap = gap.as_secs_f64();
            assert!(gap >= seconds && gap < seconds + 1.5, "{gap} for {seconds}");
        }
    }
    drop(daemon);
}

#[test]
fn answers_of_a_replica_that_lags_or_stands_by_pass_by_themselves() {
    for (status, class) in [
        (412, "unavailable"),
        (472, "unavailable"),
        (473, "unavailable"),
    ] {
        let store =
            Store::with(move |r| is_read(r).then(|| Response::error(status, "later").act()));
        let daemon = brisk(&config(
            &store.address(),
            "authMethod: none",
            &list("kv", &names(1), "1h"),
        ))
        .start();
        let line = daemon.wait_for_log(SOON, |line| is_failure(line, "s0"));
        assert_eq!(
            (line.text("error_type"), line.text("level")),
            (class, "warn"),
            "{}",
            line.raw
        );
        assert!(
            line.text("error").contains(&status.to_string()),
            "{}",
            line.raw
        );
        store.wait_for(3, SOON, is_read);
        store.heal();
        daemon.wait_file("out/s0", "v1", SOON);
    }
}
