//! What monitoring sees: the HTTP endpoints, the metrics, the log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod site;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::SystemTime;

use serde_json::{Value, json};
use site::{Site, hourly, rewrite, secret, settled};
use support::{Action, Daemon, Endpoint, LogLine, Response, SOON, Signal, poll, unique};

#[test]
fn health_readiness_and_status_are_served_as_promised() {
    let site = Site::with(&["a"]);
    site.proxy.inject(|_| Some(Action::Close));
    let daemon = Daemon::new(&site.config(&[hourly("a")]))
        .metrics()
        .env("INITIAL_BACKOFF", "100ms")
        .env("MAX_BACKOFF", "500ms")
        .start();
    daemon.wait_secret("a", SOON, |entry| entry["state"] == "failed");
    let page = |target: &str| {
        let answer = daemon.get(target);
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        (answer.status, kind, answer.text())
    };
    let as_json = |status: u16, body: &str| (status, "application/json".into(), body.to_owned());
    assert_eq!(page("/health"), as_json(200, r#"{"status":"healthy"}"#));
    assert_eq!(
        page("/ready"),
        as_json(
            503,
            r#"{"ready":false,"degraded":true,"secret_count":1,"synced_count":0}"#
        )
    );
    site.proxy.restore();
    settled(&daemon, &["a"]);
    assert_eq!(
        page("/ready"),
        as_json(
            200,
            r#"{"ready":true,"degraded":false,"secret_count":1,"synced_count":1}"#
        )
    );
    assert_eq!(page("/health"), as_json(200, r#"{"status":"healthy"}"#));

    // The page and the file are the same document.
    let same = || {
        let (status, kind, text) = page("/status");
        assert_eq!((status, &*kind), (200, "application/json"));
        let document: Value = serde_json::from_str(&text).unwrap();
        (Some(&document) == daemon.status().as_ref()).then_some(document)
    };
    let document = poll(SOON, same).expect("the document of the status file");
    let keys = |object: &Value| -> BTreeSet<String> {
        object.as_object().unwrap().keys().cloned().collect()
    };
    let wanted =
        |names: &str| -> BTreeSet<String> { names.split(' ').map(str::to_owned).collect() };
    assert!(keys(&document).is_superset(&wanted(
        "schema ready degraded secret_count synced_count started config stores secrets"
    )));
    assert!(keys(&document["config"]).is_superset(&wanted("loaded error")));
    assert!(keys(&document["stores"][0]).is_superset(&wanted("name breaker")));
    assert!(keys(&document["secrets"][0]).is_superset(&wanted(
        "name store state version last_success next_refresh error_type error"
    )));

    for target in ["/healthz", "/metrics/", "/v1/sys/health", "/../etc/passwd"] {
        assert_eq!(page(target).0, 404, "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        for target in ["/health", "/ready", "/metrics", "/status"] {
            let answer = daemon
                .endpoint()
                .exchange(method, target, &[], b"")
                .unwrap();
            assert_eq!(answer.status, 405, "{method} {target}");
            let allow = answer.header("allow").unwrap_or_default();
            assert!(allow.contains("GET") && !allow.contains(method), "{allow}");
        }
    }
}

/// The samples of a page, and the types of its families.
struct Samples {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
    types: BTreeMap<String, String>,
}

impl Samples {
    fn of(daemon: &Daemon) -> Self {
        let answer = daemon.get("/metrics");
        assert_eq!(answer.status, 200);
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let (mut samples, mut types) = (Vec::new(), BTreeMap::new());
        for line in answer.text().lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').unwrap();
                types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.strip_suffix('}').unwrap();
                let labels = labels.split("\",").filter(|label| !label.is_empty());
                let pair = |label: &str| {
                    let (name, value) = label.split_once("=\"").unwrap();
                    (name.to_owned(), value.trim_end_matches('"').to_owned())
                };
                let value = value.parse().unwrap();
                samples.push((name.to_owned(), labels.map(pair).collect(), value));
            }
        }
        Self { samples, types }
    }

    /// The value of the series with exactly these labels, as `name=value name=value`.
    fn get(&self, name: &str, labels: &str) -> Option<f64> {
        let wanted: BTreeMap<String, String> = labels
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let found = |(known, labels, _): &&(String, BTreeMap<String, String>, f64)| {
            known == name && *labels == wanted
        };
        self.samples.iter().find(found).map(|(_, _, value)| *value)
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &str) -> f64 {
        match self.get(name, labels) {
            Some(value) => value,
            None => panic!("no {name} {labels} in {:#?}", self.samples),
        }
    }

    /// The names of all secrets that any series has.
    fn secrets(&self) -> BTreeSet<&str> {
        self.samples
            .iter()
            .filter_map(|(_, labels, _)| labels.get("secret_name").map(String::as_str))
            .collect()
    }
}

#[track_caller]
fn wait_samples(daemon: &Daemon, wanted: impl Fn(&Samples) -> bool) -> Samples {
    let found = poll(SOON, || {
        Some(Samples::of(daemon)).filter(|samples| wanted(samples))
    });
    found.unwrap_or_else(|| panic!("{}", daemon.get("/metrics").text()))
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

#[test]
fn metrics_follow_secrets_store_token_and_configuration() {
    let site = Site::with(&["good", "gone"]);
    let began = now();
    let other = site.bao.fresh_kv(2);
    let policy = site.bao.reader_policy(&site.mount);
    let options = json!({ "token_policies": [policy], "token_ttl": "1h" });
    let (role_id, secret_id) = site.bao.approle(&unique("role"), &options);
    let credentials = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    let config = |secrets: &[String]| {
        let config = site.config(secrets);
        config.replace("authMethod: token, token: root", &credentials)
    };
    let good = secret("good", "refreshInterval: 1s");
    let denied = secret(
        "denied",
        &format!("mountPath: {other}, refreshInterval: 1h"),
    );
    let all = [good.clone(), denied.clone(), hourly("gone")];
    let daemon = Daemon::new(&config(&all)).metrics().start();
    daemon.wait_status(SOON, |status| status["synced_count"] == 2);
    daemon.wait_secret("denied", SOON, |entry| entry["error_type"] == "denied");

    // Each kind of series, of a secret that goes well and of one that does not.
    let path = format!("{}/good", site.mount);
    let fetched = |secret: &str, path: &str, status: &str| {
        format!("secret_name={secret} store=default vault_path={path} status={status}")
    };
    let (of_good, of_denied) = (
        "secret_name=good store=default",
        "secret_name=denied store=default",
    );
    let page = wait_samples(&daemon, |page| {
        let successes = page.get("secret_fetch_total", &fetched("good", &path, "success"));
        let synced = page.get("secret_sync_duration_seconds_count", of_good);
        successes.is_some_and(|successes| successes >= 2.0) && synced == successes
    });
    let fetches = page.value("secret_fetch_total", &fetched("good", &path, "success"));
    assert_eq!(
        page.value("secret_fetch_total", &fetched("good", &path, "error")),
        0.0
    );
    assert_eq!(
        page.value("secret_sync_duration_seconds_count", of_good),
        fetches
    );
    let took = page.value("secret_sync_duration_seconds_sum", of_good);
    assert!(took > 0.0 && took < now() - began, "{took}");
    for bound in "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf".split(' ') {
        page.value(
            "secret_sync_duration_seconds_bucket",
            &format!("{of_good} le={bound}"),
        );
    }
    let denied_path = format!("{other}/denied");
    let errors = page.value(
        "secret_fetch_total",
        &fetched("denied", &denied_path, "error"),
    );
    assert!(errors >= 1.0, "{errors}");
    let of_class = format!("{of_denied} vault_path={denied_path} error_type=denied");
    assert_eq!(page.value("secret_fetch_errors_total", &of_class), errors);
    let successes = fetched("denied", &denied_path, "success");
    assert_eq!(page.value("secret_fetch_total", &successes), 0.0);
    assert_eq!(page.value("circuit_breaker_state", "name=default"), 0.0);
    assert_eq!(page.value("secrets_configured", ""), 3.0);
    assert_eq!(page.value("secrets_synced", ""), 2.0);
    let since_start = |time: f64| time > began - 1.0 && time < now() + 1.0;
    let last = "secrets_sync_secret_last_success_timestamp_seconds";
    let last_success = page.value(last, of_good);
    assert!(since_start(last_success), "{last_success}");
    assert_eq!(page.get(last, of_denied), None, "it never succeeded");
    assert_eq!(page.value("secrets_sync_secret_version", of_good), 1.0);
    assert_eq!(
        page.value("secrets_sync_secret_stale_seconds", of_good),
        0.0
    );
    assert_eq!(page.value("secrets_sync_file_writes_total", of_good), 1.0);
    let expiry = "store=default credentials=default";
    let expires = page.value("secrets_sync_token_expiry_timestamp_seconds", expiry);
    assert!(
        expires > began + 3590.0 && expires < now() + 3601.0,
        "{expires}"
    );
    assert_eq!(
        page.value("secrets_sync_config_last_reload_successful", ""),
        1.0
    );
    let reload_time = "secrets_sync_config_last_reload_success_timestamp_seconds";
    let loaded = page.value(reload_time, "");
    assert!(since_start(loaded), "{loaded}");
    let build = |(name, _, _): &&(String, _, f64)| name == "secrets_sync_build_info";
    let (_, labels, one) = page.samples.iter().find(build).unwrap();
    assert_eq!(
        (&*labels["version"], *one),
        (env!("CARGO_PKG_VERSION"), 1.0)
    );
    for (name, kind) in [
        ("secret_fetch_total", "counter"),
        ("secret_fetch_errors_total", "counter"),
        ("secret_sync_duration_seconds", "histogram"),
        ("secrets_sync_secret_stale_seconds", "gauge"),
        ("secrets_sync_file_writes_total", "counter"),
        ("process_cpu_seconds_total", "counter"),
    ] {
        assert_eq!(
            page.types.get(name).map(String::as_str),
            Some(kind),
            "{name}"
        );
    }
    let process = |name: &str| page.value(&format!("process_{name}"), "");
    assert!(process("cpu_seconds_total") > 0.0);
    assert!(process("open_fds") > 3.0 && process("open_fds") < process("max_fds"));
    assert!(process("threads") >= 3.0);
    assert!(process("resident_memory_bytes") > 1e6);
    assert!(process("virtual_memory_bytes") >= process("resident_memory_bytes"));
    assert!((process("start_time_seconds") - began).abs() < 60.0);

    // A new version, then none: stale for as long as that lasts.
    let writes = "secrets_sync_file_writes_total";
    site.put("good", "new");
    let page = wait_samples(&daemon, |page| {
        page.get("secrets_sync_secret_version", of_good) == Some(2.0)
            && page.value(writes, of_good) == 2.0
    });
    assert!(page.value(last, of_good) >= last_success);
    site.bao.delete(&site.mount, "good");
    let stale = "secrets_sync_secret_stale_seconds";
    let page = wait_samples(&daemon, |page| {
        page.value(stale, of_good) > 1.0 && page.value("secrets_synced", "") == 1.0
    });
    assert!(page.value("secret_fetch_total", &fetched("good", &path, "error")) >= 1.0);
    assert_eq!(
        page.value("secrets_sync_secret_version", of_good),
        2.0,
        "on disk"
    );
    site.put("good", "back");
    let page = wait_samples(&daemon, |page| {
        page.value(stale, of_good) == 0.0 && page.value("secrets_synced", "") == 2.0
    });
    assert_eq!(page.secrets(), BTreeSet::from(["good", "denied", "gone"]));

    // A reload that is refused, and one that takes secrets away.
    rewrite(&daemon, "no: such key\n");
    daemon.signal(Signal::HUP);
    let reload = "secrets_sync_config_last_reload_successful";
    let page = wait_samples(&daemon, |page| page.value(reload, "") == 0.0);
    assert_eq!(page.value(reload_time, ""), loaded);
    assert_eq!(page.value("secrets_configured", ""), 3.0);
    rewrite(&daemon, &config(&[good]));
    daemon.signal(Signal::HUP);
    // The gauges of one event are set one after the other, and a scrape may fall between.
    let page = wait_samples(&daemon, |page| {
        page.value(reload, "") == 1.0
            && page.value(reload_time, "") > loaded
            && page.value("secrets_configured", "") == 1.0
            && page.secrets() == BTreeSet::from(["good"])
    });
    assert!(page.value(writes, of_good) >= 3.0, "it goes on");
}

#[test]
fn a_port_in_use_is_told_and_stops_nothing_else() {
    let site = Site::with(&["a"]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let daemon = Daemon::new(&site.config(&[secret("a", "refreshInterval: 1s")]))
        .env("METRICS_PORT", &port)
        .start();
    settled(&daemon, &["a"]);
    let told = |text: &str| text.contains(&format!("127.0.0.1:{port}")) && text.contains("in use");
    daemon.wait_for_log(SOON, |line| line.has("level", "error") && told(line.msg()));
    let status = daemon.wait_status(SOON, |status| {
        let notices = status["notices"].as_array();
        notices.is_some_and(|notices| notices.iter().any(|notice| told(notice.as_str().unwrap())))
    });
    assert_eq!(
        (&status["ready"], &status["degraded"]),
        (&json!(true), &json!(false))
    );
    let (code, table, _) = daemon.also(&["status"]);
    assert_eq!(code, 0, "{table}");
    assert!(told(&table), "{table}");
    site.put("a", "new");
    daemon.wait_file("a", "new", SOON);
    let errors = daemon
        .log()
        .iter()
        .filter(|line| line.has("level", "error"))
        .count();
    assert_eq!(errors, 1, "it is told once");
}

#[test]
fn a_failure_that_lasts_is_one_line_and_its_end_one_with_a_count() {
    let site = Site::with(&["a", "b"]);
    let path = format!("{}/data/b", site.mount);
    let failing = path.clone();
    site.proxy.inject(move |request| {
        let answer = || Response::error(500, "internal error").act();
        request.is("GET", &failing).then(answer)
    });
    let secrets = [hourly("a"), secret("b", "refreshInterval: 1s")];
    let daemon = Daemon::new(&site.config(&secrets))
        .env("INITIAL_BACKOFF", "100ms")
        .env("MAX_BACKOFF", "200ms")
        .start();
    site.proxy
        .wait_for(20, SOON * 2, |request| request.is("GET", &path));
    site.proxy.restore();
    let of_b = |line: &LogLine| line.has("secret", "b");
    let over = daemon.wait_for_log(SOON, |line| of_b(line) && !line.json["failures"].is_null());
    daemon.wait_file("b", "b", SOON);
    assert!(
        over.json["failures"].as_u64().unwrap() >= 19,
        "{}",
        over.raw
    );
    assert!(over.has("level", "info"), "{}", over.raw);
    let log = daemon.log();
    let told: Vec<_> = log.iter().filter(|line| of_b(line)).collect();
    let failures: Vec<_> = told
        .iter()
        .filter(|line| !line.text("error").is_empty())
        .collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    let line = failures[0];
    for (field, value) in [
        ("level", "warn"),
        ("store", "default"),
        ("error_type", "unavailable"),
        ("path", &*format!("{}/b", site.mount)),
    ] {
        assert_eq!(line.text(field), value, "{}", line.raw);
    }
    assert_eq!(line.json["attempt"], 1, "{}", line.raw);
    assert!(
        line.json["next_retry_ms"].as_u64().unwrap() <= 200,
        "{}",
        line.raw
    );
    let ends = told.iter().filter(|line| !line.json["failures"].is_null());
    assert_eq!(ends.count(), 1);
}

#[test]
fn the_log_is_json_or_for_people_and_as_loud_as_was_asked() {
    let site = Site::with(&["a"]);
    let config = site.config(&[hourly("a"), hourly("missing")]);
    let start = |name: &str, value: &str| {
        let daemon = Daemon::new(&config).env(name, value).start();
        settled(&daemon, &["a"]);
        daemon.wait_secret("missing", SOON, |entry| entry["state"] == "failed");
        daemon
    };

    let daemon = start("LOG_FORMAT", "json");
    let written = daemon.wait_for_log(SOON, |line| line.msg() == "written");
    for line in daemon.log() {
        assert!(line.json.is_object(), "{}", line.raw);
        humantime::parse_rfc3339(line.text("ts")).unwrap();
        assert!(
            ["info", "warn", "error"].contains(&line.text("level")),
            "{}",
            line.raw
        );
        let order: Vec<_> = ["ts", "level", "target", "msg"]
            .map(|key| line.raw.find(&format!("\"{key}\":")).unwrap())
            .into();
        assert!(order.is_sorted() && order[0] == 1, "{}", line.raw);
    }
    assert_eq!(
        (written.text("secret"), written.text("store")),
        ("a", "default")
    );
    assert_eq!(written.json["version"], 1);
    assert!(written.json["duration_ms"].is_u64(), "{}", written.raw);

    let daemon = start("LOG_FORMAT", "text");
    let line = daemon.wait_for_log(SOON, |line| line.raw.contains(" INFO  written secret=a "));
    humantime::parse_rfc3339(line.raw.split(' ').next().unwrap()).unwrap();
    daemon.wait_for_log(SOON, |line| {
        line.raw.contains(" ERROR ") && line.raw.contains(" secret=missing ")
    });
    assert!(daemon.log().iter().all(|line| !line.raw.starts_with('{')));

    let daemon = start("LOG_LEVEL", "error");
    daemon.wait_for_log(SOON, |line| line.has("secret", "missing"));
    let log = daemon.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].has("level", "error") && log[0].has("error_type", "not_found"));
}

fn connect(daemon: &Daemon) -> TcpStream {
    let Endpoint::Http(port) = daemon.endpoint() else {
        unreachable!()
    };
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

#[test]
fn slow_oversized_and_many_clients_hold_up_neither_each_other_nor_the_sync() {
    let site = Site::with(&["a"]);
    let daemon = Daemon::new(&site.config(&[secret("a", "refreshInterval: 1s")]))
        .metrics()
        .start();
    settled(&daemon, &["a"]);
    for _ in 0..50 {
        assert_eq!(daemon.get("/metrics").status, 200);
        assert_eq!(daemon.get("/status").status, 200);
    }
    let (memory, threads) = (daemon.rss_kib(), daemon.threads());

    // Too long a request line or header is answered, however much more of it would come.
    for (head, status) in [("GET /", " 414 "), ("GET /health HTTP/1.1\r\nX: ", " 431 ")] {
        let mut client = connect(&daemon);
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&vec![b'a'; 9 * 1024]).unwrap();
        let mut answer = [0; 64];
        let length = client.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(
            answer.starts_with("HTTP/1.1") && answer.contains(status),
            "{answer}"
        );
    }
    let flood: Vec<_> = (0..8)
        .map(|_| connect(&daemon))
        .map(|mut client| {
            std::thread::spawn(move || {
                let part = vec![b'a'; 64 * 1024];
                // As much as it takes until it is cut off.
                (0..1024)
                    .take_while(|_| client.write_all(&part).is_ok())
                    .count()
            })
        })
        .collect();

    // 200 that never come to the end of a request, or never read the answer.
    let mut clients: Vec<_> = (0..200).map(|_| connect(&daemon)).collect();
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            let part: &[u8] = match (round, number % 3) {
                (_, 0) => b"G",
                (0, 1) => b"GET /metrics HTTP/1.1\r\n",
                (0, _) => b"GET /metrics HTTP/1.1\r\n\r\n",
                (_, 1) => b"X-Slow: yes\r\n",
                _ => b"",
            };
            // Those that had to make room find it out here.
            let _ = client.write_all(part);
        }
        let value = format!("new {round}");
        site.put("a", &value);
        daemon.wait_file("a", &value, SOON);
        let answer = daemon.get("/health");
        assert_eq!(
            (answer.status, &*answer.text()),
            (200, r#"{"status":"healthy"}"#)
        );
        assert_eq!(daemon.get("/ready").status, 200);
    }
    for client in flood {
        assert!(client.join().unwrap() < 1024, "64 MiB of header were taken");
    }
    let grown = daemon.rss_kib().saturating_sub(memory);
    assert!(grown < 4 * 1024, "{grown} KiB more");
    assert!(daemon.threads() <= threads, "a client has a thread");

    // A client alone that dawdles is sent away, too.
    drop(clients);
    let mut client = connect(&daemon);
    client.write_all(b"GET /health HTTP/1.1\r\nX: ").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}
