//! Client certificates as a login, what of a server's certificate is checked, and unix sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::json;
use support::{Daemon, OpenBao, Setup};

/// A configuration with these keys of the store, and one secret.
fn with_store(keys: &str, mount: &str) -> Setup {
    Daemon::new(&format!(
        "secretStore:\n{keys}\nsecrets:
- {{ name: a, key: a, mountPath: {mount}, files: [{{ path: '@DIR@/a', field: x }}] }}\n"
    ))
}

/// Keys of a store, one a line, from `key: value, key: value`.
fn keys(text: &str) -> String {
    text.split(", ").map(|key| format!("  {key}\n")).collect()
}

fn a_secret(bao: &OpenBao) -> (String, String) {
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let policy = bao.reader_policy(&mount);
    (mount, policy)
}

/// Makes the server take this certificate for the role of that name.
fn allow(bao: &OpenBao, mount: &str, role: &str, certificate: &Path, policy: &str) {
    bao.enable_auth(mount, "cert");
    let pem = fs::read_to_string(certificate).unwrap();
    let body = json!({ "certificate": pem, "token_policies": [policy] });
    bao.call("POST", &format!("auth/{mount}/certs/{role}"), &body);
}

/// The server once more, byte for byte, at an address that its certificate does not name.
fn relay(port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                return;
            };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    address
}

#[test]
fn a_client_certificate_logs_in_and_the_servers_is_checked() {
    let bao = OpenBao::dev().tls().unix_socket().start();
    let (mount, policy) = a_secret(&bao);
    let certs = support::Certs::new();
    let (certificate, key) = certs.client("web");
    allow(&bao, "cert", "web", &certificate, &policy);
    allow(&bao, "machines", "only", &certificate, &policy);
    let token = bao.token(&[&policy], "1h", &json!(null));
    let trust = format!("tlsCACert: '{}'", bao.ca().display());
    let client = format!(
        "tlsClientCert: '{}', tlsClientKey: '{}'",
        certificate.display(),
        key.display()
    );
    let (https, localhost) = (
        bao.address(),
        bao.address().replace("127.0.0.1", "localhost"),
    );
    let port = https.rsplit(':').next().unwrap().parse().unwrap();
    let alias = format!("https://{}", relay(port));
    // A directory holds other authorities too.
    let authorities = tempfile::tempdir().unwrap();
    fs::copy(bao.ca(), authorities.path().join("bao.pem")).unwrap();
    fs::copy(certs.ca(), authorities.path().join("other.pem")).unwrap();
    let directory = authorities.path().display();

    for good in [
        format!("address: {https}, {trust}, authMethod: cert, {client}"),
        format!("address: {https}, {trust}, certRole: web, {client}"),
        format!("address: {https}, {trust}, certRole: only, authMount: machines, {client}"),
        format!("address: {localhost}, {trust}, token: {token}"),
        format!("address: {https}, tlsCAPath: '{directory}', token: {token}"),
        format!("address: {https}, tlsSkipVerify: true, token: {token}"),
        format!("address: '{alias}', {trust}, tlsServerName: localhost, token: {token}"),
        format!("address: '{}', token: {token}", bao.unix_address()),
    ] {
        let done = with_store(&keys(&good), &mount).any_stderr().once();
        assert_eq!(done.read("a"), "value", "{good}");
    }

    let stranger = support::Certs::new();
    let other_ca = stranger.ca();
    let (unknown, unknown_key) = stranger.client("stranger");
    for (bad, error_type, words) in [
        (
            format!("address: {https}, token: {token}"),
            "tls",
            "certificate",
        ),
        (
            format!(
                "address: {https}, tlsCACert: '{}', token: {token}",
                other_ca.display()
            ),
            "tls",
            "certificate",
        ),
        (
            format!("address: {https}, {trust}, tlsServerName: vault.example.com, token: {token}"),
            "tls",
            "vault.example.com",
        ),
        (
            format!("address: '{alias}', {trust}, token: {token}"),
            "tls",
            "127.0.0.2",
        ),
        (
            format!("address: {https}, {trust}, certRole: nobody, {client}"),
            "auth",
            "refused the credential",
        ),
        (
            format!(
                "address: {https}, {trust}, authMethod: cert, tlsClientCert: '{}', \
                 tlsClientKey: '{}'",
                unknown.display(),
                unknown_key.display()
            ),
            "auth",
            "refused the credential",
        ),
    ] {
        let done = with_store(&keys(&bad), &mount)
            .status(1)
            .any_stderr()
            .run(&["run", "--once", "--timeout", "500ms"]);
        let named = done
            .stderr
            .lines()
            .find(|line| line.starts_with("secrets-sync: `a`: "))
            .unwrap_or_else(|| panic!("{}", done.stderr));
        assert!(named.contains(words), "{bad}\n{named}");
        let class = format!("\"error_type\":\"{error_type}\"");
        assert!(done.stderr.contains(&class), "{bad}\n{}", done.stderr);
        assert!(!done.path("a").exists());
    }
    let skipped = format!("address: {https}, tlsSkipVerify: true, token: {token}");
    let done = with_store(&keys(&skipped), &mount)
        .any_stderr()
        .any_stdout()
        .validate();
    let all = done.stdout + &done.stderr;
    assert!(all.contains("tlsSkipVerify"), "a warning: {all}");
}
