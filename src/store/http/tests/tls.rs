//! TLS, with certificates made here.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::super::{Http, HttpError, Material};
use super::support::{Server, Stream, body, get, plan};
use crate::clock::SystemClock;
use crate::failure::ErrorType;
use crate::plan::{Proxy, StorePlan, TlsFiles};
use crate::secret::SecretString;

/// A certificate authority with a directory for its files.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        Self::named("our authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            directory: tempfile::tempdir().unwrap(),
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str, adjust: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        adjust(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    /// A plan that trusts it.
    fn plan(&self, port: u16) -> StorePlan {
        let mut plan = plan(true, "localhost", port);
        plan.tls.ca_cert = Some(self.file("ca.pem", &self.pem));
        plan
    }

    fn client(&self) -> TlsFiles {
        let (cert, key) = self.issue("client", |_| {});
        TlsFiles {
            cert: self.file("client.pem", &cert),
            key: self.file("client-key.pem", &key),
        }
    }
}

fn config(pair: &(String, String), clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(
                CertificateDer::pem_slice_iter(authority.pem.as_bytes()).flatten(),
            );
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            )
        }
    };
    let chain = CertificateDer::pem_slice_iter(pair.0.as_bytes())
        .flatten()
        .collect();
    let key = PrivateKeyDer::from_pem_slice(pair.1.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

fn accept(config: &Arc<ServerConfig>, mut stream: TcpStream) -> Option<Tls> {
    let mut conn = ServerConnection::new(Arc::clone(config)).unwrap();
    while conn.is_handshaking() {
        if conn.complete_io(&mut stream).is_err() {
            // The alert that says why.
            let _ = conn.write_tls(&mut stream);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
            return None;
        }
    }
    Some(StreamOwned::new(conn, stream))
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

fn serve(config: Arc<ServerConfig>) -> Server {
    Server::start_with(
        move |stream| {
            accept(&config, stream).map(|stream| {
                let stream: Box<dyn Stream> = Box::new(stream);
                stream
            })
        },
        |peer| peer.answer_all("{}"),
    )
}

fn ask(plan: &StorePlan) -> Result<String, HttpError> {
    get(&Http::build(plan, None).unwrap()).map(|response| body(&response).to_owned())
}

#[track_caller]
fn refused(plan: &StorePlan, cause: &str, remedy: &str) {
    let error = ask(plan).unwrap_err();
    assert_eq!(error.error_type, ErrorType::Tls, "{error}");
    assert!(error.message.starts_with("TLS with `https://"), "{error}");
    assert!(error.message.contains(cause), "{error}");
    assert!(error.is_retryable());
    let given = error.remedy.unwrap();
    assert!(given.contains(remedy), "{given}");
}

#[test]
fn a_certificate_of_a_trusted_authority_is_good() {
    let authority = Authority::new();
    let server = serve(config(&authority.issue("localhost", |_| {}), None));
    assert_eq!(ask(&authority.plan(server.port)).unwrap(), "{}");
}

#[test]
fn a_certificate_may_bear_an_address() {
    let authority = Authority::new();
    let server = serve(config(&authority.issue("127.0.0.1", |_| {}), None));
    let mut plan = authority.plan(server.port);
    plan.address = super::support::plan(true, "127.0.0.1", server.port).address;
    assert_eq!(ask(&plan).unwrap(), "{}");
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let (ours, theirs) = (Authority::new(), Authority::named("their authority"));
    let server = serve(config(&theirs.issue("localhost", |_| {}), None));
    refused(&ours.plan(server.port), "unknown authority", "`tlsCACert`");
    assert!(server.requests().is_empty());
}

#[test]
fn an_authority_of_the_same_name_is_not_the_same() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = serve(config(&new.issue("localhost", |_| {}), None));
    refused(&old.plan(server.port), "unknown authority", "`tlsCACert`");
    let mut plan = old.plan(server.port);
    plan.tls.ca_cert = Some(old.file("both.pem", &format!("{}{}", old.pem, new.pem)));
    assert_eq!(ask(&plan).unwrap(), "{}");
}

#[test]
fn the_authority_may_be_any_of_a_bundle() {
    let (ours, theirs) = (Authority::new(), Authority::named("their authority"));
    let server = serve(config(&theirs.issue("localhost", |_| {}), None));
    let mut plan = ours.plan(server.port);
    let bundle = format!("# two\n{}\n{}", ours.pem, theirs.pem);
    plan.tls.ca_cert = Some(ours.file("bundle.pem", &bundle));
    assert_eq!(ask(&plan).unwrap(), "{}");
}

#[test]
fn with_a_named_authority_the_system_bundle_is_not_asked() {
    let (ours, theirs) = (Authority::new(), Authority::named("their authority"));
    let server = serve(config(&theirs.issue("localhost", |_| {}), None));
    let mut plan = ours.plan(server.port);
    plan.tls.system_bundle = Some(theirs.file("system.pem", &theirs.pem));
    refused(&plan, "unknown authority", "`tlsCACert`");
    plan.tls.ca_cert = None;
    assert_eq!(ask(&plan).unwrap(), "{}");
}

#[test]
fn a_certificate_for_another_name_is_refused_and_tls_server_name_helps() {
    let authority = Authority::new();
    let server = serve(config(&authority.issue("vault.test", |_| {}), None));
    let mut plan = authority.plan(server.port);
    refused(&plan, "not valid for name", "`tlsServerName`");
    plan.tls.server_name = Some("vault.test".to_owned());
    assert_eq!(ask(&plan).unwrap(), "{}");
    let request = &server.requests()[0];
    assert!(
        request.contains(&format!("host: localhost:{}\r\n", server.port)),
        "the address stays the address: {request}"
    );
}

#[test]
fn tls_server_name_is_what_is_asked_for() {
    let authority = Authority::new();
    let asked = Arc::new(Mutex::new(None));
    let told = Arc::clone(&asked);
    let config = config(&authority.issue("vault.test", |_| {}), None);
    let server = Server::start_with(
        move |stream| {
            let stream = accept(&config, stream)?;
            *told.lock().unwrap() = stream.conn.server_name().map(ToOwned::to_owned);
            Some(Box::new(stream))
        },
        |peer| peer.answer_all("{}"),
    );
    let mut plan = authority.plan(server.port);
    plan.tls.server_name = Some("vault.test".to_owned());
    ask(&plan).unwrap();
    assert_eq!(asked.lock().unwrap().as_deref(), Some("vault.test"));
}

#[test]
fn dates_are_checked() {
    let authority = Authority::new();
    let expired = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let future = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2101, 1, 1);
        params.not_after = date_time_ymd(2102, 1, 1);
    });
    for (pair, cause) in [
        (expired, "has expired: it ended 2002-01-01T00:00:00Z"),
        (future, "is not valid yet: it begins 2101-01-01T00:00:00Z"),
    ] {
        let server = serve(config(&pair, None));
        refused(&authority.plan(server.port), cause, "clock");
    }
}

