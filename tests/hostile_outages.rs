//! Servers that are away in every way there is below HTTP, and such whose health tells lies: what is
//! said, that one probe asks for each of them, and at what spacing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod hostile;
mod support;

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hostile::front::Front;
use hostile::{check_bound, check_outage, check_probes};
use rustix::net::{AddressFamily, SocketType};
use serde_json::json;
use support::{Action, Daemon, Request, Response, SOON, ScriptedServer, poll, ports};

/// `timeout` of the stores, and how long a probe may take.
const TIMEOUT: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_secs(5);

/// A daemon whose worker tries again within a fifth of a second.
fn hasty(config: &str) -> support::Setup {
    Daemon::new(config)
        .env("INITIAL_BACKOFF", "200ms")
        .env("BACKOFF_MULTIPLIER", "1")
}

fn store(name: &str, address: &str) -> (String, String) {
    (
        format!("  {name}: {{address: '{address}', authMethod: none, timeout: 1s}}\n"),
        format!(
            "- {{name: {name}, key: {name}, store: {name}, refreshInterval: 1s, files: [{{path: \
             @DIR@/{name}, field: x}}]}}\n"
        ),
    )
}

/// Well, for the neighbour of all of them.
fn good() -> ScriptedServer {
    let data = json!({"data": {"data": {"x": "v"}, "metadata": {"version": 1}}});
    ScriptedServer::start(move |_| Response::json(200, &data).act())
}

/// The reads of the neighbour went on at their interval, and none of them failed.
#[track_caller]
fn check_neighbour(server: &ScriptedServer) {
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.status == Some(200)));
    let gaps = requests.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.min().unwrap() >= Duration::from_millis(800));
}

/// A port that neither takes nor refuses a connection: the queue of those who wait is full.
struct Blackhole {
    port: u16,
    _listener: OwnedFd,
    _waiting: Vec<OwnedFd>,
}

impl Blackhole {
    fn open() -> Self {
        let socket = || rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let listener = socket();
        rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = SocketAddrV4::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
        let waiting = (0..8).map(|_| {
            let client = socket();
            rustix::io::ioctl_fionbio(&client, true).unwrap();
            let _ = rustix::net::connect(&client, &address);
            client
        });
        Self {
            port: address.port(),
            _waiting: waiting.collect(),
            _listener: listener,
        }
    }
}

