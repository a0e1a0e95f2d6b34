//! Certificates that are replaced on disk under the running daemon.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
mod traffic;

use std::fs;
use std::path::Path;

use serde_json::json;
use support::{Certs, OpenBao, SOON};
use traffic::{config, is_failure, secret};

#[test]
fn a_client_certificate_and_an_authority_replaced_on_disk_are_taken_up_without_a_failed_read() {
    let bao = OpenBao::dev().tls().start();
    bao.kv2_put("secret", "s0", &json!({ "value": "v1" }));
    let policy = bao.reader_policy("secret");
    bao.enable_auth("cert", "cert");
    let certs = Certs::new();
    let (old, new, other) = (
        certs.client("old"),
        certs.client("new"),
        certs.client("other"),
    );
    for (name, certificate) in [("old", &old.0), ("new", &new.0)] {
        let certificate = fs::read_to_string(certificate).unwrap();
        let body = json!({ "certificate": certificate, "token_policies": [policy] });
        bao.call("POST", &format!("auth/cert/certs/{name}"), &body);
    }
    let keys = "authMethod: cert, tlsCACert: '@DIR@/ca.pem', tlsClientCert: '@DIR@/client.pem', \
        tlsClientKey: '@DIR@/client-key.pem'";
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let setup = support::Daemon::new(&config(
        &bao.address(),
        keys,
        &[secret("secret", "s0", "1s")],
    ))
    .file("ca.pem", &text(bao.ca()))
    .file("client.pem", &text(&old.0))
    .file("client-key.pem", &text(&old.1));
    let mut daemon = setup.start();
    daemon.wait_file("out/s0", "v1", SOON);

    // A certificate without its key: half of a rotation. What is in use stays.
    let mark = daemon.mark();
    fs::write(daemon.path("client.pem"), text(&other.0)).unwrap();
    let line = daemon.wait_for_log_after(mark, SOON, |line| line.msg().contains("are kept"));
    assert_eq!(line.text("level"), "warn");
    bao.kv2_put("secret", "s0", &json!({ "value": "v2" }));
    daemon.wait_file("out/s0", "v2", SOON);

    // The whole new pair, and an authority more.
    let mark = daemon.mark();
    fs::write(daemon.path("client-key.pem"), text(&new.1)).unwrap();
    fs::write(daemon.path("client.pem"), text(&new.0)).unwrap();
    daemon.wait_for_log_after(mark, SOON, |line| {
        line.msg().contains("new certificates taken up")
    });
    let mark = daemon.mark();
    let both = format!("{}{}", text(bao.ca()), text(&certs.ca()));
    fs::write(daemon.path("ca.pem"), both).unwrap();
    daemon.wait_for_log_after(mark, SOON, |line| {
        line.msg().contains("new certificates taken up")
    });
    // An authority that is none is not taken up either.
    let mark = daemon.mark();
    fs::write(daemon.path("ca.pem"), "no certificate\n").unwrap();
    daemon.wait_for_log_after(mark, SOON, |line| line.msg().contains("are kept"));

    // From now on only the new pair logs in.
    bao.call("DELETE", "auth/cert/certs/old", &json!(null));
    let accessors = bao.call("LIST", "auth/token/accessors", &json!(null));
    for accessor in accessors["data"]["keys"].as_array().unwrap() {
        let body = json!({ "accessor": accessor });
        let found = bao.call("POST", "auth/token/lookup-accessor", &body);
        if found["data"]["path"] == "auth/cert/login" {
            bao.call("POST", "auth/token/revoke-accessor", &body);
        }
    }
    bao.kv2_put("secret", "s0", &json!({ "value": "v3" }));
    daemon.wait_file("out/s0", "v3", SOON);
    assert!(!daemon.log().iter().any(|line| is_failure(line, "s0")));
    assert!(daemon.stop().success());
}
