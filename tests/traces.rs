//! Traces as a receiver sees them that takes nothing but what the protocol says: one for each sync, its
//! steps, its failures; and what the server of secrets and the log say of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;
mod tracing;
mod traffic;

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use support::{
    Action, Certs, CountingProxy, Daemon, LogLine, OpenBao, Request, Response, SOON, Signal,
    canary, unique,
};
use tracing::{Receiver, Span, Trace};
use traffic::{Store, brisk, config, is_failure, is_login, is_read, reads, secret};

const MISSING: &str = "the venv has no `opentelemetry-proto` (`make checkers`)";

fn of(name: &str) -> impl Fn(&Span) -> bool {
    move |root| root.attribute("secrets_sync.secret") == name
}

fn traceparent(request: &Request) -> &str {
    request.header("traceparent").unwrap_or("none")
}

/// The values of these attributes.
fn told(span: &Span, keys: &[&str]) -> Vec<Value> {
    keys.iter().map(|key| span.attribute(key).clone()).collect()
}

fn is_written(line: &LogLine) -> bool {
    line.msg() == "written"
}

#[test]
fn a_sync_is_one_trace_with_a_span_for_each_step_that_server_and_log_name() {
    let Some(receiver) = Receiver::start() else {
        skip!("{MISSING}")
    };
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(
        &mount,
        "app",
        &json!({ "value": "a-value-that-is-told-to-nobody" }),
    );
    let policy = bao.reader_policy(&mount);
    let (role_id, secret_id) = bao.approle(&unique("role"), &json!({ "token_policies": [policy] }));
    canary::remember(&role_id);
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    let setup = Daemon::new(&config(
        &proxy.address(),
        &auth,
        &[secret(&mount, "app", "1h")],
    ));
    let daemon = receiver
        .told_by(setup)
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=lab,team=a%20b",
        )
        .start();
    let trace = receiver.trace(SOON, of("app"));
    assert_eq!(
        trace.tree(),
        "sync(prove login(wait POST /v1/auth/approle/login wait GET /v1/auth/token/lookup-self) \
         wait fetch render commit)"
    );
    for span in &trace.0 {
        let client = matches!(span.name(), "fetch") || span.name().contains(' ');
        assert_eq!(
            span.text("kind"),
            if client { "client" } else { "internal" }
        );
        assert_eq!(span.text("status"), "unset", "{span:?}");
        assert_eq!(
            span.0["scope"],
            json!(["secrets-sync", env!("CARGO_PKG_VERSION")])
        );
    }
    let root = trace.root();
    assert_eq!(
        told(
            root,
            &[
                "secrets_sync.store",
                "secrets_sync.vault_path",
                "secrets_sync.version"
            ]
        ),
        [json!("default"), json!(format!("{mount}/app")), json!(1)]
    );
    let files = ["secrets_sync.files.written", "secrets_sync.files.unchanged"];
    assert_eq!(told(root, &files), [1, 0]);
    assert_eq!(told(trace.one("commit"), &files), [1, 0]);
    let port: u64 = proxy.address().rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(
        trace.one("fetch").0["attributes"],
        json!({
            "http.request.method": "GET", "http.response.status_code": 200,
            "network.protocol.version": "1.1", "server.address": "127.0.0.1", "server.port": port,
            "url.full": format!("{}/v1/{mount}/data/app", proxy.address()),
        })
    );
    let login = trace.one("POST /v1/auth/approle/login");
    let requests = proxy.requests();
    let asked = |wanted: fn(&Request) -> bool| requests.iter().find(|r| wanted(r)).unwrap();
    assert_eq!(
        traceparent(asked(is_read)),
        trace.one("fetch").traceparent()
    );
    assert_eq!(traceparent(asked(is_login)), login.traceparent());
    let line = daemon.wait_for_log(SOON, is_written);
    assert_eq!(line.text("trace_id"), root.text("trace_id"));
    assert_eq!(line.text("span_id"), root.text("span_id"));

    let requests = receiver.requests();
    assert_eq!(requests[0]["path"], "/v1/traces");
    let resource = &requests[0]["resource"];
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(resource["service.name"], "secrets-sync");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["host.name"], host.trim());
    assert_eq!(resource["telemetry.sdk.language"], "rust");
    assert_eq!(resource["deployment.environment.name"], "lab");
    assert_eq!(resource["team"], "a b");

    // The next one is another trace, without a login.
    daemon.signal(Signal::USR1);
    let first = root.text("trace_id").to_owned();
    let next = receiver.trace(SOON, |root| root.text("trace_id") != first);
    assert_eq!(next.tree(), "sync(wait fetch render commit)");
    assert_eq!(told(next.root(), &files), [0, 1]);
    assert!(trace.root().end() <= next.root().start());
}

