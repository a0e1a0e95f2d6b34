//! Files that credentials are in.

use std::path::Path;

use super::*;
use crate::plan::inspect;
use crate::plan::tls::FileFault;

fn found(directory: &Path, text: &str) -> Vec<(String, FileFault)> {
    let text = text.replace("@DIR", &directory.display().to_string());
    let plan = validate(&text, &[("SSL_CERT_FILE", "/nonexistent/ca.pem")]).unwrap();
    inspect(&plan)
        .into_iter()
        .map(|problem| (problem.key.unwrap_or_default(), problem.kind))
        .collect()
}

#[test]
fn every_file_is_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    write("good", b" token\n");
    write("empty", b" \n");
    write("binary", b"\xff\xfe");
    write("lines", b"one\ntwo\n");
    write("long", &[b'x'; 20_000]);
    write("cert.pem", b"not PEM");
    fs::create_dir(directory.path().join("dir")).unwrap();
    let case = |lines: &str| {
        found(
            directory.path(),
            &store(&format!("address: http://127.0.0.1\n{lines}")),
        )
    };
    assert_eq!(case("tokenFile: @DIR/good"), []);
    for (name, kind) in [
        ("absent", FileFault::Missing),
        ("good/below", FileFault::Missing),
        ("empty", FileFault::Empty),
        ("binary", FileFault::Malformed),
        ("lines", FileFault::Malformed),
        ("long", FileFault::Malformed),
        ("dir", FileFault::Unreadable),
    ] {
        assert_eq!(
            case(&format!("tokenFile: @DIR/{name}")),
            [("secretStore.tokenFile".to_owned(), kind)],
            "{name}"
        );
    }
    assert_eq!(
        case("roleIdFile: @DIR/absent\nsecretIdFile: @DIR/empty"),
        [
            ("secretStore.roleIdFile".to_owned(), FileFault::Missing),
            ("secretStore.secretIdFile".to_owned(), FileFault::Empty)
        ]
    );
    assert_eq!(case("tokenFile: ${CREDENTIALS_DIRECTORY}/token"), []);
    assert_eq!(
        case("token: t\ntlsClientCert: @DIR/cert.pem\ntlsClientKey: @DIR/absent"),
        [("secretStore.tlsClientKey".to_owned(), FileFault::Missing)]
    );
}

#[test]
fn trusted_certificates_are_looked_at_where_tls_is_spoken() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ca.pem"), "not PEM").unwrap();
    let case = |lines: &str| {
        found(
            directory.path(),
            &store(&format!("address: https://v\ntoken: t\n{lines}")),
        )
    };
    assert_eq!(case(""), [(String::new(), FileFault::Missing)]);
    assert_eq!(
        case("tlsCACert: @DIR/ca.pem"),
        [("secretStore.tlsCACert".to_owned(), FileFault::Malformed)]
    );
    assert_eq!(
        case("tlsCAPath: @DIR"),
        [("secretStore.tlsCAPath".to_owned(), FileFault::Empty)]
    );
    assert_eq!(case("tlsSkipVerify: true"), []);
}