#[test]
fn a_server_that_is_away_below_http_is_named_so_and_asked_for_by_one_probe() {
    let hole = Blackhole::open();
    let full = SocketAddrV4::new(Ipv4Addr::LOCALHOST, hole.port).into();
    if TcpStream::connect_timeout(&full, Duration::from_millis(500)).is_ok() {
        skip!("a queue of connections that is full takes more of them here");
    }
    let nobody = ports::reserve();
    let closed = "the server closed the connection";
    let reset = "the server reset the connection";
    let slow = "no complete answer from `@A@` within 1s";
    // The name; where; class; words; how long an attempt and a probe take.
    let none = (Duration::ZERO, Duration::ZERO);
    let late = (TIMEOUT, PROBE);
    let cases = [
        (
            "refused",
            None,
            "unavailable",
            "`@A@`: cannot connect: connection refused",
            none,
        ),
        (
            "swallowed",
            None,
            "timeout",
            "no connection to `@A@` within 1s",
            late,
        ),
        (
            "reset-at-once",
            Some(Front::ends(true)),
            "unavailable",
            reset,
            none,
        ),
        (
            "closed-at-once",
            Some(Front::ends(false)),
            "unavailable",
            "the connection",
            none,
        ),
        ("silent", Some(Front::silent()), "timeout", slow, late),
        (
            "closed-in-the-head",
            Some(Front::answers_and_ends("HTTP/1.1 200 O", false)),
            "unavailable",
            closed,
            none,
        ),
        (
            "reset-in-the-head",
            Some(Front::answers_and_ends("HTTP/1.1 200 O", true)),
            "unavailable",
            reset,
            none,
        ),
        (
            "reset-in-the-body",
            Some(Front::answers_and_ends(
                "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"da",
                true,
            )),
            "unavailable",
            "the connection",
            none,
        ),
        (
            "stops-in-the-body",
            Some(Front::answers(
                "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"da",
            )),
            "timeout",
            slow,
            late,
        ),
        (
            "drips",
            Some(Front::drips(b"HTTP/1.1 100 Continue\r\n\r\n")),
            "timeout",
            slow,
            late,
        ),
    ];
    let (neighbour, mut config, mut secrets) = (
        good(),
        "secretStores:\n".to_owned(),
        "secrets:\n".to_owned(),
    );
    let address = |name: &str, front: &Option<Front>| match (front, name) {
        (Some(front), _) => format!("http://127.0.0.1:{}", front.port),
        (None, "swallowed") => format!("http://127.0.0.1:{}", hole.port),
        (None, _) => format!("http://127.0.0.1:{}", nobody.number()),
    };
    let addresses = cases
        .iter()
        .map(|(name, front, ..)| (*name, address(name, front)));
    for (name, address) in addresses.chain([("good", neighbour.address())]) {
        let (store, secret) = store(name, &address);
        config.push_str(&store);
        secrets.push_str(&secret);
    }
    let started = Instant::now();
    let mut daemon = hasty(&(config + &secrets)).start();
    for (name, front, class, words, _) in &cases {
        let line = daemon.wait_for_log(SOON, |line| {
            line.has("secret", name) && line.json["error_type"].is_string()
        });
        let words = words.replace("@A@", &address(name, front));
        assert_eq!(
            (line.text("error_type"), line.text("level")),
            (*class, "warn"),
            "{}",
            line.raw
        );
        assert!(line.text("error").contains(&words), "{words}: {}", line.raw);
        assert!(
            line.text("error").contains(&address(name, front)),
            "{}",
            line.raw
        );
        let next = line.json["next_retry_ms"].as_u64().unwrap();
        assert!(next <= 200, "{}", line.raw);
    }
    for (name, front, .., (attempt, probe)) in &cases {
        let away = daemon.wait_for_log(SOON * 2, |line| {
            line.has("store", name) && line.msg().starts_with("the store is away")
        });
        let Some(front) = front else { continue };
        let after = || front.times().into_iter().filter(|at| *at > away.at);
        let enough = if probe.is_zero() { 2 } else { 1 };
        poll(SOON, || (after().count() >= enough).then_some(()))
            .unwrap_or_else(|| panic!("{name}"));
        let times = front.times();
        if probe.is_zero() {
            check_outage(name, &times, *attempt);
        } else {
            // Attempts go on at their pace until the question of its health is answered by silence.
            let gap = after().next().unwrap() - away.at;
            assert!(gap > Duration::from_millis(650), "{name}: {gap:?}");
            assert!(after().count() <= 3, "{name}");
        }
        check_bound(name, &times, 1, 1.0, 0);
        println!(
            "measured: {name}: {} connections in {:?}",
            times.len(),
            started.elapsed()
        );
    }
    check_neighbour(&neighbour);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!daemon.log().iter().any(|line| line.raw.contains("panic")));
}

fn is_health(request: &Request) -> bool {
    request.target.starts_with("/v1/sys/health")
}