#[test]
fn a_failure_is_told_in_the_words_of_the_log_where_it_happened() {
    let Some(receiver) = Receiver::start() else {
        skip!("{MISSING}")
    };
    let store = Store::with(|request| {
        let answer = |status, error| Some(Response::error(status, error).act());
        if reads(request, "missing") {
            return Some(Response::json(404, &json!({ "errors": [] })).act());
        }
        if reads(request, "denied") {
            return answer(403, "1 error occurred:\n\t* permission denied\n\n");
        }
        if reads(request, "broken") {
            return answer(500, "internal error");
        }
        if reads(request, "cut") {
            return Some(Action::Close);
        }
        reads(request, "odd").then(|| Response::json(200, &json!({ "data": 7 })).act())
    });
    let auth = "authMethod: token, token: a-token-of-this-test";
    let mut all: Vec<_> = [
        "missing", "denied", "broken", "cut", "odd", "render", "write",
    ]
    .map(|name| secret("kv", name, "1h"))
    .into();
    all[5] = all[5].replace("field: value", "field: no-such-field");
    all[6] = all[6].replace("out/write", "file/write");
    let setup = Daemon::new(&config(&store.address(), auth, &all)).file("file", "in the way");
    let daemon = receiver.told_by(setup).start();
    for (name, class, status, step) in [
        ("missing", "not_found", 404, "fetch"),
        ("denied", "denied", 403, "fetch"),
        ("broken", "unavailable", 500, "fetch"),
        ("cut", "unavailable", 0, "fetch"),
        ("odd", "bad_response", 200, "fetch"),
        ("render", "render", 0, "render"),
        ("write", "write", 0, "prove"),
    ] {
        let trace = receiver.trace(SOON, of(name));
        trace.tree();
        let line = daemon.wait_for_log(SOON, |line| is_failure(line, name));
        let root = trace.root();
        for span in [root, trace.all(step).last().unwrap()] {
            assert_eq!(span.text("status"), "error", "{name}: {span:?}");
            assert_eq!(span.attribute("error.type"), class, "{name}: {span:?}");
            assert_eq!(span.text("message"), line.text("error"), "{name}");
        }
        assert_eq!(line.text("error_type"), class);
        assert_eq!(line.text("trace_id"), root.text("trace_id"), "{name}");
        if step == "fetch" {
            // A connection of the pool that turns out to be closed is followed by another.
            let fetch = *trace.all("fetch").last().unwrap();
            let code = fetch.attribute("http.response.status_code");
            assert_eq!(code.as_u64().unwrap_or(0), status, "{name}");
        }
        for span in &trace.0 {
            let failed = span.text("status") == "error";
            assert_eq!(failed, !span.attribute("error.type").is_null());
            assert!(!failed || ["sync", step].contains(&span.name()), "{span:?}");
        }
    }
}

