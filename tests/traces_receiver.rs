//! Receivers of traces that are away, refuse, hang, or answer half: no sync waits for them, no memory and
//! no log fills up, and the end does not wait.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{
    Action, Daemon, LogLine, Request, Response, SOON, ScriptedServer, Setup, canary, ports,
};
use traffic::{Store, config, is_read, names, secret};

const SECRETS: usize = 10;

/// What `opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse` says for "three of them
/// were not taken: no".
const PARTIAL: &[u8] = b"\x0a\x06\x08\x03\x12\x02no";

fn taken() -> Action {
    body(200, b"")
}

fn body(status: u16, body: &[u8]) -> Action {
    Response {
        status,
        headers: vec![(
            "Content-Type".to_owned(),
            "application/x-protobuf".to_owned(),
        )],
        body: body.to_vec(),
    }
    .act()
}

/// A daemon of some secrets, each read once a second, that tells `receiver` ten times a second.
fn daemon(store: &Store, receiver: &str) -> Setup {
    let secrets: Vec<_> = names(SECRETS)
        .iter()
        .map(|name| secret("kv", name, "1s"))
        .collect();
    let auth = "authMethod: token, token: a-token-of-this-test";
    Daemon::new(&config(&store.address(), auth, &secrets))
        .env("ENABLE_TRACING", "true")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "50")
}

fn is_about_traces(line: &LogLine) -> bool {
    line.has("target", "observe") && line.msg() != "syncs are traced"
}

/// Waits until every secret has been read so often.
fn reads(store: &Store, times: usize) -> Vec<Request> {
    for name in names(SECRETS) {
        store.wait_for(times, SOON * 2, |r| traffic::reads(r, &name));
    }
    store.requests()
}

fn millis_between(log: &[LogLine], first: &str, last: &str) -> u128 {
    let at = |msg: &str| {
        let line = log.iter().find(|line| line.msg() == msg);
        let text = line.unwrap_or_else(|| panic!("no `{msg}`")).text("ts");
        humantime::parse_rfc3339(text).unwrap()
    };
    at(last).duration_since(at(first)).unwrap().as_millis()
}

#[test]
fn no_sync_waits_for_a_receiver_and_the_log_says_so_once() {
    let closed = ports::reserve();
    let server = |action: Action| ScriptedServer::start(move |_| action.clone());
    let hanging = server(Action::Hang);
    let slow = server(Action::Slow(
        Response::error(200, "slow"),
        Duration::from_millis(200),
    ));
    let broken = server(body(500, b"a-body-that-nobody-shows"));
    canary::remember("a-body-that-nobody-shows");
    let overloaded = server(body(503, b""));
    let refusing = server(body(401, b""));
    let half = server(Action::HalfBody(Response::error(200, "half of this"), 3));
    let garbage = server(Action::Raw(b"\x16\x03\x01 no HTTP\r\n\r\n".to_vec()));
    let cases = [
        (format!("http://127.0.0.1:{}", closed.number()), "refused"),
        (hanging.address(), "no complete answer"),
        (slow.address(), "no complete answer"),
        (broken.address(), "answered 500"),
        (overloaded.address(), "answered 503"),
        (refusing.address(), "answered 401"),
        (half.address(), ""),
        (garbage.address(), "HTTP"),
    ];
    let threads: Vec<_> = cases
        .into_iter()
        .map(|(address, why)| std::thread::spawn(move || endure(&address, why)))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// One daemon with a bad receiver, next to one without traces.
fn endure(receiver: &str, why: &str) {
    let store = Store::start();
    let mut traced = daemon(&store, receiver).start();
    let line = traced.wait_for_log(SOON, is_about_traces);
    assert_eq!(line.text("level"), "warn");
    assert_eq!(
        line.msg(),
        "traces are not delivered; the secrets are not concerned"
    );
    assert!(line.text("error").contains(why), "{receiver}: {}", line.raw);
    assert!(line.text("error").contains(receiver), "{}", line.raw);
    assert!(line.json["lost"].as_u64().unwrap() > 0, "{}", line.raw);
    let requests = reads(&store, 5);
    // An interval of one second with its jitter, and what the machine does meanwhile. Ten at a time
    // would take five seconds for a receiver that each of them waited for.
    let of_one: Vec<_> = requests
        .iter()
        .filter(|r| traffic::reads(r, "s0"))
        .cloned()
        .collect();
    let took = of_one[4].at - of_one[0].at;
    assert!(took < Duration::from_secs(12), "{receiver}: {took:?}");
    let syncs = |line: &&LogLine| line.msg().starts_with("the secret could not");
    assert_eq!(traced.log().iter().filter(syncs).count(), 0);
    traced.stop();
    let log = traced.log();
    let told: Vec<_> = log.iter().filter(|line| is_about_traces(line)).collect();
    // One, and one at the end.
    assert!(told.len() <= 2, "{receiver}: {told:#?}");
    let took = millis_between(&log, "stopping", "stopped");
    assert!(took < 4000, "{receiver}: {took} ms");
}

#[test]
fn the_delivery_of_the_last_spans_ends_with_the_time_to_stop() {
    let hanging = ScriptedServer::start(|_| Action::Hang);
    let store = Store::start();
    let mut traced = daemon(&store, &hanging.address())
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .env("SHUTDOWN_TIMEOUT", "100ms")
        .start();
    traced.wait_ready(SOON);
    hanging.wait_for(1, SOON, |_| true);
    traced.stop();
    let took = millis_between(&traced.log(), "stopping", "stopped");
    assert!(
        took < 900,
        "{took} ms: the second that it may take otherwise"
    );
}

#[test]
fn what_no_receiver_takes_fills_no_memory() {
    let hanging = ScriptedServer::start(|_| Action::Hang);
    let store = Store::start();
    let secrets: Vec<_> = names(100)
        .iter()
        .map(|name| secret("kv", name, "1s"))
        .collect();
    let auth = "authMethod: token, token: a-token-of-this-test";
    let setup = Daemon::new(&config(&store.address(), auth, &secrets))
        .env("ENABLE_TRACING", "true")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &hanging.address())
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "100");
    let daemon = setup.start();
    let rounds = |times: usize| store.wait_for(100 * times, SOON * 2, is_read);
    rounds(4);
    let before = daemon.rss_kib();
    rounds(10);
    let grown = daemon.rss_kib().saturating_sub(before);
    println!("measured: {grown} KiB more after 600 syncs, from {before} KiB");
    // Five spans each, and what they say: more than a MiB.
    assert!(grown < 640, "{grown} KiB, from {before}");
}

