//! Logins: a credential is not there, or not good.

use std::fs;

use serde_json::{Value, json};

use super::case::{ROOT, Told, bao, ends, fails, secret, set, setup, store};
use crate::support::{CountingProxy, OpenBao, Response, Setup, Shared, Signal, unique};

/// The server with the secret in a mount of its own, and a policy that may read it.
fn ready() -> (Shared, String, String) {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let policy = server.reader_policy(&mount);
    (server, mount, policy)
}

fn with(address: &str, mount: &str, lines: &[&str]) -> Setup {
    setup(&(store(address, mount, lines) + &secret(&[], &["field: x"])))
}

const TOKEN_FILE: [&str; 2] = ["authMethod: token", "tokenFile: '@DIR@/token'"];

pub(crate) fn a_file_that_is_not_there_yet() {
    let (server, mount, policy) = ready();
    for empty in [false, true] {
        let mut setup = with(&server.address(), &mount, &TOKEN_FILE);
        if empty {
            setup = setup.file("token", " \n");
        }
        let daemon = setup.start();
        let told = fails(
            &daemon,
            "auth",
            if empty {
                "is empty"
            } else {
                "is not there yet"
            },
        );
        fs::write(told.span("/"), server.token(&[&policy], "1h", &json!({}))).unwrap();
        ends(&daemon);
    }
}

/// An `AppRole` of this test, with the lines of its login; the secret ID is in a file.
fn approle(server: &OpenBao, policy: &str) -> (String, String, String) {
    let role = unique("role");
    let (role_id, secret_id) = server.approle(&role, &json!({ "token_policies": [policy] }));
    (role, format!("roleId: {role_id}"), secret_id)
}

/// What the command in it gives, put where it says.
fn follow(server: &OpenBao, told: &Told, command: &str) {
    let made = bao(server, command);
    fs::write(told.span("/"), made).unwrap();
}

pub(crate) fn a_secret_id_that_is_refused() {
    let (server, mount, policy) = ready();
    let (role, role_id, _) = approle(&server, &policy);
    let lines = ["authMethod: approle", &role_id, "secretIdFile: '@DIR@/id'"];
    let daemon = with(&server.address(), &mount, &lines)
        .file("id", "00000000-0000-0000-0000-000000000000")
        // Five failed logins would lock the role.
        .env("INITIAL_BACKOFF", "5s")
        .env("MAX_BACKOFF", "5s")
        .start();
    let told = fails(&daemon, "auth", "refused the credential (400)");
    let command = told
        .span("bao write -f -field=secret_id")
        .replace("NAME", &role);
    follow(&server, &told, &command);
    ends(&daemon);
    drop(daemon);

    // The other half of it.
    let (role, _, secret_id) = approle(&server, &policy);
    let lines = [
        "authMethod: approle",
        "roleId: wrong",
        "secretIdFile: '@DIR@/id'",
    ];
    let daemon = with(&server.address(), &mount, &lines)
        .file("id", &secret_id)
        .start();
    let told = fails(&daemon, "auth", "refused the credential (400)");
    let read = told.span("bao read auth/").replace("NAME", &role);
    let role_id = bao(
        &server,
        &read.replace("bao read", "bao read -field=role_id"),
    );
    set(&daemon, &format!("roleId: {role_id}"));
    ends(&daemon);
}

/// Somebody has unwrapped it already, or it was made elsewhere.
pub(crate) fn a_wrapped_secret_id_that_is_of_no_use() {
    let (server, mount, policy) = ready();
    let (role, role_id, _) = approle(&server, &policy);
    let path = format!("secretIdWrappingPath: auth/approle/role/{role}/secret-id");
    let lines = [
        "authMethod: approle",
        &role_id,
        "secretIdFile: '@DIR@/id'",
        &path,
    ];
    let other = unique("role");
    server.approle(&other, &json!({}));
    let elsewhere = server.wrapped_secret_id(&other, "60s");
    for (token, part) in [
        ("s.gone", "look-up of the wrapped"),
        (&elsewhere, "not unwrapped"),
    ] {
        let daemon = with(&server.address(), &mount, &lines)
            .file("id", token)
            .start();
        let told = fails(&daemon, "auth", part);
        follow(&server, &told, told.span("bao write -f -wrap-ttl"));
        ends(&daemon);
    }
}

pub(crate) fn nothing_is_mounted_where_it_logs_in() {
    let (server, mount, policy) = ready();
    let (_, role_id, secret_id) = approle(&server, &policy);
    let secret_id = format!("secretId: {secret_id}");
    let lines = [
        "authMethod: approle",
        &role_id,
        &secret_id,
        "authMount: wrong",
    ];
    let daemon = with(&server.address(), &mount, &lines).start();
    // What a server says that does not tell strangers what is mounted.
    let told = fails(&daemon, "auth", "refused the credential (403)");
    let listed = bao(&server, told.span("bao auth list"));
    let right = listed
        .split_whitespace()
        .find(|word| word.starts_with("approle/"));
    let right = right.expect(&listed).trim_end_matches('/');
    set(&daemon, &format!("{}: {right}", told.span("authMount")));
    ends(&daemon);
}

