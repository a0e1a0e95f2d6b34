//! Credential and TLS files that are missing, empty, broken or of different pairs: what `validate`
//! says of them, and which of them `run` waits for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Certs, Daemon, Request, Response, SOON, ScriptedServer, Setup, poll, ports};

const JUNK: &str = "-----BEGIN CERTIFICATE-----\nbm90IERFUg==\n-----END CERTIFICATE-----\n";

/// A store with these keys, and one secret of it.
fn config(address: &str, keys: &str) -> String {
    format!(
        "secretStore: {{address: '{address}', {keys}}}\nsecrets: [{{name: a, key: a, \
         refreshInterval: 1h, files: [{{path: @DIR@/out/a, field: x}}]}}]\n"
    )
}

/// With all the files that the cases name.
fn setup(keys: &str, certs: &Certs) -> Setup {
    let (one, one_key) = certs.client("one");
    let (_, other_key) = certs.client("other");
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    Daemon::new(&config("https://127.0.0.1:1", keys))
        .file("one.pem", &text(&one))
        .file("one-key.pem", &text(&one_key))
        .file("other-key.pem", &text(&other_key))
        .file("junk.pem", JUNK)
        .file("text", "hello\n")
        .file("empty", " \n")
        .file("lines", "a\nb\n")
        .file("dir/x", "")
}

#[test]
fn validate_warns_of_what_may_still_come_and_refuses_what_is_broken() {
    let certs = Certs::new();
    for (keys, status, told) in [
        (
            "tokenFile: gone",
            0,
            "warning: secretStore.tokenFile: `@DIR@/gone`: no such file",
        ),
        (
            "tokenFile: empty",
            0,
            "warning: secretStore.tokenFile: `@DIR@/empty`: the file is empty",
        ),
        (
            "tokenFile: dir",
            0,
            "warning: secretStore.tokenFile: `@DIR@/dir`: not a regular file\n  help: let it be a file of text that the daemon's user may read",
        ),
        (
            "tokenFile: lines",
            2,
            "secretStore.tokenFile: `@DIR@/lines`: more than one line, or control characters",
        ),
        (
            "token: t, tlsCACert: gone",
            0,
            "warning: secretStore.tlsCACert: `tlsCACert` `@DIR@/gone`: no such file",
        ),
        (
            "token: t, tlsCACert: text",
            2,
            "secretStore.tlsCACert: `tlsCACert` `@DIR@/text`: no PEM certificate in it\n  help: convert DER with `openssl x509 -inform der -in FILE -out FILE.pem`",
        ),
        (
            "token: t, tlsCACert: junk.pem",
            2,
            "secretStore.tlsCACert: `tlsCACert` `@DIR@/junk.pem`: malformed certificate 1\n  help: put a good one there; `openssl storeutl -noout -text -certs @DIR@/junk.pem` shows what it is",
        ),
        (
            "token: t, tlsCAPath: gone",
            0,
            "warning: secretStore.tlsCAPath: `tlsCAPath` `@DIR@/gone`: no such file",
        ),
        (
            "token: t, tlsClientCert: one.pem, tlsClientKey: gone",
            0,
            "warning: secretStore.tlsClientKey: client key `@DIR@/gone`: no such file",
        ),
        (
            "token: t, tlsClientCert: one.pem, tlsClientKey: text",
            2,
            "secretStore.tlsClientKey: client key `@DIR@/text`: no PEM private key in it\n  help: it must hold `-----BEGIN PRIVATE KEY-----` (or `RSA`, `EC PRIVATE KEY`)",
        ),
        (
            "token: t, tlsClientCert: one.pem, tlsClientKey: other-key.pem",
            2,
            "secretStore.tlsClientCert: client certificate `@DIR@/one.pem` does not belong to key `@DIR@/other-key.pem`\n  help: replace both together; the first certificate must be the client's own",
        ),
    ] {
        setup(keys, &certs)
            .status(status)
            .any_stdout()
            .stderr(&format!("secrets-sync: {told}\n"))
            .validate();
    }
    // Every one of them, and each once; what was understood is printed before.
    let finished = setup(
        "roleIdFile: gone, secretIdFile: empty, tlsCACert: junk.pem",
        &certs,
    )
    .status(2)
    .any_stdout()
    .stderr(
        "secrets-sync: warning: secretStore.roleIdFile: `@DIR@/gone`: no such file\n\
             secrets-sync: warning: secretStore.secretIdFile: `@DIR@/empty`: the file is empty\n\
             secrets-sync: secretStore.tlsCACert: `tlsCACert` `@DIR@/junk.pem`: malformed \
             certificate 1\n  help: put a good one there; `openssl storeutl -noout -text -certs @DIR@/junk.pem` shows what it is\n",
    )
    .validate();
    assert!(
        finished.stdout.contains("out/a <- field x"),
        "{}",
        finished.stdout
    );
    assert!(!finished.path("out").exists());
}