#[test]
fn a_redirect_and_a_token_that_died_show_as_what_was_sent_again() {
    let Some(receiver) = Receiver::start() else {
        skip!("{MISSING}")
    };
    let store = Store::with(|request| {
        let first = request.header("x-vault-token") == Some("the-first-token-of-all");
        if is_login(request) {
            let seen = std::sync::atomic::AtomicUsize::fetch_add(&LOGINS, 1, ORDER);
            let token = ["the-first-token-of-all", "the-other-token-of-all"][seen.min(1)];
            return Some(traffic::login(token));
        }
        if request.target == "/v1/kv/data/moved" {
            let there = Response::json(307, &json!({})).header("Location", "/v1/kv/data/there");
            return Some(there.act());
        }
        (first && reads(request, "there")).then(|| Response::error(403, "permission denied").act())
    });
    let auth =
        "authMethod: approle, roleId: a-role-of-this-test, secretId: a-secret-id-of-this-test";
    let setup = Daemon::new(&config(
        &store.address(),
        auth,
        &[secret("kv", "moved", "1h")],
    ));
    let _daemon = receiver.told_by(setup).start();
    let trace = receiver.trace(SOON, of("moved"));
    let tree = trace.tree();
    assert!(tree.starts_with("sync(prove login("), "{tree}");
    assert!(
        tree.contains(") wait fetch fetch login(wait POST /v1/auth/approle/login "),
        "{tree}"
    );
    assert!(
        tree.ends_with(") wait fetch fetch render commit)"),
        "{tree}"
    );
    let fetches = trace.all("fetch");
    let seen: Vec<_> = fetches
        .iter()
        .map(|span| {
            let path = span.attribute("url.full").as_str().unwrap();
            let path = path.rsplit_once('/').unwrap().1;
            let code = span.attribute("http.response.status_code");
            let again = span.attribute("http.request.resend_count");
            format!("{path} {code} {again} {}", span.text("status"))
        })
        .collect();
    assert_eq!(
        seen,
        [
            "moved 307 null unset",
            "there 403 1 error",
            "moved 307 null unset",
            "there 200 1 unset"
        ]
    );
    let asked: Vec<_> = store
        .requests()
        .iter()
        .filter(|r| is_read(r))
        .map(|r| traceparent(r).to_owned())
        .collect();
    let wanted: Vec<_> = fetches.iter().map(|span| span.traceparent()).collect();
    assert_eq!(asked, wanted);
    assert_eq!(trace.root().text("status"), "unset");
}

static LOGINS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
const ORDER: std::sync::atomic::Ordering = std::sync::atomic::Ordering::SeqCst;

#[test]
fn a_request_that_the_breaker_does_not_let_pass_ends_at_the_wait() {
    let Some(receiver) = Receiver::start() else {
        skip!("{MISSING}")
    };
    let store = Store::with(|request| {
        let bad = is_read(request) || traffic::is_health(request);
        bad.then(|| Response::error(503, "away").act())
    });
    let secrets: Vec<_> = traffic::names(10)
        .iter()
        .map(|name| secret("kv", name, "1h"))
        .collect();
    let auth = "authMethod: token, token: a-token-of-this-test, maxConcurrent: 1";
    let _daemon = receiver
        .told_by(brisk(&config(&store.address(), auth, &secrets)))
        .start();
    let trace = receiver.trace(SOON, |root| {
        root.text("message")
            .contains("the circuit breaker of store `default`")
    });
    assert!(trace.all("fetch").is_empty(), "{trace:?}");
    let wait = *trace.all("wait").last().unwrap();
    assert_eq!(wait.text("message"), trace.root().text("message"));
    assert_eq!(wait.attribute("error.type"), "unavailable");
}

#[test]
fn all_reads_of_a_secret_with_several_sources_are_in_its_trace() {
    let Some(receiver) = Receiver::start() else {
        skip!("{MISSING}")
    };
    let store = Store::start();
    let two = "  - name: two\n    mountPath: kv\n    refreshInterval: 1h\n    sources: { a: { key: x/a }, b: { key: \
               x/b } }\n    files: [{ path: '@DIR@/out/two', field: a.value }]\n";
    let auth = "authMethod: token, token: a-token-of-this-test";
    let setup = Daemon::new(&config(&store.address(), auth, &[two.to_owned()]));
    let _daemon = receiver.told_by(setup).start();
    let trace = receiver.trace(SOON, of("two"));
    let tree = trace.tree();
    assert!(
        tree.ends_with(" wait fetch wait fetch render commit)"),
        "{tree}"
    );
    assert_eq!(
        trace.root().attribute("secrets_sync.vault_path"),
        "kv/x/a, kv/x/b"
    );
}

