//! The server is not reached, not trusted, or not able to serve.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::case::{ROOT, bao, ends, fails, plain, secret, set, setup, spans, store};
use crate::support::{Action, CountingProxy, OpenBao, Response, ports, unique};

/// The shared server with the secret in a mount of its own, behind a proxy.
fn proxied() -> (CountingProxy, String) {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    (CountingProxy::start(server.endpoint()), mount)
}

/// As long as the secret is asked for, this comes instead.
fn instead(proxy: &CountingProxy, action: impl Fn() -> Action + Send + 'static) {
    proxy.inject(move |request| request.target.contains("app/db").then(&action));
}

/// The server was not started, and comes back sealed: one thing after the other.
pub(crate) fn not_running_and_then_sealed() {
    let server = OpenBao::raft().start();
    server.enable_kv("kv", 2);
    server.kv2_put("kv", "app/db", &json!({ "x": "v1" }));
    server.kill9();
    let lines = ["authMethod: token", "tokenFile: '@DIR@/token'"];
    let config = store(&server.address(), "kv", &lines) + &secret(&[], &["field: x"]);
    let daemon = setup(&config)
        .file("token", server.root_token())
        .env("CIRCUIT_BREAKER_INTERVAL", "60s")
        .start();
    let told = fails(&daemon, "unavailable", "the circuit breaker");
    assert!(told.error.contains("connection refused"), "{told:?}");
    told.says("start the server");
    server.restart_sealed();
    // The class is the read's, or that of whoever waits for the store.
    let told = daemon.wait_secret("app", super::case::PATIENCE, |entry| {
        entry["error"]
            .as_str()
            .unwrap_or_default()
            .contains("is sealed")
    });
    let command = spans(told["remedy"].as_str().unwrap())[0].to_owned();
    assert_eq!(command, "bao operator unseal", "{told}");
    bao(&server, &format!("{command} {}", server.unseal_key()));
    ends(&daemon);
}

pub(crate) fn a_wrong_address() {
    let (proxy, mount) = proxied();
    let nobody = ports::reserve();
    for (address, part) in [
        (
            format!("http://127.0.0.1:{}", nobody.number()),
            "connection refused",
        ),
        (
            "http://nobody.invalid:8200".to_owned(),
            "cannot be resolved",
        ),
    ] {
        let daemon = plain(&address, &mount).start();
        let told = fails(&daemon, "unavailable", part);
        assert!(told.spans().contains(&"address"), "{told:?}");
        set(&daemon, &format!("address: '{}'", proxy.address()));
        ends(&daemon);
    }
    let daemon = plain("unix:///nowhere/vault.sock", &mount).start();
    let told = fails(&daemon, "unavailable", "no such socket");
    told.says("correct `address`");
    set(&daemon, &format!("address: '{}'", proxy.address()));
    ends(&daemon);
}

pub(crate) fn a_server_in_trouble() {
    let (proxy, mount) = proxied();
    for (status, remedy) in [
        (500, "look into the log of the server"),
        (472, "let `address` name the active server"),
        (412, "which the daemon does by itself"),
    ] {
        instead(&proxy, move || Response::error(status, "trouble").act());
        let daemon = plain(&proxy.address(), &mount).start();
        fails(&daemon, "unavailable", "").says(remedy);
        proxy.restore();
        ends(&daemon);
    }
    instead(&proxy, || Action::Reset);
    let daemon = plain(&proxy.address(), &mount).start();
    fails(&daemon, "unavailable", "the server").says("look into the log of the server");
    proxy.restore();
    ends(&daemon);
}

pub(crate) fn redirects_without_end() {
    let (proxy, mount) = proxied();
    let place = format!("{}/v1/{mount}/data/app/db", proxy.address());
    for location in [place.as_str(), ""] {
        let location = location.to_owned();
        instead(&proxy, move || {
            let answer = Response::error(307, "");
            match location.as_str() {
                "" => answer.act(),
                location => answer.header("Location", location).act(),
            }
        });
        let daemon = plain(&proxy.address(), &mount).start();
        fails(&daemon, "unavailable", "redirects").says("the proxy or load balancer");
        proxy.restore();
        ends(&daemon);
    }
}

pub(crate) fn a_redirect_to_another_place() {
    let (proxy, mount) = proxied();
    let there = OpenBao::shared().address();
    let place = format!("{there}/v1/{mount}/data/app/db");
    instead(&proxy, move || {
        Response::error(307, "").header("Location", &place).act()
    });
    let daemon = plain(&proxy.address(), &mount).start();
    let told = fails(&daemon, "unavailable", "redirects to");
    told.says("write it in `address`");
    let target = spans(&told.error)[1];
    set(&daemon, &format!("address: '{target}'"));
    ends(&daemon);
}