/// In a namespace that is not there, of which the server does tell.
pub(crate) fn no_such_namespace_to_log_in_at() {
    let (server, mount, policy) = ready();
    let (_, role_id, secret_id) = approle(&server, &policy);
    let secret_id = format!("secretId: {secret_id}");
    let lines = [
        "authMethod: approle",
        &role_id,
        &secret_id,
        "authNamespace: wrong",
    ];
    let daemon = with(&server.address(), &mount, &lines).start();
    let told = fails(&daemon, "auth", "there is no such namespace");
    set(&daemon, &format!("{}: ''", told.span("authNamespace")));
    ends(&daemon);
}

/// Five failed logins lock a role; then the right secret ID is refused, too.
pub(crate) fn a_role_that_is_locked() {
    let (server, mount, policy) = ready();
    let (role, role_id, _) = approle(&server, &policy);
    let lines = ["authMethod: approle", &role_id, "secretIdFile: '@DIR@/id'"];
    let daemon = with(&server.address(), &mount, &lines)
        .file("id", "00000000-0000-0000-0000-000000000000")
        .env("INITIAL_BACKOFF", "50ms")
        .env("MAX_BACKOFF", "50ms")
        .start();
    let told = fails(&daemon, "auth", "refused the credential (403)");
    fs::write(daemon.path("id"), server.secret_id(&role)).unwrap();
    let listed = bao(
        &server,
        &format!("{} -format=json", told.span("bao auth list")),
    );
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let accessor = listed["approle/"]["accessor"].as_str().unwrap();
    let (_, role_id) = role_id.split_once(": ").unwrap();
    let command = told
        .span("bao write -f sys/locked-users/")
        .replace("ACCESSOR", accessor)
        .replace("ROLE_ID", role_id);
    bao(&server, &command);
    ends(&daemon);
}

/// Two servers behind one address: what logs in at one reads at the other.
pub(crate) fn two_servers_behind_one_address() {
    let (server, mount, policy) = ready();
    let proxy = CountingProxy::start(server.endpoint());
    proxy.inject(|request| {
        let here = request.target.contains("/login");
        (!here).then(|| Response::error(403, "permission denied").act())
    });
    let (_, role_id, secret_id) = approle(&server, &policy);
    let secret_id = format!("secretId: {secret_id}");
    let lines = ["authMethod: approle", &role_id, &secret_id];
    let daemon = with(&proxy.address(), &mount, &lines).start();
    let told = fails(&daemon, "auth", "its token is refused soon after");
    set(
        &daemon,
        &format!("{}: '{}'", told.span("address"), server.address()),
    );
    ends(&daemon);
}

pub(crate) fn a_token_that_has_died() {
    let (server, mount, policy) = ready();
    let fresh = || server.token(&[&policy], "1h", &json!({}));
    let dead = fresh();
    server.revoke(&dead);
    let daemon = with(&server.address(), &mount, &TOKEN_FILE)
        .file("token", &dead)
        .start();
    let told = fails(&daemon, "auth", "the token was refused");
    fs::write(told.span("/"), fresh()).unwrap();
    ends(&daemon);
    drop(daemon);

    let line = format!("token: {dead}");
    let config = store(&server.address(), &mount, &["authMethod: token", &line]);
    // Nobody watches the file: the reload is part of the remedy.
    let daemon = setup(&(config + &secret(&[], &["field: x"])))
        .env("WATCH_CONFIG", "false")
        .start();
    let told = fails(&daemon, "auth", "the token was refused");
    told.says("reload (SIGHUP)");
    set(&daemon, &format!("{}: {}", told.span("token"), fresh()));
    daemon.signal(Signal::HUP);
    ends(&daemon);
}

/// The server has no role for it.
pub(crate) fn a_client_certificate_that_no_role_knows() {
    let server = OpenBao::dev().tls().start();
    server.kv2_put("secret", "app/db", &json!({ "x": "v1" }));
    server.enable_auth("cert", "cert");
    let policy = server.reader_policy("secret");
    let certs = crate::support::Certs::new();
    let (cert, key) = certs.client("app");
    let (ca, cert, key) = (server.ca().display(), cert.display(), key.display());
    let lines = [
        "authMethod: cert".to_owned(),
        format!("tlsCACert: '{ca}'"),
        format!("tlsClientCert: '{cert}'"),
        format!("tlsClientKey: '{key}'"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let daemon = with(&server.address(), "secret", &lines).start();
    let told = fails(&daemon, "auth", "refused the credential");
    let command = told
        .span("bao write auth/cert/certs/")
        .replace("NAME", "app")
        .replace("POLICY", &policy);
    bao(&server, &format!("export BAO_CACERT={ca}; {command}"));
    ends(&daemon);
}

/// Words of the server that nobody knows yet: they are shown, and what to correct.
pub(crate) fn nobody_is_told_nothing() {
    let (server, mount, _) = ready();
    let proxy = CountingProxy::start(server.endpoint());
    let told = |status: u16, body: Value| {
        proxy.inject(move |request| {
            let read = request.target.contains("app/db");
            read.then(|| Response::json(status, &body).act())
        });
        let daemon = with(&proxy.address(), &mount, &ROOT).start();
        let entry = daemon.wait_secret("app", super::case::PATIENCE, |entry| {
            entry["state"] == "failed"
        });
        assert!(entry["remedy"].is_string(), "{status}: {entry}");
        proxy.restore();
        super::case::ends(&daemon);
    };
    told(418, json!({ "errors": ["I am a teapot"] }));
    told(404, json!({ "errors": ["something new"] }));
    told(302, json!({}));
}
