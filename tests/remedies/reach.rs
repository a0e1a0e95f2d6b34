//! The server is not reached, not trusted, or not able to serve.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;

use super::case::{ROOT, bao, ends, fails, plain, secret, set, setup, shell, spans, store};
use crate::support::{Action, CountingProxy, Daemon, OpenBao, Response, ports, unique};

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

/// A server that speaks TLS with a certificate of the test's making.
struct Tls {
    server: OpenBao,
    authority: Issuer<'static, KeyPair>,
    dir: tempfile::TempDir,
    port: ports::Port,
}

impl Tls {
    /// Its certificate is for `name`, until the year given; it may demand one of its clients.
    fn start(name: &str, until: i32, demands: bool) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("ca.pem"),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        let authority = Issuer::new(params, key);
        issue(&authority, dir.path(), "server", name, until);
        issue(&authority, dir.path(), "client", "client.example", 2090);
        let port = ports::reserve();
        let shown = dir.path().display();
        let mut listener = format!(
            "listener \"tcp\" {{\n  address = \"127.0.0.1:{}\"\n  cluster_address = \"127.0.0.1:0\"\n  \
             tls_cert_file = \"{shown}/server.pem\"\n  tls_key_file = \"{shown}/server-key.pem\"\n",
            port.number()
        );
        if demands {
            listener += &format!(
                "  tls_require_and_verify_client_cert = true\n  tls_client_ca_file = \"{shown}/ca.pem\"\n"
            );
        }
        let server = OpenBao::sealable().config(&(listener + "}\n")).start();
        server.enable_kv("kv", 2);
        server.kv2_put("kv", "app/db", &json!({ "x": "v1" }));
        Self {
            server,
            authority,
            dir,
            port,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn renew(&self, name: &str, until: i32) {
        issue(&self.authority, self.dir.path(), "server", name, until);
        self.server.reload();
    }

    /// A daemon that reads there, with further lines of the store.
    fn daemon(&self, scheme: &str, lines: &[&str]) -> Daemon {
        let ca = format!("tlsCACert: '{}'", self.path("ca.pem").display());
        let mut all = vec!["authMethod: token", "tokenFile: '@DIR@/token'"];
        if !lines.contains(&"no CA") {
            all.push(&ca);
        }
        all.extend(lines.iter().filter(|line| **line != "no CA"));
        let address = format!("{scheme}://127.0.0.1:{}", self.port.number());
        let config = store(&address, "kv", &all) + &secret(&[], &["field: x"]);
        setup(&config)
            .file("token", self.server.root_token())
            .start()
    }
}

fn issue(authority: &Issuer<'static, KeyPair>, dir: &Path, file: &str, name: &str, until: i32) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    fs::write(dir.join(format!("{file}.pem")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{file}-key.pem")), key.serialize_pem()).unwrap();
}

pub(crate) fn an_unknown_authority() {
    let tls = Tls::start("127.0.0.1", 2090, false);
    let daemon = tls.daemon("https", &["no CA"]);
    let told = fails(&daemon, "tls", "unknown authority");
    // Where the sandbox lets it be read without a restart.
    let ca = daemon.path("ca.pem");
    fs::copy(tls.path("ca.pem"), &ca).unwrap();
    set(
        &daemon,
        &format!("{}: '{}'", told.span("tlsCACert"), ca.display()),
    );
    ends(&daemon);
}

pub(crate) fn another_name() {
    let tls = Tls::start("vault.example", 2090, false);
    let daemon = tls.daemon("https", &[]);
    let told = fails(&daemon, "tls", "not valid for name");
    let (_, name) = told.error.split_once("DnsName(\"").unwrap();
    let name = name.split('"').next().unwrap();
    set(&daemon, &format!("{}: {name}", told.span("tlsServerName")));
    ends(&daemon);
}

pub(crate) fn a_certificate_that_has_expired() {
    let tls = Tls::start("127.0.0.1", 2021, false);
    let daemon = tls.daemon("https", &[]);
    let told = fails(&daemon, "tls", "has expired");
    told.says("renew the server's certificate");
    tls.renew("127.0.0.1", 2090);
    ends(&daemon);
}

pub(crate) fn the_wrong_scheme() {
    let tls = Tls::start("127.0.0.1", 2090, false);
    let daemon = tls.daemon("http", &[]);
    let told = fails(&daemon, "tls", "speaks TLS");
    let address = format!("{}127.0.0.1:{}", told.span("https://"), tls.port.number());
    set(&daemon, &format!("address: '{address}'"));
    ends(&daemon);
    drop(daemon);

    let plain = tls.server.address();
    let daemon = tls.daemon("https", &[]);
    ends(&daemon);
    set(
        &daemon,
        &format!("address: '{}'", plain.replace("http:", "https:")),
    );
    let told = fails(&daemon, "tls", "does not speak TLS");
    let (_, rest) = plain.split_once("://").unwrap();
    set(
        &daemon,
        &format!("address: '{}{rest}'", told.span("http://")),
    );
    ends(&daemon);
}

pub(crate) fn a_client_certificate_is_asked_for() {
    let tls = Tls::start("127.0.0.1", 2090, true);
    let daemon = tls.daemon("https", &[]);
    let told = fails(&daemon, "tls", "the server refused us");
    let key = told.span("tlsClientKey");
    set(
        &daemon,
        &format!("{key}: '{}'", tls.path("client-key.pem").display()),
    );
    let key = told.span("tlsClientCert");
    set(
        &daemon,
        &format!("{key}: '{}'", tls.path("client.pem").display()),
    );
    ends(&daemon);
}

/// Named in the configuration, but not there.
pub(crate) fn a_certificate_file_that_is_missing() {
    let tls = Tls::start("127.0.0.1", 2090, false);
    let late = tls.path("late.pem");
    let line = format!("tlsCACert: '{}'", late.display());
    let daemon = tls.daemon("https", &["no CA", &line]);
    let told = fails(&daemon, "tls", "no such file");
    let path = told.span("/");
    assert_eq!(Path::new(path), late);
    shell(&format!("cp {} {path}", tls.path("ca.pem").display()));
    ends(&daemon);
}
