//! Certificates of stores: login with them, files that come late, rotation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stores;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrets_sync::failure::ErrorType;
use secrets_sync::plan::{Auth, TlsFiles};
use secrets_sync::store::{Mode, StoreEvent};
use serde_json::json;
use stores::{Lab, source, text, wait_until};
use support::{Certs, OpenBao};

/// A lab whose session presents this certificate.
fn lab(bao: &OpenBao, auth: Auth, client: &TlsFiles) -> Lab {
    Lab::with(bao.endpoint(), auth, Mode::Use, |plan| {
        let mut session = (*plan.sessions[0]).clone();
        session.client = Some(client.clone());
        plan.sessions = vec![Arc::new(session)];
    })
}

/// Makes the server take this certificate for the role of that name.
fn allow(bao: &OpenBao, role: &str, certificate: &Path) {
    bao.enable_auth("cert", "cert");
    let pem = std::fs::read_to_string(certificate).unwrap();
    let body = json!({"certificate": pem, "token_policies": ["read"], "token_ttl": "60s"});
    bao.call("POST", &format!("auth/cert/certs/{role}"), &body);
}

fn put_in_place(files: &TlsFiles, (certificate, key): &(std::path::PathBuf, std::path::PathBuf)) {
    std::fs::copy(certificate, &files.cert).unwrap();
    std::fs::copy(key, &files.key).unwrap();
}

fn tls_told(lab: &Lab) -> Vec<(String, bool)> {
    let told = lab.events.try_iter();
    told.filter_map(|event| match event {
        StoreEvent::Tls {
            message, warning, ..
        } => Some((message, warning)),
        _ => None,
    })
    .collect()
}

#[test]
fn a_certificate_logs_in_when_it_comes_and_is_replaced_while_running() {
    let bao = OpenBao::dev().tls().start();
    bao.kv2_put("secret", "a", &json!({"x": "1"}));
    bao.policy(
        "read",
        "path \"secret/data/*\" { capabilities = [\"read\"] }",
    );
    let certs = Certs::new();
    let (first, second) = (certs.client("first"), certs.client("second"));
    allow(&bao, "web", &first.0);
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        cert: dir.path().join("tls.crt"),
        key: dir.path().join("tls.key"),
    };
    let auth = Auth::Cert {
        mount: "cert".into(),
        role: Some("web".into()),
    };
    let lab = lab(&bao, auth, &files);
    let followed = lab.stores.followed_files();
    assert!(followed.contains(&files.cert) && followed.contains(&files.key));

    // Not there yet: waited for.
    let error = lab.fetch(&source("secret", "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Tls);
    assert!(
        error.to_string().contains(files.cert.to_str().unwrap()),
        "{error}"
    );
    let wake = error.wake.expect("something to wait for");
    put_in_place(&files, &first);
    lab.stores
        .files_changed(&[files.cert.clone(), files.key.clone()]);
    let _ = wake.recv_timeout(support::SOON);
    lab.fetch(&source("secret", "a")).unwrap();
    assert_eq!(lab.logins(), 1);

    // Half of a new pair: the old one stays in use.
    std::fs::copy(&second.0, &files.cert).unwrap();
    lab.stores.files_changed(std::slice::from_ref(&files.cert));
    let told = tls_told(&lab);
    assert!(told[0].1 && told[0].0.contains("are kept"), "{told:?}");
    lab.fetch(&source("secret", "a")).unwrap();

    // The other half: new connections present it, and the next login is by it.
    std::fs::copy(&second.1, &files.key).unwrap();
    lab.stores.files_changed(std::slice::from_ref(&files.key));
    let told = tls_told(&lab);
    assert!(!told[0].1 && told[0].0.contains("taken up"), "{told:?}");
    allow(&bao, "web", &second.0);
    lab.fetch(&source("secret", "a")).unwrap();
    // The same content again: nothing to tell.
    lab.stores.files_changed(std::slice::from_ref(&files.key));
    assert_eq!(tls_told(&lab), []);
}

#[test]
fn an_authority_that_comes_late_is_waited_for() {
    let bao = OpenBao::dev().tls().start();
    bao.kv2_put("secret", "a", &json!({"x": "1"}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let late = path.clone();
    let lab = Lab::with(
        bao.endpoint(),
        Auth::Token(text("root")),
        Mode::Use,
        |plan| {
            let mut store = (*plan.stores[0]).clone();
            store.tls.ca_cert = Some(late);
            plan.stores = vec![Arc::new(store)];
        },
    );
    let error = lab.fetch(&source("secret", "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Tls);
    std::fs::copy(bao.ca(), &path).unwrap();
    lab.stores.files_changed(&[path]);
    wait_until("the authority", || {
        lab.fetch(&source("secret", "a")).is_ok()
    });
    lab.stores.close(Duration::from_secs(1));
}

#[test]
fn an_authority_that_is_not_the_servers_is_named() {
    let bao = OpenBao::dev().tls().start();
    let certs = Certs::new();
    let lab = Lab::with(
        bao.endpoint(),
        Auth::Token(text("root")),
        Mode::Use,
        |plan| {
            let mut store = (*plan.stores[0]).clone();
            store.tls.ca_cert = Some(certs.ca());
            plan.stores = vec![Arc::new(store)];
        },
    );
    let error = lab.fetch(&source("secret", "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Tls, "{error}");
}