#[test]
fn what_is_not_sampled_is_not_sent_and_the_server_is_told_so() {
    let Some(receiver) = Receiver::start() else {
        skip!("{MISSING}")
    };
    let auth = "authMethod: token, token: a-token-of-this-test";
    let names = traffic::names(40);
    let secrets: Vec<_> = names.iter().map(|name| secret("kv", name, "1h")).collect();
    let run = |sampler: &str, part: &str| {
        let store = Store::start();
        let setup = Daemon::new(&config(&store.address(), auth, &secrets));
        let before = receiver.spans().len();
        let mut daemon = receiver
            .told_by(setup)
            .env("OTEL_TRACES_SAMPLER", sampler)
            .env("OTEL_TRACES_SAMPLER_ARG", part)
            .start();
        daemon.wait_ready(SOON);
        daemon.stop();
        let lines: BTreeSet<_> = daemon
            .log()
            .iter()
            .filter(|line| is_written(line))
            .map(|line| line.text("trace_id").to_owned())
            .collect();
        assert_eq!(lines.len(), 40, "recorded or not, each has a number");
        let (mut sent, mut unsent) = (BTreeSet::new(), BTreeSet::new());
        for request in store.requests().iter().filter(|r| is_read(r)) {
            let parts: Vec<_> = traceparent(request).split('-').collect();
            let [_, trace, _, flags] = parts[..] else {
                panic!("{parts:?}")
            };
            assert!(lines.contains(trace));
            match flags {
                "01" => sent.insert(trace.to_owned()),
                _ => unsent.insert(trace.to_owned()),
            };
        }
        let spans = receiver.spans().split_off(before);
        let roots: BTreeSet<_> = spans
            .iter()
            .filter(|span| span.text("parent").is_empty())
            .map(|span| span.text("trace_id").to_owned())
            .collect();
        assert_eq!(roots, sent, "{sampler}");
        assert!(
            spans
                .iter()
                .all(|span| sent.contains(span.text("trace_id")))
        );
        (sent.len(), unsent.len())
    };
    assert_eq!(run("always_off", ""), (0, 40));
    assert_eq!(run("parentbased_always_off", ""), (0, 40));
    assert_eq!(run("parentbased_traceidratio", "1"), (40, 0));
    let (sent, unsent) = run("traceidratio", "0.5");
    // Outside of this once in a hundred million runs.
    assert!(sent > 3 && unsent > 3, "{sent} {unsent}");
}

#[test]
fn the_endpoint_of_traces_is_taken_as_it_is_with_the_headers_that_stay_secret() {
    let Some(receiver) = Receiver::start() else {
        skip!("{MISSING}")
    };
    let store = Store::start();
    let key = "a-key-for-the-receiver-alone";
    canary::remember(key);
    let auth = "authMethod: token, token: a-token-of-this-test";
    let setup = Daemon::new(&config(
        &store.address(),
        auth,
        &[secret("kv", "app", "1h")],
    ));
    let daemon = receiver
        .told_by(setup)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            &format!("{}/take/them?key={key}", receiver.endpoint()),
        )
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-other=1")
        .env(
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            &format!("Authorization=Bearer%20{key},x-more=2"),
        )
        .env("OTEL_SERVICE_NAME", "secrets of the lab")
        .start();
    receiver.trace(SOON, of("app"));
    let request = &receiver.requests()[0];
    assert_eq!(request["path"], format!("/take/them?key={key}"));
    let headers = &request["headers"];
    assert_eq!(headers["authorization"], format!("Bearer {key}"));
    assert_eq!(headers["x-more"], "2");
    for absent in ["x-other", "x-vault-token", "x-vault-request", "traceparent"] {
        assert_eq!(headers[absent], Value::Null, "{absent}");
    }
    assert_eq!(request["resource"]["service.name"], "secrets of the lab");
    let environ = fs::read(format!("/proc/{}/environ", daemon.pid())).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    assert!(environ.contains("OTEL_SERVICE_NAME=secrets") && !environ.contains(key));
}

