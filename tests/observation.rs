//! What a running daemon shows: its endpoints in every state, its metrics, its log; and that
//! nobody who looks can hold it up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod site;
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use secrets_sync::clock::{Clock, ManualClock};
use secrets_sync::config::Environment;
use secrets_sync::observe::status_file::{LockPolicy, StatusFile, StatusLock};
use secrets_sync::sync::Outlook;
use serde_json::{Value, json};
use site::{Site, hourly, list, secret, settled};
use support::{Daemon, LogLine, Response, SOON, poll, ports};

#[test]
fn the_endpoints_answer_in_every_state() {
    let site = Site::with(&["a"]);
    let daemon = Daemon::new(&site.config(&[hourly("a"), secret("b", "refreshInterval: 1s")]))
        .metrics()
        .start();
    daemon.wait_for_log(SOON, |line| line.msg().starts_with("serving health"));
    let ready = |status: u16, body: &str| {
        let seen = || {
            let answer = daemon.get("/ready");
            (answer.status == status && answer.text() == body).then_some(answer)
        };
        let answer = poll(SOON, seen);
        assert!(answer.is_some(), "{}", daemon.get("/ready").text());
        assert_eq!(
            answer.unwrap().header("content-type"),
            Some("application/json")
        );
        let health = daemon.get("/health");
        assert_eq!(
            (health.status, health.text().as_str()),
            (200, r#"{"status":"healthy"}"#)
        );
    };
    ready(
        503,
        r#"{"ready":false,"degraded":true,"secret_count":2,"synced_count":1}"#,
    );
    site.put("b", "b");
    ready(
        200,
        r#"{"ready":true,"degraded":false,"secret_count":2,"synced_count":2}"#,
    );
    site.bao.delete(&site.mount, "b");
    ready(
        200,
        r#"{"ready":true,"degraded":true,"secret_count":2,"synced_count":1}"#,
    );

    // The status page and the status file are one document.
    let page = daemon.get("/status");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("application/json"))
    );
    let page = page.json();
    assert_eq!(page["schema"], 1);
    assert_eq!(page["stores"].as_array().unwrap().len(), 1);
    let store = &page["stores"][0];
    assert_eq!(
        (&store["name"], &store["breaker"]),
        (&json!("default"), &json!("closed"))
    );
    let failed = &page["secrets"][1];
    assert_eq!(
        (&failed["name"], &failed["store"], &failed["state"]),
        (&json!("b"), &json!("default"), &json!("failed"))
    );
    assert_eq!(
        (&failed["version"], &failed["error_type"]),
        (&json!(1), &json!("deleted"))
    );
    for (entry, keys) in [
        (
            &page,
            &[
                "config",
                "degraded",
                "ready",
                "schema",
                "secret_count",
                "secrets",
                "started",
                "stores",
                "synced_count",
            ][..],
        ),
        (&page["config"], &["error", "loaded"]),
        (
            &page["secrets"][0],
            &[
                "error",
                "error_type",
                "interval",
                "last_success",
                "last_write",
                "name",
                "next_reason",
                "next_refresh",
                "state",
                "store",
                "version",
            ],
        ),
    ] {
        let found: Vec<_> = entry.as_object().unwrap().keys().collect();
        assert_eq!(found, keys);
    }
    let same = |file: &Value| {
        file["secrets"][0] == page["secrets"][0] && file["started"] == page["started"]
    };
    daemon.wait_status(SOON, same);

    let metrics = daemon.get("/metrics");
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for target in ["/nope", "/healthz", "/status/", "/../status", "/%2e%2e/x"] {
        assert_eq!(daemon.get(target).status, 404, "{target}");
    }
    assert_eq!(daemon.get("/ready?x=1").status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        for target in ["/ready", "/status", "/nope"] {
            let answer = daemon
                .endpoint()
                .exchange(method, target, &[], b"")
                .unwrap();
            assert_eq!(answer.status, 405, "{method} {target}");
        }
    }
}

