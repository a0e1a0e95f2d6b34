use std::os::unix::fs::symlink;

use rcgen::{CertificateParams, DnType, KeyPair};
use tempfile::TempDir;

use super::*;

/// A directory of files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn client(&self) -> TlsFiles {
        TlsFiles {
            cert: self.path("cert.pem"),
            key: self.path("key.pem"),
        }
    }

    /// What is wrong with this certificate and key.
    fn client_error(&self, cert: &str, key: &str) -> TlsFileError {
        self.write("cert.pem", cert);
        self.write("key.pem", key);
        load_client(&self.client()).unwrap_err()
    }
}

/// Certificate and key, PEM.
fn pair(name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem())
}

fn ca_cert(path: PathBuf) -> TrustedRoots {
    TrustedRoots {
        ca_cert: Some(path),
        ..TrustedRoots::default()
    }
}

fn ca_path(path: &Path) -> TrustedRoots {
    TrustedRoots {
        ca_path: Some(path.to_owned()),
        ..TrustedRoots::default()
    }
}

const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn a_pair_that_fits_is_loaded_and_hides_its_key() {
    let files = Files::new();
    let (cert, key) = pair("a");
    let issuer = pair("issuer").0;
    files.write("cert.pem", format!("# ours\n{cert}{issuer}"));
    files.write("key.pem", &key);
    let identity = load_client(&files.client()).unwrap();
    assert_eq!(identity.certified().cert.len(), 2);
    assert_eq!(
        format!("{identity:?}"),
        "ClientIdentity { chain: 2, key: \"[redacted]\" }"
    );
}

#[test]
fn one_file_may_hold_both() {
    let files = Files::new();
    let (cert, key) = pair("a");
    let path = files.write("both.pem", format!("{key}{cert}"));
    let client = TlsFiles {
        cert: path.clone(),
        key: path,
    };
    assert!(load_client(&client).is_ok());
}

#[test]
fn a_missing_and_an_empty_file_are_told_apart_and_named() {
    let files = Files::new();
    let error = load_client(&files.client()).unwrap_err();
    assert_eq!(error.fault, FileFault::Missing);
    assert_eq!(error.path, files.path("cert.pem"));
    assert_eq!(
        error.message,
        format!(
            "client certificate `{}`: no such file",
            files.path("cert.pem").display()
        )
    );
    let error = files.client_error(&pair("a").0, " \n");
    assert_eq!(error.fault, FileFault::Empty);
    assert_eq!(error.path, files.path("key.pem"));
}

#[test]
fn what_is_no_file_is_unreadable_and_not_waited_on() {
    let files = Files::new();
    std::fs::create_dir(files.path("cert.pem")).unwrap();
    let error = load_client(&files.client()).unwrap_err();
    assert_eq!(error.fault, FileFault::Unreadable);
    let fifo = files.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let error = load_roots(&ca_cert(fifo)).unwrap_err();
    assert!(error.message.ends_with("not a regular file"), "{error}");
}

#[test]
fn a_certificate_and_the_key_of_another_do_not_match() {
    let files = Files::new();
    let error = files.client_error(&pair("a").0, &pair("b").1);
    assert_eq!(error.fault, FileFault::Mismatch);
    assert!(error.message.contains("does not belong to key"), "{error}");
}