#[test]
fn a_receiver_that_comes_back_is_told_of_once_more() {
    let well = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&well);
    let receiver = ScriptedServer::start(move |_| {
        if seen.load(Ordering::SeqCst) {
            taken()
        } else {
            Action::Close
        }
    });
    let store = Store::start();
    let daemon = daemon(&store, &receiver.address()).start();
    daemon.wait_for_log(SOON, is_about_traces);
    well.store(true, Ordering::SeqCst);
    let line = daemon.wait_for_log(SOON, |line| line.msg() == "traces are delivered again");
    assert_eq!(line.text("level"), "info");
    // It goes up and down: that is one trouble, and told once in five minutes.
    well.store(false, Ordering::SeqCst);
    let lost = receiver.requests().len() + 5;
    receiver.wait_for(lost, SOON, |_| true);
    let told = daemon
        .log()
        .iter()
        .filter(|line| is_about_traces(line))
        .count();
    assert!(
        told <= 3,
        "{told}: at most what was dropped before it came back"
    );
}

#[test]
fn a_receiver_that_asks_for_patience_gets_the_batch_again() {
    let asked = AtomicUsize::new(0);
    let receiver = ScriptedServer::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Response::error(429, "later")
            .header("Retry-After", "1")
            .act(),
        1 => Action::Close,
        _ => taken(),
    });
    let store = Store::start();
    let started = Instant::now();
    let daemon = daemon(&store, &receiver.address())
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "20000")
        .start();
    let requests = receiver.wait_for(3, SOON, |_| true);
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].body, requests[2].body);
    assert!(requests[1].at - started >= Duration::from_secs(1));
    assert!(
        !daemon
            .log()
            .iter()
            .any(|line| line.msg().starts_with("traces are not"))
    );
}

#[test]
fn spans_that_a_receiver_does_not_take_are_counted() {
    let receiver = ScriptedServer::start(|_| body(200, PARTIAL));
    let store = Store::start();
    let daemon = daemon(&store, &receiver.address()).start();
    let line = daemon.wait_for_log(SOON, is_about_traces);
    assert_eq!(line.msg(), "the receiver of traces did not take some spans");
    assert_eq!(
        (line.json["lost"].as_u64(), line.text("error")),
        (Some(3), "no")
    );
    receiver.wait_for(5, SOON, |_| true);
    let told = daemon
        .log()
        .iter()
        .filter(|line| line.has("error", "no"))
        .count();
    assert_eq!(told, 1);
}

#[test]
fn doctor_says_whether_the_receiver_takes_traces_and_what_to_do() {
    let store = Store::start();
    let receiver =
        |status| ScriptedServer::start(move |_| body(status, b"a-body-that-nobody-shows"));
    let closed = ports::reserve();
    let doctor = |address: &str| {
        let finished = daemon(&store, address)
            // This store knows nothing of capabilities.
            .status(1)
            .any_stdout()
            .any_stderr()
            .run(&["doctor", "--json"]);
        let document: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
        let checks = document["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == "traces");
        let text = |key: &str| check.unwrap()[key].as_str().unwrap_or_default().to_owned();
        (text("verdict"), text("message"), text("remedy"))
    };
    let good = receiver(200);
    let (verdict, message, _) = doctor(&good.address());
    assert_eq!(verdict, "ok", "{message}");
    let requests = good.requests();
    assert!(
        requests.len() == 1 && requests[0].is("POST", "traces"),
        "{requests:?}"
    );
    assert!(requests[0].body.is_empty());
    for (status, help) in [
        (401, "OTEL_EXPORTER_OTLP_HEADERS"),
        (404, "4318"),
        (500, "log"),
    ] {
        let (verdict, message, remedy) = doctor(&receiver(status).address());
        assert_eq!(verdict, "warning");
        assert!(message.contains(&format!("answered {status}")), "{message}");
        assert!(remedy.contains(help), "{remedy}");
    }
    let (verdict, message, _) = doctor(&format!("http://127.0.0.1:{}", closed.number()));
    assert!(
        verdict == "warning" && message.contains("refused"),
        "{message}"
    );
}
