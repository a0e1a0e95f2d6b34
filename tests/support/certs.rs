//! A certificate authority of one test, by the `openssl` program.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An authority in a directory of its own; certificates are made on demand.
pub struct Certs {
    dir: TempDir,
}

impl Certs {
    /// A new authority.
    pub fn new() -> Self {
        let certs = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        certs.openssl(
            "ca",
            "/CN=secrets-sync tests",
            &["-addext", "basicConstraints=critical,CA:TRUE"],
        );
        certs
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Certificate and key of a server, for names such as `DNS:localhost,IP:127.0.0.1`.
    pub fn server(&self, name: &str, alternatives: &str) -> (PathBuf, PathBuf) {
        self.leaf(
            name,
            &format!("subjectAltName={alternatives}"),
            "serverAuth",
        )
    }

    /// Certificate and key of a client.
    pub fn client(&self, name: &str) -> (PathBuf, PathBuf) {
        self.leaf(name, &format!("subjectAltName=DNS:{name}"), "clientAuth")
    }

    fn leaf(&self, name: &str, alternatives: &str, usage: &str) -> (PathBuf, PathBuf) {
        let (ca, key) = (self.path("ca.pem"), self.path("ca-key.pem"));
        let usage = format!("extendedKeyUsage={usage}");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (ca, key) = (text(&ca), text(&key));
        let options = [
            "-CA",
            &ca,
            "-CAkey",
            &key,
            "-addext",
            "basicConstraints=CA:FALSE",
            "-addext",
            alternatives,
            "-addext",
            &usage,
        ];
        self.openssl(name, &format!("/CN={name}"), &options);
        (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}-key.pem")),
        )
    }

    fn openssl(&self, name: &str, subject: &str, options: &[&str]) {
        let output = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "2", "-subj", subject])
            .arg("-keyout")
            .arg(self.path(&format!("{name}-key.pem")))
            .arg("-out")
            .arg(self.path(&format!("{name}.pem")))
            .args(options)
            .output()
            .expect("the `openssl` program (Debian: apt install openssl)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "openssl made no certificate `{name}`: {said}"
        );
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}
