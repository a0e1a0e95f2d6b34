//! What is wrong outside the configuration file: the daemon's variables, the command line, another
//! daemon on the same status file. Exit code 2, and the message names it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::path::Path;

use serde_json::json;
use support::{Daemon, Response, SOON, ScriptedServer, Setup};

const GOOD: &str = "secretStore: {address: 'http://127.0.0.1:1', token: t}\n\
    secrets: [{name: a, key: k, files: [{path: @DIR@/out/a, field: x}]}]\n";

const DURATION: &str =
    "write a number and a unit, as in `300ms`, `30s`, `5m`, `1h30m`; a day is `24h`";

/// `run` and `validate` say just that, and `run` writes nothing.
#[track_caller]
fn refused(set: impl Fn(Setup) -> Setup, stderr: &str) {
    for command in [&["run"][..], &["run", "--once"], &["run", "--dry-run"]] {
        let finished = set(Daemon::new(GOOD)).status(2).stderr(stderr).run(command);
        assert_eq!(std::fs::read_dir(finished.dir.path()).unwrap().count(), 1);
    }
    set(Daemon::new(GOOD))
        .status(2)
        .any_stdout()
        .stderr(stderr)
        .validate();
}

#[test]
fn a_variable_that_does_not_parse_is_named_and_never_the_default() {
    let duration = |text: &str| format!("{text}: {DURATION}");
    for (name, value, message) in [
        (
            "WATCH_CONFIG",
            "maybe",
            "is not a boolean: write `true` or `false`".to_owned(),
        ),
        (
            "ENABLE_METRICS",
            "2",
            "is not a boolean: write `true` or `false`".to_owned(),
        ),
        (
            "ENABLE_TRACING",
            "si",
            "is not a boolean: write `true` or `false`".to_owned(),
        ),
        (
            "LOG_LEVEL",
            "loud",
            "is not one of `trace`, `debug`, `info`, `warn`, `error`".to_owned(),
        ),
        (
            "LOG_FORMAT",
            "xml",
            "is neither `json` nor `text`".to_owned(),
        ),
        (
            "METRICS_ADDR",
            "localhost",
            "is not an IP address".to_owned(),
        ),
        (
            "METRICS_PORT",
            "80",
            "is not a port from 1025 to 65535, or 0 for none".to_owned(),
        ),
        (
            "METRICS_PORT",
            "65536",
            "is not a port from 1025 to 65535, or 0 for none".to_owned(),
        ),
        (
            "CIRCUIT_BREAKER_MAX_REQUESTS",
            "0",
            "is not a whole number from 1 to 1000".to_owned(),
        ),
        (
            "CIRCUIT_BREAKER_INTERVAL",
            "60",
            duration("is a duration without a unit"),
        ),
        ("CIRCUIT_BREAKER_TIMEOUT", "0s", "is zero".to_owned()),
        (
            "INITIAL_BACKOFF",
            "1d",
            duration("is a duration with an unknown unit"),
        ),
        ("MAX_BACKOFF", "-1s", duration("is less than zero")),
        (
            "BACKOFF_MULTIPLIER",
            "0.5",
            "is not a number from 1 to 100".to_owned(),
        ),
        (
            "BACKOFF_MULTIPLIER",
            "NaN",
            "is not a number from 1 to 100".to_owned(),
        ),
        ("SHUTDOWN_TIMEOUT", "soon", duration("is not a duration")),
        ("SANDBOX", "maybe", "is neither `on` nor `off`".to_owned()),
        (
            "SANDBOX_WRITE_PATHS",
            "/a:b",
            "holds `b`, which is not an absolute path below `/`".to_owned(),
        ),
        (
            "OTEL_EXPORTER_ENDPOINT",
            "otel:4318",
            "is not an `http` or `https` URL".to_owned(),
        ),
    ] {
        refused(
            |setup| setup.env(name, value),
            &format!("secrets-sync: {name}: `{value}` {message}\n"),
        );
    }
}

#[test]
fn all_variables_that_do_not_parse_are_named_at_once() {
    refused(
        |setup| {
            setup
                .env("WATCH_CONFIG", "maybe")
                .env("INITIAL_BACKOFF", "10m")
                .env("SANDBOX", "perhaps")
        },
        "secrets-sync: WATCH_CONFIG: `maybe` is not a boolean: write `true` or `false`\n\
         secrets-sync: SANDBOX: `perhaps` is neither `on` nor `off`\n\
         secrets-sync: INITIAL_BACKOFF: 10m is more than MAX_BACKOFF, which is 5m\n",
    );
}