/// What `openssl req -x509` makes: its own authority.
fn self_signed(name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_self_signed_certificate_is_trusted_only_when_it_is_named_itself() {
    let authority = Authority::new();
    let pair = self_signed("localhost");
    let server = serve(config(&pair, None));
    let mut plan = authority.plan(server.port);
    assert_eq!(ask(&plan).unwrap_err().error_type, ErrorType::Tls);
    plan.tls.ca_cert = Some(authority.file("self.pem", &pair.0));
    assert_eq!(ask(&plan).unwrap(), "{}");
    // As the system's, it is an authority, and authorities are no servers.
    plan.tls.system_bundle = plan.tls.ca_cert.take();
    assert_eq!(ask(&plan).unwrap_err().error_type, ErrorType::Tls);
}

#[test]
fn a_named_self_signed_certificate_must_bear_the_name() {
    let authority = Authority::new();
    let pair = self_signed("vault.test");
    let server = serve(config(&pair, None));
    let mut plan = authority.plan(server.port);
    plan.tls.ca_cert = Some(authority.file("self.pem", &pair.0));
    refused(&plan, "not valid for name", "`tlsServerName`");
    plan.tls.server_name = Some("vault.test".to_owned());
    assert_eq!(ask(&plan).unwrap(), "{}");
}

#[test]
fn with_skip_verify_anything_goes() {
    let theirs = Authority::new();
    let server = serve(config(&theirs.issue("vault.test", |_| {}), None));
    let mut plan = plan(true, "localhost", server.port);
    plan.tls.skip_verify = true;
    assert_eq!(ask(&plan).unwrap(), "{}");
}

#[test]
fn a_client_certificate_is_presented_where_it_is_asked_for() {
    let authority = Authority::new();
    let pair = authority.issue("localhost", |_| {});
    let server = serve(config(&pair, Some(&authority)));
    let plan = authority.plan(server.port);
    let http = Http::build(&plan, Some(&authority.client())).unwrap();
    assert_eq!(get(&http).unwrap().status, 200);
    refused(&plan, "refused us", "`tlsClientCert`");
}

#[test]
fn sessions_are_resumed_by_later_connections() {
    let authority = Authority::new();
    let config = config(&authority.issue("localhost", |_| {}), None);
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let server = Server::start_with(
        move |stream| {
            let stream = accept(&config, stream)?;
            seen.lock().unwrap().push(stream.conn.handshake_kind());
            Some(Box::new(stream))
        },
        |peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}");
        },
    );
    let http = Http::build(&authority.plan(server.port), None).unwrap();
    for _ in 0..2 {
        get(&http).unwrap();
    }
    assert_eq!(
        *kinds.lock().unwrap(),
        [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]
    );
}