/// The samples of the page by series, buckets left out.
fn samples(daemon: &Daemon) -> BTreeMap<String, f64> {
    let page = daemon.get("/metrics").text();
    let lines = page
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

#[test]
fn every_metric_has_its_labels_and_a_sensible_value() {
    let site = Site::with(&["good"]);
    let began = now();
    let policy = site.bao.reader_policy(&site.mount);
    let options = json!({ "token_policies": [policy], "token_ttl": "30m" });
    let (role_id, secret_id) = site.bao.approle(&support::unique("role"), &options);
    let team = format!("{{ authMethod: approle, roleId: {role_id}, secretId: {secret_id} }}");
    let down = ports::reserve();
    let config = format!(
        "secretStore:\n  address: '{}'\n  authMethod: token\n  token: root\n  mountPath: {}\n  credentials: {{ team: {team} }}\n\
         secretStores: {{ away: {{ address: 'http://127.0.0.1:{}', authMethod: none }} }}\n{}",
        site.proxy.address(),
        site.mount,
        down.number(),
        list(&[
            secret("good", "credentials: team, refreshInterval: 1h"),
            hourly("missing"),
            secret("lost", "store: away, mountPath: far, refreshInterval: 1s"),
        ])
    );
    let daemon = Daemon::new(&config)
        .metrics()
        .env("INITIAL_BACKOFF", "10ms")
        .env("MAX_BACKOFF", "50ms")
        .start();
    site.put("good", "better");
    settled_but(&daemon, 1);
    // Two further successes, one of them a write.
    site.put("good", "best");
    daemon.signal(support::Signal::USR1);
    daemon.wait_file("good", "best", SOON);
    let mount = &site.mount;
    let long = |name: &str, store: &str, path: &str, last: &str| {
        let (key, value) = last.split_once('=').unwrap();
        // The names of labels are sorted.
        if key < "secret_name" {
            format!(
                "{{{key}=\"{value}\",secret_name=\"{name}\",store=\"{store}\",vault_path=\"{path}\"}}"
            )
        } else {
            format!(
                "{{secret_name=\"{name}\",{key}=\"{value}\",store=\"{store}\",vault_path=\"{path}\"}}"
            )
        }
    };
    let short = |name: &str, store: &str| format!("{{secret_name=\"{name}\",store=\"{store}\"}}");
    let (good, lost) = (short("good", "default"), short("lost", "away"));
    let shown = || {
        let seen = samples(&daemon);
        let fetches = format!(
            "secret_fetch_total{}",
            long(
                "good",
                "default",
                &format!("{mount}/good"),
                "status=success"
            )
        );
        (seen.get(&fetches) == Some(&2.0)
            && seen.get("circuit_breaker_state{name=\"away\"}") == Some(&2.0))
        .then_some(seen)
    };
    let seen = poll(SOON, shown);
    let seen = seen.unwrap_or_else(|| samples(&daemon));
    let version = "secrets_sync_build_info{revision=\"";
    assert!(
        seen.iter().any(|(name, value)| name.starts_with(version)
            && name.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")))
            && *value == 1.0),
        "{seen:#?}"
    );
    let is = |series: String, wanted: f64| {
        assert_eq!(seen.get(&series), Some(&wanted), "{series} of {seen:#?}");
    };
    let within = |series: String, low: f64, high: f64| {
        let value = seen.get(&series).copied();
        assert!(
            value.is_some_and(|value| (low..=high).contains(&value)),
            "{series}: {value:?} of {seen:#?}"
        );
    };
    let path = format!("{mount}/good");
    is(
        format!(
            "secret_fetch_total{}",
            long("good", "default", &path, "status=success")
        ),
        2.0,
    );
    is(
        format!(
            "secret_fetch_total{}",
            long("good", "default", &path, "status=error")
        ),
        0.0,
    );
    let path = format!("{mount}/missing");
    within(
        format!(
            "secret_fetch_total{}",
            long("missing", "default", &path, "status=error")
        ),
        1.0,
        2.0,
    );
    within(
        format!(
            "secret_fetch_errors_total{}",
            long("missing", "default", &path, "error_type=not_found")
        ),
        1.0,
        2.0,
    );
    within(
        format!(
            "secret_fetch_errors_total{}",
            long("lost", "away", "far/lost", "error_type=unavailable")
        ),
        1.0,
        1e6,
    );
    is(format!("secret_sync_duration_seconds_count{good}"), 2.0);
    within(
        format!("secret_sync_duration_seconds_sum{good}"),
        0.000_1,
        60.0,
    );
    is("circuit_breaker_state{name=\"default\"}".into(), 0.0);
    is("circuit_breaker_state{name=\"away\"}".into(), 2.0);
    is("secrets_configured".into(), 3.0);
    is("secrets_synced".into(), 1.0);
    within(
        format!("secrets_sync_secret_last_success_timestamp_seconds{good}"),
        began,
        now(),
    );
    assert!(!seen.contains_key(&format!(
        "secrets_sync_secret_last_success_timestamp_seconds{lost}"
    )));
    is(format!("secrets_sync_secret_version{good}"), 3.0);
    is(format!("secrets_sync_secret_stale_seconds{good}"), 0.0);
    within(
        format!("secrets_sync_secret_stale_seconds{lost}"),
        0.0,
        now() - began,
    );
    within(format!("secrets_sync_file_writes_total{good}"), 1.0, 2.0);
    within(
        "secrets_sync_token_expiry_timestamp_seconds{credentials=\"team\",store=\"default\"}"
            .into(),
        began + 1_700.0,
        now() + 1_900.0,
    );
    let root =
        "secrets_sync_token_expiry_timestamp_seconds{credentials=\"default\",store=\"default\"}";
    assert!(!seen.contains_key(root), "a root token has no end");
    is("secrets_sync_config_last_reload_successful".into(), 1.0);
    within(
        "secrets_sync_config_last_reload_success_timestamp_seconds".into(),
        began,
        now(),
    );
    within("process_start_time_seconds".into(), began - 2.0, now());
    within("process_resident_memory_bytes".into(), 1e6, 1e9);
    within("process_open_fds".into(), 3.0, 1e3);
    within("process_threads".into(), 5.0, 50.0);
    within("process_cpu_seconds_total".into(), 0.0, 1e3);
    // It grows while it fails.
    let stale = format!("secrets_sync_secret_stale_seconds{lost}");
    let before = seen[&stale];
    poll(SOON, || (samples(&daemon)[&stale] > before).then_some(())).expect("staleness grows");
}

/// Waits until so many secrets are in sync and none is pending.
fn settled_but(daemon: &Daemon, synced: usize) {
    daemon.wait_status(SOON, |status| {
        let all = status["secrets"].as_array().unwrap();
        status["synced_count"] == synced && all.iter().all(|secret| secret["state"] != "pending")
    });
}

#[test]
fn a_port_in_use_is_told_and_stops_nothing() {
    let site = Site::with(&["a"]);
    let setup = Daemon::new(&site.config(&[hourly("a")])).metrics();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut daemon = setup.env("METRICS_PORT", &port.to_string()).start();
    settled(&daemon, &["a"]);
    let told = format!("cannot serve HTTP on 127.0.0.1:{port}: ");
    let line = daemon.wait_for_log(SOON, |line| line.msg().starts_with(&told));
    assert!(line.has("level", "error"), "{}", line.raw);
    let status = daemon.wait_status(SOON, |status| status["ready"] == true);
    assert!(
        status["notices"][0].as_str().unwrap().starts_with(&told),
        "{status}"
    );
    assert_eq!(status["degraded"], false);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// By a clock that is moved by hand: thirty seconds.
#[test]
fn a_port_in_use_is_tried_again_every_thirty_seconds() {
    let clock = ManualClock::new();
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status.json");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut outlook = Outlook::new(
        Arc::clone(&shared),
        Some(address),
        StatusFile::new(path.clone()),
        StatusLock::new(&path),
        LockPolicy::new(clock.now()),
        &Environment::default(),
    );
    let reader = || {
        std::fs::write(path.with_extension("json.lock"), "").unwrap();
        let file = std::fs::File::open(path.with_extension("json.lock")).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).unwrap();
        file
    };
    let reader = reader();
    clock.advance(Duration::from_secs(6));
    assert!(outlook.turn(clock.now()), "its notices are new");
    let notices = outlook.notices().join("\n");
    assert!(
        notices.contains("cannot serve HTTP") && notices.contains("a reader holds it"),
        "{notices}"
    );
    drop((taken, reader));
    clock.advance(Duration::from_millis(29_900));
    assert!(!outlook.turn(clock.now()));
    assert!(TcpStream::connect(address).is_err());
    clock.advance(Duration::from_millis(100));
    assert!(outlook.turn(clock.now()));
    assert!(outlook.notices().is_empty(), "{:?}", outlook.notices());
    TcpStream::connect(address).expect("it serves now");
    outlook.close();
}

