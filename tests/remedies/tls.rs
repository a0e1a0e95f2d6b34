//! The server is not trusted, or does not trust us.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;

use super::case::{ends, fails, secret, set, setup, shell, store};
use crate::support::{Daemon, OpenBao, ports};

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