/// What health says when every read is answered 500.
#[test]
fn whatever_health_answers_reads_and_probes_keep_their_distance() {
    let raw = |bytes: &str| Action::Raw(bytes.as_bytes().to_vec());
    let body = |status: u16, body: String| {
        Response {
            status,
            headers: Vec::new(),
            body: body.into_bytes(),
        }
        .act()
    };
    // Whether it opens the breaker, and how long the question takes.
    let none = Duration::ZERO;
    let cases = [
        ("well", body(200, "{}".into()), false, none),
        ("no-json", body(200, "\u{1b}[2J".into()), false, none),
        (
            "wrong-types",
            body(200, r#"{"sealed":"yes","standby":[1]}"#.into()),
            false,
            none,
        ),
        ("standby", body(429, String::new()), false, none),
        // It says nothing of the store: a read asks in its place.
        ("a-proxys-page", body(404, "<html>".into()), true, none),
        ("sealed", body(503, r#"{"sealed":true}"#.into()), true, none),
        ("no-http", raw("\u{1b}[2J\r\n\r\n"), true, none),
        ("closes", Action::Close, true, none),
        ("resets", Action::Reset, true, none),
        ("hangs", Action::Hang, true, PROBE),
        (
            "100-mb",
            body(200, "x".repeat(100 << 20)),
            true,
            Duration::from_secs(1),
        ),
        (
            "without-end",
            raw(&format!(
                "HTTP/1.1 200 OK\r\n{}",
                "A: b\r\n".repeat(100_000)
            )),
            true,
            none,
        ),
        (
            "redirects",
            Response {
                status: 307,
                headers: vec![("Location".into(), "/v1/sys/health".into())],
                body: vec![],
            }
            .act(),
            true,
            none,
        ),
    ];
    let (neighbour, mut config, mut secrets) = (
        good(),
        "secretStores:\n".to_owned(),
        "secrets:\n".to_owned(),
    );
    let servers = cases.clone().map(|(_, health, ..)| {
        ScriptedServer::start(move |request| match is_health(request) {
            true => health.clone(),
            false => Response::error(500, "no").act(),
        })
    });
    let addresses = cases
        .iter()
        .zip(&servers)
        .map(|((name, ..), server)| (*name, server.address()));
    for (name, address) in addresses.chain([("good", neighbour.address())]) {
        let (store, secret) = store(name, &address);
        config.push_str(&store);
        secrets.push_str(&secret);
    }
    let mut daemon = hasty(&(config + &secrets)).start();
    for ((name, _, opens, cost), server) in cases.iter().zip(&servers) {
        if !opens {
            continue;
        }
        let line = daemon.wait_for_log(SOON, |line| {
            line.has("store", name) && line.msg().starts_with("the store is away")
        });
        assert!(
            line.msg().len() < 1000 && !line.msg().contains(char::is_control),
            "{}",
            line.raw
        );
        let enough = if cost.is_zero() { 4 } else { 2 };
        if *name == "a-proxys-page" {
            server.wait_for(6, SOON, |request| !is_health(request));
        } else {
            server.wait_for(enough, SOON, is_health);
        }
    }
    for ((name, _, opens, cost), server) in cases.iter().zip(&servers) {
        let times = |wanted: &dyn Fn(&Request) -> bool| {
            let all = server.requests().into_iter();
            all.filter(wanted)
                .map(|request| request.at)
                .collect::<Vec<_>>()
        };
        let (reads, health) = (times(&|r| !is_health(r)), times(&is_health));
        println!(
            "measured: {name}: {} reads, {} questions of health",
            reads.len(),
            health.len()
        );
        check_bound(name, &reads, 1, 1.0, 0);
        if *name == "a-proxys-page" {
            check_probes(name, &reads[2..], none);
            assert_eq!(health.len(), 1, "{name}");
        } else if *opens {
            if cost.is_zero() {
                assert_eq!(reads.len(), 3, "{name}: while it is open nobody reads");
            }
            check_probes(name, &health, *cost);
        } else {
            // A question for three failures at most.
            assert!(health.len() <= reads.len() / 3 + 1, "{name}");
            assert_eq!(breaker(&daemon, name), "closed");
        }
    }
    check_neighbour(&neighbour);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!daemon.log().iter().any(|line| line.raw.contains("panic")));
}

fn breaker(daemon: &Daemon, store: &str) -> String {
    let status = daemon.status().unwrap();
    let all = status["stores"].as_array().unwrap();
    let its = all.iter().find(|entry| entry["name"] == store).unwrap();
    its["breaker"].as_str().unwrap().to_owned()
}