/// Others set these for whole clusters: they count only where traces are wanted.
#[test]
fn a_variable_of_traces_is_refused_with_its_name_where_they_are_wanted() {
    for (name, value, message) in [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "`grpc` is not `http/protobuf`, the one protocol that is spoken here",
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "10s",
            "`10s` is not a number of milliseconds from 1 to 3600000",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a-key-without-its-name",
            "is not a list such as `name=value,name=value`",
        ),
        (
            "HTTPS_PROXY",
            "socks5://user:a-password-of-a-proxy@host:1080",
            "the value names a SOCKS proxy, which is not supported",
        ),
    ] {
        let set = |setup: Setup| {
            setup
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otel.example")
                .env(name, value)
        };
        refused(
            |setup| set(setup).env("ENABLE_TRACING", "true"),
            &format!("secrets-sync: {name}: {message}\n"),
        );
        set(Daemon::new(GOOD)).any_stdout().any_stderr().validate();
    }
}

/// The harness sets text only, so a shell sets these.
#[test]
fn a_variable_that_is_no_text_is_named() {
    for name in ["LOG_LEVEL", "VAULT_TOKEN", "STATUS_FILE"] {
        for command in ["validate", "run"] {
            let script = format!(
                "{name}=$(printf '\\377') exec {} {command}",
                env!("CARGO_BIN_EXE_secrets-sync")
            );
            Daemon::new(GOOD)
                .program(Path::new("/bin/sh"))
                .arg("-c")
                .arg(&script)
                .status(2)
                .any_stdout()
                .stderr(&format!(
                    "secrets-sync: {name}: the value is not UTF-8 text\n"
                ))
                .run(&[]);
        }
    }
}

#[test]
fn variables_that_override_the_file_are_checked_like_it_and_named() {
    for (name, value, message) in [
        (
            "VAULT_SKIP_VERIFY",
            "maybe",
            "secretStore.tlsSkipVerify: `maybe` is not a boolean (it comes from the variable \
             `VAULT_SKIP_VERIFY`)\n  help: write `true` or `false`",
        ),
        (
            "BAO_ADDR",
            "vault:8200",
            "secretStore.address: `vault:8200` has no scheme (it comes from the variable \
             `BAO_ADDR`)\n  help: write `https://HOST:PORT`, or `unix:///PATH` for a socket",
        ),
        (
            "VAULT_NAMESPACE",
            "a/../b",
            "secretStore.namespace: `a/../b` has a segment `..`, which a server would not take as \
             a name (it comes from the variable `VAULT_NAMESPACE`)",
        ),
    ] {
        refused(
            |setup| setup.env(name, value),
            &format!("secrets-sync: @DIR@/config.yaml: {message}\n"),
        );
    }
    refused(
        |setup| setup.env("VAULT_ROLE_ID", "r"),
        "\
secrets-sync: @DIR@/config.yaml:1:1: secretStore: credentials of two kinds and no `authMethod`: `token`, `roleId` (from the variable `VAULT_ROLE_ID`)
  1 | secretStore: {address: 'http://127.0.0.1:1', token: [redacted]
    | ^
  help: write `authMethod: token` or `authMethod: approle`
",
    );
    let far = GOOD.replace("http://127.0.0.1:1", "https://vault.example");
    for (name, value, message) in [
        (
            "VAULT_PROXY_ADDR",
            "socks5://u:hunter2@p:1",
            "names a SOCKS proxy, which is not supported",
        ),
        (
            "HTTPS_PROXY",
            "http://u:hunter2@",
            "is not the URL of a proxy",
        ),
    ] {
        Daemon::new(&far)
            .env(name, value)
            .status(2)
            .stderr(&format!(
                "secrets-sync: @DIR@/config.yaml: {name}: {message}\n"
            ))
            .validate();
    }
}

#[test]
fn a_second_daemon_on_the_same_status_file_ends_and_disturbs_nothing() {
    let server = ScriptedServer::start(|_| {
        Response::json(
            200,
            &json!({"data": {"data": {"x": "1"}, "metadata": {"version": 1}}}),
        )
        .act()
    });
    let config = format!(
        "secretStore: {{address: '{}', authMethod: none}}\n\
         secrets: [{{name: a, key: k, refreshInterval: 1h, files: [{{path: @DIR@/out, field: x}}]}}]\n",
        server.address()
    );
    let mut first = Daemon::new(&config).start();
    first.wait_ready(SOON);
    assert_eq!(server.requests().len(), 1);
    let expected = format!(
        "secrets-sync: `{}`: another secrets-sync holds the lock of this status file\n  help: stop \
         it, or give this one its own `STATUS_FILE`\n",
        first.path("status.json.lock").display()
    );
    assert_eq!(first.also(&["run"]), (2, String::new(), expected));
    assert_eq!(server.requests().len(), 1, "the second asked nothing");
    assert!(first.is_running());
    // What writes no status needs no lock.
    let (code, _, said) = first.also(&["run", "--once"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(first.stop().code(), Some(0));
}