#[test]
fn what_is_malformed_is_named_and_not_quoted() {
    let files = Files::new();
    let (cert, key) = pair("a");
    let half = &key[..key.len() / 2];
    let stranger = key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY");
    for (bad_cert, bad_key, file, words) in [
        ("hunter2", key.as_str(), "cert.pem", "no PEM certificate"),
        (BROKEN, &key, "cert.pem", "malformed certificate 1"),
        (&cert, "hunter2", "key.pem", "no PEM private key"),
        (&cert, half, "key.pem", "no PEM private key"),
        (&cert, &stranger, "key.pem", "no PEM private key"),
        (
            &cert,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "key.pem",
            "of a kind that is not supported",
        ),
    ] {
        let error = files.client_error(bad_cert, bad_key);
        assert_eq!(error.fault, FileFault::Malformed, "{error}");
        assert_eq!(error.path, files.path(file), "{error}");
        assert!(error.message.contains(words), "{error}");
        assert!(error.help.is_some());
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[test]
fn an_encrypted_key_is_said_to_be_one() {
    let files = Files::new();
    let (cert, key) = pair("a");
    let pkcs8 = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                  DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for key in [pkcs8.as_str(), legacy] {
        let error = files.client_error(&cert, key);
        assert_eq!(error.fault, FileFault::Malformed);
        assert!(
            error.message.contains("encrypted with a pass phrase"),
            "{error}"
        );
        assert!(error.help.unwrap().contains("openssl pkey"));
    }
}

#[test]
fn the_whole_bundle_counts_and_a_broken_certificate_is_named_by_its_number() {
    let files = Files::new();
    let (a, b) = (pair("a").0, pair("b").0);
    let roots = load_roots(&ca_cert(files.write("ca.pem", format!("x\n{a}\ny\n{b}")))).unwrap();
    assert_eq!((roots.store().len(), roots.named().len()), (2, 2));
    for bundle in [
        format!("{a}{BROKEN}{b}"),
        format!("{a}-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"),
        format!("{a}-----BEGIN CERTIFICATE-----\nAAAA\n"),
    ] {
        let path = files.write("ca.pem", bundle);
        let error = load_roots(&ca_cert(path.clone())).unwrap_err();
        assert_eq!(error.fault, FileFault::Malformed);
        assert_eq!(
            error.message,
            format!("`tlsCACert` `{}`: malformed certificate 2", path.display())
        );
    }
}

#[test]
fn of_a_directory_every_file_that_holds_pem_counts() {
    let files = Files::new();
    let a = files.write("a.pem", pair("a").0);
    files.write("b.crt", pair("b").0);
    symlink(&a, files.path("1234abcd.0")).unwrap();
    symlink("nowhere", files.path("dangling")).unwrap();
    files.write("README", "none here");
    files.write("empty", "");
    std::fs::create_dir(files.path("more")).unwrap();
    let roots = load_roots(&ca_path(files.0.path())).unwrap();
    assert_eq!(roots.named().len(), 2);
    files.write("c.pem", BROKEN);
    let error = load_roots(&ca_path(files.0.path())).unwrap_err();
    assert_eq!(error.path, files.path("c.pem"));
    assert_eq!(error.fault, FileFault::Malformed);
}

#[test]
fn a_directory_without_certificates_is_empty_and_none_is_missing() {
    let files = Files::new();
    files.write("README", "none here");
    let error = load_roots(&ca_path(files.0.path())).unwrap_err();
    assert_eq!(error.fault, FileFault::Empty);
    let error = load_roots(&ca_path(&files.path("nowhere"))).unwrap_err();
    assert_eq!(error.fault, FileFault::Missing);
}

#[test]
fn the_system_bundle_counts_only_alone_and_its_broken_ones_are_passed_over() {
    let files = Files::new();
    let (a, b) = (pair("a").0, pair("b").0);
    let mut trusted = TrustedRoots {
        system_bundle: Some(files.write("system.pem", format!("{a}{BROKEN}{b}"))),
        ..TrustedRoots::default()
    };
    let roots = load_roots(&trusted).unwrap();
    assert_eq!((roots.store().len(), roots.named().len()), (2, 0));
    trusted.ca_cert = Some(files.write("ca.pem", pair("c").0));
    assert_eq!(load_roots(&trusted).unwrap().store().len(), 1);
    let none = load_roots(&TrustedRoots::default()).unwrap_err();
    assert_eq!(none.fault, FileFault::Missing);
    assert!(none.help.unwrap().contains("tlsCACert"));
}

#[test]
fn with_skip_verify_no_file_is_read() {
    let files = Files::new();
    let trusted = TrustedRoots {
        skip_verify: true,
        ..ca_cert(files.path("nowhere"))
    };
    assert!(load_roots(&trusted).unwrap().store().is_empty());
}

#[test]
fn a_change_shows_by_content_and_by_nothing_else() {
    let files = Files::new();
    let (cert, key) = pair("a");
    files.write("cert.pem", &cert);
    files.write("key.pem", &key);
    let load = || load_client(&files.client()).unwrap().hash().clone();
    let first = load();
    files.write("cert.pem", &cert);
    assert_eq!(first, load());
    files.write("cert.pem", format!("{cert}\n"));
    assert_ne!(first, load());
    let shown = format!("{first:?}");
    assert_eq!(shown, "ContentHash(..)");
}
