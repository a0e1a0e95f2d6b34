//! TLS that cannot be trusted, or is none: no request, and so no token, goes to such a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod hostile;
mod support;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hostile::front::Front;
use hostile::{check_bound, check_outage};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_RSA_SHA256, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use serde_json::json;
use support::{Daemon, Response, SOON, ScriptedServer, poll, process};

/// A certificate and its key, PEM.
type Pair = (String, String);

/// A certificate authority by rcgen: unlike the program it can date certificates back.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn issue(&self, name: &str, adjust: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        adjust(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// With an RSA key of the program's making: what old protocols and ciphers ask for.
fn rsa_signed(authority: &Authority) -> Pair {
    let output = Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ])
        .output()
        .expect("the `openssl` program (Debian: apt install openssl)");
    let pem = String::from_utf8(output.stdout).unwrap();
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = KeyPair::from_der_and_sign_algo(&der, &PKCS_RSA_SHA256).unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    (certificate.pem(), pem)
}

fn self_signed(name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// TLS with this certificate; what comes out of it goes to a plain server, its answer back.
fn tls_front(pair: &Pair, behind: u16) -> Front {
    front_of(pair, behind, None, &[&TLS12, &TLS13])
}

/// The same, in these versions; it may ask for a certificate that this authority issued.
fn front_of(
    (certificate, key): &Pair,
    behind: u16,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> Front {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
            roots.add(ca).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = Arc::new(config.with_single_cert(chain, key).unwrap());
    Front::listen(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut tls = StreamOwned::new(session, stream);
        let mut buffer = [0; 16 << 10];
        let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, behind))?;
        // Requests and answers of these tests come in one piece each.
        loop {
            let length = tls.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            plain.write_all(&buffer[..length])?;
            let length = plain.read(&mut buffer)?;
            tls.write_all(&buffer[..length])?;
            tls.flush()?;
        }
    })
}

/// A record of the handshake whose message is said to be so long, and is not all there.
fn handshake(kind: u8, length: usize, body: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = length.to_be_bytes();
    let message = [&[kind, high, middle, low], body].concat();
    let [.., high, low] = message.len().to_be_bytes();
    [&[0x16, 3, 3, high, low], &*message].concat()
}

/// The hello of a server that speaks TLS 1.1: no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
fn hello_of_1_1() -> Vec<u8> {
    let body = [&[3, 2], &[7; 32][..], &[0, 0x00, 0x2f, 0]].concat();
    handshake(2, body.len(), &body)
}

/// OpenSSL's own server, ended when this is dropped.
struct OpenSsl(Child);

impl OpenSsl {
    /// With these options, and where it listens; or what it says in its place.
    fn start((certificate, key): &Pair, options: &[&str]) -> Result<(Self, u16), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("cert.pem"), certificate).unwrap();
        fs::write(path("key.pem"), key).unwrap();
        let mut command = process::command(Path::new("openssl"));
        command
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert"])
            .arg(path("cert.pem"))
            .arg("-key")
            .arg(path("key.pem"))
            .args(options)
            // Its end is the end of the server.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(command).map_err(|error| error.to_string())?;
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let port = stdout.lines().map_while(Result::ok).find_map(|line| {
            let address = line.strip_prefix("ACCEPT ")?.to_owned();
            address.rsplit_once(':')?.1.parse().ok()
        });
        let mut this = Self(child);
        match port {
            Some(port) => Ok((this, port)),
            None => {
                let mut said = String::new();
                let _ = this.0.stderr.take().unwrap().read_to_string(&mut said);
                Err(said)
            }
        }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        process::kill(&mut self.0);
    }
}

fn plain_server() -> (ScriptedServer, u16) {
    let data = json!({"data": {"data": {"x": "1"}, "metadata": {"version": 1}}});
    let server = ScriptedServer::start(move |_| Response::json(200, &data).act());
    let port = server
        .address()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    (server, port)
}