#[test]
fn slow_many_and_hostile_clients_hold_nothing_up() {
    let site = Site::with(&["a"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "refreshInterval: 1s")]))
        .metrics()
        .start();
    settled(&daemon, &["a"]);
    assert_eq!(daemon.get("/metrics").status, 200);
    let (memory, descriptors) = (daemon.rss_kib(), daemon.fds());
    let url = daemon.endpoint().url();
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream
    };
    let mut held: Vec<TcpStream> = Vec::new();
    let kinds: [&[u8]; 6] = [
        b"",
        b"GET /metr",
        b"GET /status HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no TLS here",
        b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx",
    ];
    for round in 0..50 {
        for kind in kinds {
            let mut stream = connect();
            let _ = stream.write_all(kind);
            held.push(stream);
        }
        if round % 10 == 0 {
            // Whoever asks properly is answered, and the work goes on.
            let began = Instant::now();
            assert_eq!(daemon.get("/health").status, 200);
            assert!(
                began.elapsed() < Duration::from_secs(4),
                "{:?}",
                began.elapsed()
            );
            let value = format!("round {round}");
            site.put("a", &value);
            daemon.wait_file("a", &value, SOON);
        }
    }
    assert!(
        daemon.fds() <= descriptors + 40,
        "{} and {}",
        descriptors,
        daemon.fds()
    );
    // Heads without an end.
    for line in [
        &b"GET /"[..],
        &b"GET / HTTP/1.1\r\nX: "[..],
        &b"GET / HTTP/1.1\r\nA: b\r\nA: "[..],
    ] {
        let mut stream = connect();
        let _ = stream.write_all(line);
        let endless = [b'x'; 16 * 1024];
        for _ in 0..256 {
            if stream.write_all(&endless).is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(daemon.get("/ready").status, 200);
    drop(held);
    let grown = daemon.rss_kib().saturating_sub(memory);
    assert!(grown < 8 * 1024, "{grown} KiB more");
    let few = || (daemon.fds() <= descriptors + 2).then_some(());
    poll(SOON, few).expect("all are let go");
    assert!(daemon.log().iter().all(|line| !line.raw.contains("panic")));
}

/// A site whose secret fails with 500 as long as it is told to, and the daemon on it.
fn failing(site: &Site) -> support::Setup {
    let path = format!("{}/data/a", site.mount);
    site.proxy.inject(move |request| {
        request
            .is("GET", &path)
            .then(|| Response::error(500, "internal error").act())
    });
    Daemon::new(&site.config(&[secret("a", "refreshInterval: 1s")]))
        .env("INITIAL_BACKOFF", "5ms")
        .env("MAX_BACKOFF", "20ms")
}

#[test]
fn a_failure_that_goes_on_is_one_line_and_its_end_another() {
    let site = Site::with(&["a"]);
    let daemon = failing(&site).start();
    let path = format!("{}/data/a", site.mount);
    site.proxy
        .wait_for(30, SOON, |request| request.is("GET", &path));
    let of_secret = |lines: &[LogLine]| -> Vec<LogLine> {
        lines
            .iter()
            .filter(|line| line.has("secret", "a"))
            .cloned()
            .collect()
    };
    let said = of_secret(&daemon.log());
    assert_eq!(said.len(), 1, "{said:?}");
    let line = &said[0];
    assert_eq!((line.text("level"), line.text("target")), ("warn", "sync"));
    assert_eq!(
        (line.text("store"), line.text("path")),
        ("default", format!("{}/a", site.mount).as_str())
    );
    assert_eq!(
        (line.text("error_type"), &line.json["attempt"]),
        ("unavailable", &json!(1))
    );
    assert!(
        line.text("error").contains("internal error"),
        "{}",
        line.raw
    );
    assert!(
        line.json["next_retry_ms"].as_u64().unwrap() <= 20,
        "{}",
        line.raw
    );
    let at = line.text("ts");
    let form = "dddd-dd-ddTdd:dd:dd.dddZ";
    let same = at
        .chars()
        .zip(form.chars())
        .all(|(is, form)| is == form || form == 'd' && is.is_ascii_digit());
    assert!(same && at.len() == form.len(), "{at}");
    let first = line.raw.split(['{', ',']).nth(1).unwrap();
    assert!(first.starts_with("\"ts\":"), "{}", line.raw);

    site.proxy.restore();
    let end = daemon.wait_for_log(SOON, |line| line.msg() == "the secret is current again");
    // The last request that was seen may have been answered well already.
    assert!(end.json["failures"].as_u64().unwrap() >= 29, "{}", end.raw);
    assert!(end.json["failed_ms"].is_u64(), "{}", end.raw);
    daemon.wait_for_log(SOON, |line| line.msg() == "written");
    // Then quiet: three further cycles.
    settled(&daemon, &["a"]);
    site.proxy.clear();
    site.proxy
        .wait_for(3, SOON, |request| request.is("GET", &path));
    let said = of_secret(&daemon.log());
    let messages: Vec<_> = said.iter().map(LogLine::msg).collect();
    let failed = "the secret could not be synced; its files stay as they are";
    assert_eq!(messages, [failed, "the secret is current again", "written"]);
    for line in daemon.log() {
        for field in ["ts", "level", "target", "msg"] {
            assert!(line.json[field].is_string(), "{}", line.raw);
        }
    }
}

#[test]
fn the_log_has_its_level_and_a_form_for_people() {
    let site = Site::with(&["a"]);
    let path = format!("{}/data/a", site.mount);
    let daemon = failing(&site).env("LOG_LEVEL", "error").start();
    site.proxy
        .wait_for(5, SOON, |request| request.is("GET", &path));
    site.proxy.restore();
    settled(&daemon, &["a"]);
    assert!(daemon.log().is_empty(), "neither warnings nor notes");
    drop(daemon);

    let daemon = failing(&site)
        .env("LOG_LEVEL", "warn")
        .env("LOG_FORMAT", "text")
        .start();
    let line = daemon.wait_for_log(SOON, |line| line.raw.contains("could not be synced"));
    assert!(line.json.is_null(), "{}", line.raw);
    assert!(
        line.raw.contains("WARN") && line.raw.contains("secret=a"),
        "{}",
        line.raw
    );
    site.proxy.restore();
    settled(&daemon, &["a"]);
    assert_eq!(daemon.log().len(), 1);
    drop(daemon);

    let config = site.config(&[secret("a", "refreshInterval: 1s")]);
    let daemon = Daemon::new(&config).env("LOG_LEVEL", "debug").start();
    let line = daemon.wait_for_log(SOON, |line| line.msg() == "unchanged");
    assert!(
        line.has("level", "debug") && line.has("secret", "a"),
        "{}",
        line.raw
    );
    assert_eq!(daemon.stdout(), "", "a daemon prints nothing");
}