#[test]
fn a_tls_connection_is_used_again() {
    let authority = Authority::new();
    let server = serve(config(&authority.issue("localhost", |_| {}), None));
    let http = Http::build(&authority.plan(server.port), None).unwrap();
    for _ in 0..5 {
        get(&http).unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 5));
}

#[test]
fn plain_http_to_a_tls_port_says_so() {
    let authority = Authority::new();
    let server = serve(config(&authority.issue("localhost", |_| {}), None));
    let go = Server::start(|peer| {
        peer.request();
        peer.send(
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        );
    });
    for port in [server.port, go.port] {
        let error = ask(&plan(false, "localhost", port)).unwrap_err();
        assert_eq!(error.error_type, ErrorType::Tls, "{error}");
        assert_eq!(
            error.message,
            format!("`http://localhost:{port}` speaks TLS, not plain HTTP")
        );
        assert!(error.remedy.unwrap().contains("`https://`"));
    }
}

#[test]
fn tls_to_a_plain_port_says_so() {
    let authority = Authority::new();
    let server = Server::start(|peer| {
        peer.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        peer.hang();
    });
    refused(
        &authority.plan(server.port),
        "does not speak TLS",
        "`http://`",
    );
}

#[test]
fn a_handshake_that_hangs_ends_at_the_time_out() {
    let authority = Authority::new();
    let server = Server::start(|peer| {
        peer.hang();
    });
    let http = Http::build(&authority.plan(server.port), None).unwrap();
    let started = Instant::now();
    let error = http
        .send(&super::super::Request::get(
            "/v1/a",
            Duration::from_millis(300),
        ))
        .unwrap_err();
    assert_eq!(error.error_type, ErrorType::Timeout, "{error}");
    assert!(started.elapsed().as_millis() < 1500);
}

#[test]
fn material_is_equal_by_content() {
    let authority = Authority::new();
    let plan = authority.plan(1);
    let client = authority.client();
    let first = Material::load(&plan, Some(&client)).unwrap();
    authority.file("ca.pem", &authority.pem);
    assert!(first == Material::load(&plan, Some(&client)).unwrap());
    authority.client();
    assert!(first != Material::load(&plan, Some(&client)).unwrap());
    let http = Http::new(&plan, first.clone(), Arc::new(SystemClock)).unwrap();
    assert!(*http.material() == first);
    assert!(!format!("{first:?}").contains("PRIVATE"));
}

#[test]
fn where_no_tls_is_spoken_no_file_is_read() {
    let nowhere = PathBuf::from("/nonexistent/x.pem");
    let mut plain = plan(false, "localhost", 1);
    plain.tls.ca_cert = Some(nowhere.clone());
    let client = TlsFiles {
        cert: nowhere.clone(),
        key: nowhere,
    };
    assert!(Material::load(&plain, Some(&client)).is_ok());
    plain.address = plan(true, "localhost", 1).address;
    assert!(Material::load(&plain, Some(&client)).is_err());
}

/// A proxy that tunnels, behind TLS of its own or not.
fn proxy(tls: Option<Arc<ServerConfig>>, target: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let socket = stream.try_clone().unwrap();
            let mut client: Box<dyn Stream> = match &tls {
                Some(config) => Box::new(accept(config, stream).unwrap()),
                None => Box::new(stream),
            };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            log.lock().unwrap().push(String::from_utf8(head).unwrap());
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            client.flush().unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", target)).unwrap();
            server.set_nodelay(true).unwrap();
            // Each side in its turn, neither for long.
            let turn = Some(Duration::from_millis(5));
            server.set_read_timeout(turn).unwrap();
            socket.set_read_timeout(turn).unwrap();
            std::thread::spawn(move || {
                while relay(&mut client, &mut server) && relay(&mut server, &mut client) {}
            });
        }
    });
    (port, heads)
}

#[test]
fn tls_goes_through_a_proxy_that_speaks_tls_itself_or_does_not() {
    let authority = Authority::new();
    let server = serve(config(&authority.issue("vault.test", |_| {}), None));
    let secured = config(&authority.issue("localhost", |_| {}), None);
    for (scheme, tls) in [("http", None), ("https", Some(secured))] {
        let (port, heads) = proxy(tls, server.port);
        let mut plan = authority.plan(8200);
        plan.address = super::support::plan(true, "vault.test", 8200).address;
        plan.proxy = Some(Proxy {
            url: SecretString::new(format!("{scheme}://localhost:{port}")),
        });
        let http = Http::build(&plan, None).unwrap();
        assert_eq!(body(&get(&http).unwrap()), "{}", "{scheme}");
        assert!(heads.lock().unwrap()[0].starts_with("CONNECT vault.test:8200 HTTP/1.1\r\n"));
    }
}

/// What there is to carry; `false` when a side is gone.
fn relay(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut chunk = [0; 16 << 10];
    match from.read(&mut chunk) {
        Ok(0) => false,
        Ok(read) => to
            .write_all(&chunk[..read])
            .and_then(|()| to.flush())
            .is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}
