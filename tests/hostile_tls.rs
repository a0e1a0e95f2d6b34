//! TLS that cannot be trusted, or is none: no request, and so no token, goes to such a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use support::{Daemon, Response, SOON, ScriptedServer};

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

fn self_signed(name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Listens, and meets each connection with `meet`, for as long as the test program runs.
fn listen(meet: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let meet = Arc::new(meet);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let meet = Arc::clone(&meet);
            // A client that breaks off is what these tests are about.
            std::thread::spawn(move || drop(meet(stream)));
        }
    });
    port
}

/// TLS with this certificate; what comes out of it goes to a plain server, its answer back.
fn tls_front((certificate, key): &Pair, behind: u16) -> u16 {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    listen(move |stream| {
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

/// Answers every client with the hello of a server that speaks TLS 1.1.
fn tls_1_1() -> u16 {
    listen(|mut stream| {
        let mut heard = [0; 4096];
        let _ = stream.read(&mut heard)?;
        let mut record = vec![0x16, 3, 2, 0, 42, 0x02, 0, 0, 38, 3, 2];
        record.extend([7; 32]);
        // No session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
        record.extend([0, 0x00, 0x2f, 0]);
        stream.write_all(&record)?;
        while stream.read(&mut heard)? > 0 {}
        Ok(())
    })
}

/// Answers whatever comes with these bytes.
fn answers(bytes: &'static [u8]) -> u16 {
    listen(move |mut stream| {
        let mut heard = [0; 4096];
        let _ = stream.read(&mut heard)?;
        stream.write_all(bytes)?;
        while stream.read(&mut heard)? > 0 {}
        Ok(())
    })
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
    let unknown = "its certificate is signed by an unknown authority";
    let cases = [
        (
            "wrong-name",
            front(&ours.issue("vault.example", |_| {})),
            "certificate not valid for name \"127.0.0.1\"; certificate is only valid for \
             DnsName(\"vault.example\")",
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
        (
            "old-protocol",
            tls_1_1(),
            "the server speaks neither TLS 1.3 nor TLS 1.2",
        ),
        (
            "refuses-our-protocols",
            // A fatal alert, `protocol_version`.
            answers(b"\x15\x03\x01\0\x02\x02\x46"),
            "the server speaks neither TLS 1.3 nor TLS 1.2",
        ),
        (
            "plain-http",
            answers(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
            "the server does not speak TLS",
        ),
    ];
    let good = front(&ours.issue("127.0.0.1", |_| {}));
    let mut config = "secretStores:\n".to_owned();
    for (name, port, _) in &cases {
        config.push_str(&format!(
            "  {name}: {{address: 'https://127.0.0.1:{port}', authMethod: none, tlsCACert: \
             @DIR@/ca.pem}}\n"
        ));
    }
    config.push_str(&format!(
        "  good: {{address: 'https://127.0.0.1:{good}', authMethod: none, tlsCACert: \
         @DIR@/ca.pem}}\n  \
         http-to-tls: {{address: 'http://127.0.0.1:{good}', authMethod: none}}\nsecrets:\n"
    ));
    let names = cases.iter().map(|case| case.0);
    for name in names.chain(["http-to-tls", "good"]) {
        config.push_str(&format!(
            "- {{name: {name}, key: {name}, store: {name}, refreshInterval: 1h, files: [{{path: \
             @DIR@/{name}, field: x}}]}}\n"
        ));
    }
    let mut daemon = Daemon::new(&config).file("ca.pem", &ours.pem).start();
    daemon.wait_file("good", "1", SOON);
    let failure = |name: &str| {
        daemon.wait_for_log(SOON, |line| {
            line.has("secret", name) && line.json["error_type"].is_string()
        })
    };
    for (name, port, message) in &cases {
        let line = failure(name);
        assert_eq!(line.text("error_type"), "tls", "{}", line.raw);
        assert_eq!(
            line.text("error"),
            format!("TLS with `https://127.0.0.1:{port}` failed: {message}")
        );
        assert_ne!(line.text("remedy"), "", "{}", line.raw);
        // It may pass by itself: certificates are renewed.
        assert!(line.json["next_retry_ms"].as_u64().unwrap() <= 1000);
        assert!(!daemon.path(name).exists());
    }
    let line = failure("http-to-tls");
    assert_eq!(line.text("error_type"), "tls");
    assert_eq!(
        line.text("error"),
        format!("`http://127.0.0.1:{good}` speaks TLS, not plain HTTP")
    );
    assert_eq!(line.text("remedy"), "write `https://` in `address`");
    // Behind all of them is one server, and it was asked by the good one alone.
    let targets: Vec<_> = server.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/v1/secret/data/good"]);
    assert_eq!(daemon.stop().code(), Some(0));
}