#[test]
fn run_waits_for_credentials_that_come_later_and_asks_nothing_before() {
    let server = ScriptedServer::start(|request| {
        let answer = match request.target.as_str() {
            "/v1/auth/approle/login" => {
                json!({"auth": {"client_token": "s.made", "accessor": "acc",
                "lease_duration": 3600, "renewable": false, "token_type": "service"}})
            }
            "/v1/auth/token/lookup-self" => json!({"data": {"ttl": 3600, "renewable": false,
                "type": "service", "accessor": "acc"}}),
            _ => json!({"data": {"data": {"x": "1"}, "metadata": {"version": 1}}}),
        };
        Response::json(200, &answer).act()
    });
    let keys = "roleIdFile: role-id, secretIdFile: secret-id}\nsecretStores:\n  other: {address: \
                'ADDRESS', tokenFile: token";
    let address = server.address();
    let mut daemon = Daemon::new(
        &config(&address, &keys.replace("ADDRESS", &address)).replace(
            "secrets: [",
            "secrets: [{name: b, key: b, store: other, refreshInterval: 1h, files: [{path: \
             @DIR@/out/b, field: x}]}, ",
        ),
    )
    .file("secret-id", "")
    .env("INITIAL_BACKOFF", "1h")
    .env("MAX_BACKOFF", "1h")
    .start();
    for (name, file, cause) in [
        ("a", "role-id", "is not there yet"),
        ("b", "token", "is not there yet"),
    ] {
        let line = daemon.wait_for_log(SOON, |line| {
            line.has("secret", name) && line.has("error_type", "auth")
        });
        let path = daemon.path(file);
        assert!(
            line.text("error")
                .contains(&format!("`{}` {cause}", path.display())),
            "{}",
            line.raw
        );
    }
    for file in ["role-id", "secret-id", "token"] {
        let path = daemon.path(file).display().to_string();
        daemon.wait_for_log(SOON, |line| {
            line.has("level", "warn") && line.has("path", &path)
        });
    }
    daemon.wait_status(SOON, |status| status["secrets"][0]["error_type"] == "auth");
    assert_eq!(server.requests().len(), 0);

    fs::write(daemon.path("token"), "\n  s.static \n").unwrap();
    daemon.wait_file("out/b", "1", SOON);
    fs::write(daemon.path("role-id"), "role").unwrap();
    // What is waited for now is another file: log and status say so.
    let next = daemon.path("secret-id").display().to_string();
    daemon.wait_for_log(SOON, |line| {
        line.has("secret", "a") && line.text("error").contains(&next)
    });
    daemon.wait_status(SOON, |status| {
        let secrets = status["secrets"].as_array().unwrap();
        let mut errors = secrets.iter().filter_map(|secret| secret["error"].as_str());
        errors.any(|error| error.contains(&next))
    });
    assert_eq!(
        server.count(|request| request.is("POST", "auth/approle/login")),
        0
    );
    fs::write(daemon.path("secret-id"), "id\n").unwrap();
    daemon.wait_file("out/a", "1", SOON);
    let login = server.wait_for(1, SOON, |request| request.is("POST", "auth/approle/login"));
    assert_eq!(
        login[0].json(),
        json!({"role_id": "role", "secret_id": "id"})
    );
    let read = |name: &str| {
        let path = format!("secret/data/{name}");
        let requests = server.wait_for(1, SOON, move |request: &Request| request.is("GET", &path));
        requests[0].header("x-vault-token").unwrap().to_owned()
    };
    assert_eq!((read("a"), read("b")), ("s.made".into(), "s.static".into()));
    daemon.stop();
}

#[test]
fn run_reads_a_broken_file_for_five_seconds_and_then_gives_up() {
    let nobody = ports::reserve();
    let address = format!("https://127.0.0.1:{}", nobody.number());
    let broken =
        || Daemon::new(&config(&address, "token: t, tlsCACert: ca.pem")).file("ca.pem", JUNK);
    let began = Instant::now();
    let mut given_up = broken().start();
    let mut repaired = broken().start();
    // It has taken its signals over, and reads the file now.
    poll(SOON, || (repaired.threads() >= 3).then_some(())).expect("its first threads");
    assert!(repaired.log().is_empty());
    fs::copy(Certs::new().ca(), repaired.path("ca.pem")).unwrap();
    let line = repaired.wait_for_log(SOON, |line| line.has("secret", "a"));
    assert_eq!(line.text("error_type"), "unavailable", "{}", line.raw);

    assert_eq!(given_up.wait_exit(SOON).code(), Some(2));
    assert!(began.elapsed() >= Duration::from_secs(5));
    let path = given_up.path("ca.pem");
    let said: Vec<_> = given_up.log().into_iter().map(|line| line.raw).collect();
    assert_eq!(
        said,
        [
            format!(
                "secrets-sync: `tlsCACert` `{}`: malformed certificate 1",
                path.display()
            ),
            format!(
                "  help: put a good one there; `openssl storeutl -noout -text -certs {}` shows what it is",
                path.display()
            )
        ]
    );
    assert!(!given_up.path("status.json.lock").exists());
    repaired.stop();
}

#[test]
fn run_waits_for_a_certificate_and_a_key_of_one_pair() {
    let certs = Certs::new();
    let nobody = ports::reserve();
    let address = format!("https://127.0.0.1:{}", nobody.number());
    let (one, key) = certs.client("one");
    let (_, other_key) = certs.client("other");
    let mut daemon = Daemon::new(&config(
        &address,
        "token: t, tlsCACert: ca.pem, tlsClientCert: one.pem, tlsClientKey: key.pem",
    ))
    .file("ca.pem", &fs::read_to_string(certs.ca()).unwrap())
    .file("one.pem", &fs::read_to_string(one).unwrap())
    .file("key.pem", &fs::read_to_string(other_key).unwrap())
    .start();
    let line = daemon.wait_for_log(SOON, |line| {
        line.has("secret", "a") && line.has("error_type", "tls")
    });
    let (one, two) = (daemon.path("one.pem"), daemon.path("key.pem"));
    assert_eq!(
        line.text("error"),
        format!(
            "`{address}`: client certificate `{}` does not belong to key `{}`",
            one.display(),
            two.display()
        )
    );
    fs::copy(key, daemon.path("key.pem")).unwrap();
    // Nobody listens there: the pair is in use.
    daemon.wait_for_log(SOON, |line| {
        line.has("secret", "a") && line.has("error_type", "unavailable")
    });
    assert_eq!(daemon.stop().code(), Some(0));
}