/// As long as a handshake may take in these tests, and a probe.
const TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn nothing_is_sent_to_a_server_whose_certificate_or_protocol_is_wrong() {
    let (server, behind) = plain_server();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let front = |pair: &Pair| tls_front(pair, behind);
    let dated = |from: i32, to: i32| {
        front(&ours.issue("127.0.0.1", |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        }))
    };
    let for_clients = ours.issue("127.0.0.1", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let many_names = ours.issue("a.example", |params| {
        let names = (0..2000).map(|n| format!("{n}.example").try_into().unwrap());
        params.subject_alt_names = names.map(SanType::DnsName).collect();
    });
    let pair = ours.issue("127.0.0.1", |_| {});
    let asks = |versions| front_of(&pair, behind, Some(&theirs), versions);
    let unknown = "its certificate is signed by an unknown authority";
    let old = "the server speaks neither TLS 1.3 nor TLS 1.2";
    let no_tls = "the server does not speak TLS";
    let refused = "the server refused us: ";
    let mut cases = vec![
        (
            "wrong-name",
            front(&ours.issue("vault.example", |_| {})),
            "certificate not valid for name \"127.0.0.1\"; certificate is only valid for \
             DnsName(\"vault.example\")",
        ),
        (
            "many-names",
            front(&many_names),
            "certificate not valid for name \"127.0.0.1\"",
        ),
        ("expired", dated(2020, 2021), "its certificate has expired"),
        (
            "early",
            dated(2090, 2091),
            "its certificate is not valid yet",
        ),
        (
            "for-clients",
            front(&for_clients),
            "its certificate is not meant for a server",
        ),
        ("self-signed", front(&self_signed("127.0.0.1")), unknown),
        (
            "of-another-authority",
            front(&theirs.issue("127.0.0.1", |_| {})),
            unknown,
        ),
        ("asks-for-a-certificate", asks(&[&TLS13]), refused),
        ("asks-in-tls-1.2", asks(&[&TLS12]), refused),
        ("old-hello", Front::answers(hello_of_1_1()), old),
        // A fatal alert, `protocol_version`.
        (
            "refuses-our-protocols",
            Front::answers(b"\x15\x03\x01\0\x02\x02\x46"),
            old,
        ),
        (
            "plain-http",
            Front::answers("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
            no_tls,
        ),
        ("garbage", Front::answers([0xff; 4096]), no_tls),
        (
            "a-certificate-first",
            Front::answers(handshake(11, 3, &[0, 0, 0])),
            "",
        ),
        (
            "a-hello-without-end",
            Front::answers(handshake(2, 0xff_ffff, &[3; 16_000])),
            "",
        ),
    ];
    // What OpenSSL still offers; the machine's own may have been built without it.
    let rsa = rsa_signed(&ours);
    let options: [(&str, &[&str], &str); 3] = [
        (
            "openssl-tls-1.1",
            &["-tls1_1", "-cipher", "ALL@SECLEVEL=0"],
            old,
        ),
        (
            "openssl-tls-1.0",
            &["-tls1", "-cipher", "ALL@SECLEVEL=0"],
            old,
        ),
        (
            "openssl-no-common-cipher",
            &["-tls1_2", "-cipher", "AES128-SHA256"],
            refused,
        ),
    ];
    let mut running = Vec::new();
    for (name, options, message) in options {
        match OpenSsl::start(&rsa, options) {
            Ok((openssl, port)) => {
                running.push(openssl);
                cases.push((name, Front::relays(port), message));
            }
            Err(said) => support::skipped(module_path!(), &format!("{name}: {said}")),
        }
    }
    let good = front(&pair);
    // Not TLS that is wrong, but none that comes: class and words are those of a connection.
    let late = [
        (
            "silent",
            Front::silent(),
            "timeout",
            "no complete answer from `@A@` within 1s",
        ),
        (
            "drips",
            Front::drips(&[0x16, 3, 3, 0x40, 0, 2]),
            "timeout",
            "no complete answer from `@A@` within 1s",
        ),
        (
            "closes",
            Front::answers_and_ends([], false),
            "unavailable",
            "`@A@`: the TLS handshake failed: the server closed the connection",
        ),
        (
            "resets",
            Front::ends(true),
            "unavailable",
            "`@A@`: the TLS handshake failed: the server reset the connection",
        ),
        (
            "resets-in-the-hello",
            Front::answers_and_ends([0x16, 3, 3], true),
            "unavailable",
            "`@A@`: the TLS handshake failed: ",
        ),
    ];
    let mut config = "secretStores:\n".to_owned();
    let fronts = cases.iter().map(|(name, front, _)| (*name, front));
    let fronts: Vec<_> = fronts
        .chain(late.iter().map(|(name, front, ..)| (*name, front)))
        .collect();
    for (name, front) in fronts.iter().copied().chain([("good", &good)]) {
        config.push_str(&format!(
            "  {name}: {{address: 'https://127.0.0.1:{}', authMethod: none, timeout: 1s, \
             tlsCACert: @DIR@/ca.pem}}\n",
            front.port
        ));
    }
    config.push_str(&format!(
        "  http-to-tls: {{address: 'http://127.0.0.1:{}', authMethod: none}}\nsecrets:\n",
        good.port
    ));
    for name in fronts
        .iter()
        .map(|(name, _)| *name)
        .chain(["http-to-tls", "good"])
    {
        config.push_str(&format!(
            "- {{name: {name}, key: {name}, store: {name}, refreshInterval: 1h, files: [{{path: \
             @DIR@/{name}, field: x}}]}}\n"
        ));
    }
    let mut daemon = Daemon::new(&config)
        .file("ca.pem", &ours.pem)
        .env("INITIAL_BACKOFF", "200ms")
        .env("BACKOFF_MULTIPLIER", "1")
        .start();
    daemon.wait_file("good", "1", SOON);
    let failure = |name: &str| {
        daemon.wait_for_log(SOON, |line| {
            line.has("secret", name) && line.json["error_type"].is_string()
        })
    };
    for (name, front, message) in &cases {
        let line = failure(name);
        assert_eq!(
            (line.text("error_type"), line.text("level")),
            ("tls", "warn"),
            "{}",
            line.raw
        );
        let message = format!(
            "TLS with `https://127.0.0.1:{}` failed: {message}",
            front.port
        );
        assert!(
            line.text("error").starts_with(&message),
            "{message}: {}",
            line.raw
        );
        assert!(line.raw.len() < 1500, "{} bytes", line.raw.len());
        if !message.ends_with(": ") || message.contains(refused) {
            assert_ne!(line.text("remedy"), "", "{}", line.raw);
        }
        // It may pass by itself: certificates are renewed.
        assert!(line.json["next_retry_ms"].as_u64().unwrap() <= 200);
    }
    for (name, front, class, message) in &late {
        let line = failure(name);
        assert_eq!(
            (line.text("error_type"), line.text("level")),
            (*class, "warn"),
            "{}",
            line.raw
        );
        let message = message.replace("@A@", &format!("https://127.0.0.1:{}", front.port));
        assert!(
            line.text("error").contains(&message),
            "{message}: {}",
            line.raw
        );
    }
    let line = failure("http-to-tls");
    assert_eq!(line.text("error_type"), "tls");
    assert_eq!(
        line.text("error"),
        format!(
            "`http://127.0.0.1:{}` speaks TLS, not plain HTTP",
            good.port
        )
    );
    assert_eq!(line.text("remedy"), "write `https://` in `address`");
    // Three attempts and the question of its health before the breaker opens, then probes.
    for (name, front) in &fronts {
        if matches!(*name, "silent" | "drips") {
            continue;
        }
        let enough = || (front.times().len() >= 6).then_some(());
        poll(SOON, enough).unwrap_or_else(|| panic!("{name}: {:?}", front.times()));
    }
    for (name, front) in &fronts {
        let times = front.times();
        if !matches!(*name, "silent" | "drips") {
            check_outage(name, &times, TIMEOUT);
        }
        check_bound(name, &times, 1, 1.0, 0);
        assert!(!daemon.path(name).exists(), "{name}");
    }
    // Behind all of them is one server, and it was asked by the good one alone.
    let targets: Vec<_> = server.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/v1/secret/data/good"]);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!daemon.log().iter().any(|line| line.raw.contains("panic")));
}