#[test]
fn a_receiver_behind_tls_is_checked_and_shown_a_certificate_inside_the_sandbox() {
    let certs = Certs::new();
    let Some(receiver) = Receiver::tls(&certs.server("otel", "IP:127.0.0.1"), &certs.ca()) else {
        skip!("{MISSING}")
    };
    let store = Store::start();
    let client = certs.client("traces");
    let start = |authority: &str| {
        let auth = "authMethod: token, token: a-token-of-this-test";
        let setup = Daemon::new(&config(
            &store.address(),
            auth,
            &[secret("kv", "app", "1h")],
        ));
        receiver
            .told_by(setup)
            .env(
                "OTEL_EXPORTER_ENDPOINT",
                &format!("https://127.0.0.1:{}", receiver.port()),
            )
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", authority)
            .env(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                client.0.to_str().unwrap(),
            )
            .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", client.1.to_str().unwrap())
            .start()
    };
    let stranger = Certs::new();
    let daemon = start(stranger.ca().to_str().unwrap());
    let line = daemon.wait_for_log(SOON, |line| {
        line.has("target", "observe") && line.has("level", "warn")
    });
    assert!(
        line.text("error").contains("not trusted") || line.text("error").contains("authority"),
        "{}",
        line.raw
    );
    assert!(receiver.requests().is_empty());
    drop(daemon);
    let daemon = start(certs.ca().to_str().unwrap());
    receiver.trace(SOON, of("app"));
    let sandboxed = daemon
        .log()
        .iter()
        .any(|line| line.has("sandbox", "enforced"));
    assert!(
        sandboxed
            || daemon
                .log()
                .iter()
                .any(|line| line.has("target", "sandbox"))
    );
}

#[test]
fn a_single_pass_and_a_preview_deliver_before_they_end() {
    let Some(receiver) = Receiver::start() else {
        skip!("{MISSING}")
    };
    let store = Store::start();
    let auth = "authMethod: token, token: a-token-of-this-test";
    let setup = || {
        let setup = Daemon::new(&config(
            &store.address(),
            auth,
            &[secret("kv", "app", "1h")],
        ));
        receiver
            .told_by(setup)
            .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
            .any_stderr()
            .any_stdout()
    };
    setup().run(&["run", "--dry-run"]);
    let preview: Vec<_> = receiver.spans();
    let preview = Trace(preview);
    assert!(
        preview.tree().ends_with(" wait fetch render)"),
        "{preview:?}"
    );
    setup().once();
    let single = Trace(receiver.spans().split_off(preview.0.len()));
    assert!(single.tree().ends_with(" wait fetch render commit)"));
}

#[test]
fn while_nothing_is_traced_nothing_shows_of_it() {
    let store = Store::start();
    let auth = "authMethod: token, token: a-token-of-this-test";
    let run = |on: bool| {
        let setup = brisk(&config(
            &store.address(),
            auth,
            &[secret("kv", "app", "1h")],
        ));
        let daemon = setup
            .env("ENABLE_TRACING", if on { "true" } else { "false" })
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", if on { "" } else { "grpc" })
            .start();
        daemon.wait_for_log(SOON, is_written);
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let names: Vec<_> = tasks
            .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .map(|name| name.trim().to_owned())
            .collect();
        let traced = daemon
            .log()
            .iter()
            .filter(|line| line.json["trace_id"].is_string())
            .count();
        let asked = store.requests().pop().unwrap();
        (names, traced, asked.header("traceparent").is_some())
    };
    let (threads, lines, told) = run(false);
    assert!(
        !threads.iter().any(|name| name.starts_with("OpenTel")),
        "{threads:?}"
    );
    assert_eq!((lines, told), (0, false));
    let (traced, lines, told) = run(true);
    assert!(
        traced.iter().any(|name| name.starts_with("OpenTel")),
        "{traced:?}"
    );
    assert!(lines > 0 && told);
}