/// A proxy of the HTTP kind that connects only those it allows, all to one port of this machine.
fn proxy(to: u16, allows: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let allows = Arc::clone(allows);
    let serve = move |client: TcpStream| -> io::Result<()> {
        let mut head = BufReader::new(client.try_clone()?);
        let mut line = String::new();
        while head.read_line(&mut line)? > 2 {
            line.clear();
        }
        let mut client = client;
        if !allows.load(Ordering::SeqCst) {
            return client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
        }
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
        let (mut from, mut into) = (server.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || io::copy(&mut from, &mut into));
        let mut server = server;
        io::copy(&mut client, &mut server).map(drop)
    };
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            // Who hangs up in the middle is no concern of this test.
            std::thread::spawn(move || drop(serve(client)));
        }
    });
    port
}

pub(crate) fn a_proxy_that_does_not_connect() {
    let server = OpenBao::dev().tls().start();
    server.kv2_put("secret", "app/db", &json!({ "x": "v1" }));
    let address = server.address();
    let (_, port) = address.rsplit_once(':').unwrap();
    let allows = Arc::new(AtomicBool::new(false));
    let proxy = proxy(port.parse().unwrap(), &allows);
    let ca = format!("tlsCACert: '{}'", server.ca().display());
    let lines = [ROOT[0], ROOT[1], &ca, "tlsServerName: localhost"];
    // A name that only the proxy knows.
    let config =
        store("https://vault.example:8200", "secret", &lines) + &secret(&[], &["field: x"]);
    let daemon = setup(&config)
        .env("HTTPS_PROXY", &format!("http://127.0.0.1:{proxy}"))
        .start();
    let told = fails(&daemon, "unavailable", "does not connect us");
    told.says("let the proxy allow CONNECT to it");
    allows.store(true, Ordering::SeqCst);
    ends(&daemon);
}

pub(crate) fn sealed() {
    let server = OpenBao::sealable().start();
    server.enable_kv("kv", 2);
    server.kv2_put("kv", "app/db", &json!({ "x": "v1" }));
    server.seal();
    let lines = ["authMethod: token", "tokenFile: '@DIR@/token'"];
    let config = store(&server.address(), "kv", &lines) + &secret(&[], &["field: x"]);
    let daemon = setup(&config).file("token", server.root_token()).start();
    let told = fails(&daemon, "sealed", "the server is sealed");
    let command = told.span("bao operator unseal");
    bao(&server, &format!("{command} {}", server.unseal_key()));
    ends(&daemon);
}

pub(crate) fn a_quota() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let quota = unique("quota");
    // One request in the interval, which is the test's own.
    server.rate_limit(&quota, &mount, 1.0, "1h");
    let _ = server.request(
        "GET",
        &format!("{mount}/data/app/db"),
        "root",
        "",
        &json!(null),
    );
    let daemon = plain(&server.address(), &mount).start();
    let told = fails(&daemon, "throttled", "429");
    let listed = bao(&server, told.span("bao list sys/quotas/rate-limit"));
    let named = listed.lines().find(|line| line.trim() == quota);
    let path = format!("sys/quotas/rate-limit/{}", named.expect(&listed).trim());
    bao(
        &server,
        &format!("bao write {path} path={mount} rate=1000 interval=1s"),
    );
    ends(&daemon);
}

pub(crate) fn a_slow_server() {
    let (proxy, mount) = proxied();
    proxy.inject(|request| {
        let slow = request.target.contains("app/db");
        let server = OpenBao::shared();
        slow.then(|| {
            let target = request.target.trim_start_matches("/v1/");
            let (status, body) =
                server.request("GET", target, server.root_token(), "", &json!(null));
            Action::Delay(
                Duration::from_millis(1500),
                Box::new(Response::json(status, &body).act()),
            )
        })
    });
    let config = store(&proxy.address(), &mount, &[ROOT[0], ROOT[1], "timeout: 1s"])
        + &secret(&[], &["field: x"]);
    let daemon = setup(&config).start();
    let told = fails(&daemon, "timeout", "no complete answer");
    let setting = format!("{}: {}s", told.span("timeout"), told.number("above") * 10);
    set(&daemon, &setting);
    ends(&daemon);
}
