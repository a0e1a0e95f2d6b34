//! The HTTP endpoints under attack: what is no request is refused, and slow, deaf, half-open and
//! countless clients cost neither the daemon's work nor memory, threads or descriptors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod support;
mod traffic;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};
use support::{Daemon, Endpoint, SOON, poll};
use traffic::{Store, config, gaps, reads, secret};

fn port(daemon: &Daemon) -> u16 {
    match daemon.endpoint() {
        Endpoint::Http(port) => port,
        other => panic!("{other:?}"),
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// All that comes until the server closes.
fn rest(mut stream: &TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn what_is_no_plain_get_is_refused_and_answered_once() {
    let store = Store::start();
    let secrets = [secret("kv", "s0", "1h")];
    let daemon = Daemon::new(&config(&store.address(), "authMethod: none", &secrets))
        .metrics()
        .start();
    daemon.wait_ready(SOON);
    let port = port(&daemon);
    let long = |length: usize| "a".repeat(length);
    let not_allowed = |method: &str| format!("{method} /health HTTP/1.1\r\nHost: x\r\n\r\n");
    // What is sent; the status of the answer, or nothing where the connection ends without one.
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("HEAD", not_allowed("HEAD").into(), "405"),
        ("lower case", not_allowed("get").into(), "405"),
        ("a long method", not_allowed(&long(4000)).into(), "405"),
        (
            "a body in chunks",
            b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_vec(),
            "405",
        ),
        (
            "chunks without end",
            [
                b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
                &b"1\r\nx\r\n".repeat(20_000),
            ]
            .concat(),
            "405",
        ),
        (
            "a body to be asked for",
            b"PUT /status HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"
                .to_vec(),
            "405",
        ),
        (
            "a tunnel",
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec(),
            "400",
        ),
        (
            "another protocol",
            b"GET /health HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
            "200",
        ),
        (
            "keep-alive",
            b"GET /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n".to_vec(),
            "200",
        ),
        (
            "pipelining",
            b"GET /health HTTP/1.1\r\n\r\n".repeat(2000),
            "200",
        ),
        (
            "a lie about the length",
            b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
            "200",
        ),
        (
            "absolute form",
            b"GET http://elsewhere.example/health HTTP/1.1\r\n\r\n".to_vec(),
            "200",
        ),
        ("a star", b"OPTIONS * HTTP/1.1\r\n\r\n".to_vec(), "405"),
        (
            "a way out",
            b"GET /../../etc/passwd HTTP/1.1\r\n\r\n".to_vec(),
            "404",
        ),
        (
            "the far future",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            "505",
        ),
        ("HTTP/0.9", b"GET /health\r\n\r\n".to_vec(), "400"),
        (
            "no colon",
            b"GET /health HTTP/1.1\r\nHost x\r\n\r\n".to_vec(),
            "400",
        ),
        (
            "TLS",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            "400",
        ),
        ("zeros", [0; 9000].to_vec(), "414"),
        ("binary", (0..=255).cycle().take(9000).collect(), "431"),
        (
            "a long path",
            format!("GET /{} HTTP/1.1\r\n\r\n", long(9000)).into(),
            "414",
        ),
        (
            "a long header",
            format!("GET /health HTTP/1.1\r\nX: {}\r\n\r\n", long(9000)).into(),
            "431",
        ),
        (
            "many headers",
            format!("GET /health HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100_000)).into(),
            "431",
        ),
        ("empty lines", b"\r\n".repeat(1 << 20), "400"),
        (
            "half a head",
            b"GET /health HTTP/1.1\r\nHost: x\r\n".to_vec(),
            "",
        ),
        ("nothing", Vec::new(), ""),
    ];
    std::thread::scope(|scope| {
        for (name, bytes, status) in &cases {
            scope.spawn(move || {
                let mut client = connect(port);
                // It may be refused before it has sent all.
                let _ = client.write_all(bytes);
                let _ = client.shutdown(Shutdown::Write);
                let answer = rest(&client);
                let got = answer.split(' ').nth(1).unwrap_or_default();
                assert_eq!(got, *status, "{name}: {answer}");
                assert!(answer.matches("HTTP/1.").count() <= 1, "{name}: {answer}");
                if *status == "405" {
                    assert!(answer.contains("\r\nAllow: GET\r\n"), "{name}: {answer}");
                }
                if !status.is_empty() {
                    assert!(
                        answer.contains("\r\nConnection: close\r\n"),
                        "{name}: {answer}"
                    );
                }
                if *name == "HEAD" {
                    assert!(answer.ends_with("\r\n\r\n"), "a body: {answer}");
                }
            });
        }
    });
    assert_eq!(daemon.get("/health").status, 200);
}

/// A client whose kernel takes only a few bytes of an answer that it never reads.
fn deaf(port: u16) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1024)?;
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
    Ok(stream)
}

/// Attackers, until they are told to stop.
struct Attack {
    stop: Arc<AtomicBool>,
    clients: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            clients: Arc::default(),
            threads: Vec::new(),
        }
    }

    /// One attacker with so many connections at a time, each opened by `open` and then fed by
    /// `feed`; one that is thrown out comes back.
    fn with<S: Send + 'static>(
        mut self,
        at_once: usize,
        open: impl Fn() -> std::io::Result<S> + Send + 'static,
        feed: impl Fn(&mut S) -> bool + Send + 'static,
    ) -> Self {
        let (stop, clients) = (Arc::clone(&self.stop), Arc::clone(&self.clients));
        self.threads.push(std::thread::spawn(move || {
            let mut open_now: Vec<S> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                if open_now.len() < at_once
                    && let Ok(client) = open()
                {
                    clients.fetch_add(1, Ordering::Relaxed);
                    open_now.push(client);
                }
                open_now.retain_mut(|client| feed(client));
                // An attacker that is faster than this only takes the processor from the test.
                std::thread::park_timeout(Duration::from_micros(500));
            }
        }));
        self
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.clients.load(Ordering::Relaxed)
    }
}

/// What the daemon has in use: resident KiB, threads, descriptors.
fn usage(daemon: &Daemon) -> (u64, u64, u64) {
    let page = daemon.get("/metrics").text();
    let sample = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse::<f64>().unwrap()
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    let descriptors = sample("process_open_fds ") as u64;
    (daemon.rss_kib(), daemon.threads(), descriptors)
}

#[test]
fn a_flood_of_clients_costs_neither_the_daemons_work_nor_its_memory() {
    let reads_so_far = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads_so_far);
    let store = Store::with(move |request| {
        reads(request, "tick").then(|| {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            traffic::value(&number.to_string())
        })
    });
    // Many series: a page that is not taken up by the kernel's buffers.
    let mut secrets: Vec<_> = traffic::names(90)
        .iter()
        .map(|name| secret("kv", name, "1h"))
        .collect();
    secrets.push(secret("kv", "tick", "1s"));
    let daemon = Daemon::new(&config(&store.address(), "authMethod: none", &secrets))
        .metrics()
        .start();
    daemon.wait_ready(SOON);
    let port = port(&daemon);
    let page = daemon.get("/metrics").body.len();
    assert!(page > 100_000, "{page} bytes");
    // Once as many as there may be, so that what the daemon keeps of that is in the figures before.
    let (.., idle) = usage(&daemon);
    let warm: Vec<_> = (0..64).map(|_| deaf(port).unwrap()).collect();
    drop(warm);
    let before = poll(SOON, || {
        let usage = usage(&daemon);
        (usage.2 <= idle).then_some(usage)
    })
    .expect("its descriptors come back");
    let started = Instant::now();
    let open = move || TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let send = |bytes: &'static [u8]| {
        move |client: &mut TcpStream| {
            client.set_nonblocking(true).is_ok() && client.write(bytes).is_ok()
        }
    };
    let attack = Attack::new()
        // A byte now and then, hundreds at once.
        .with(200, open, send(b"G"))
        .with(200, move || deaf(port), |_| true)
        // Silence.
        .with(200, open, |_| true)
        // In and out.
        .with(1, open, |_| false)
        // All that fits, of what never becomes a request.
        .with(4, open, send(&[b'\n'; 4096]))
        .with(4, open, send(&[0xff; 4096]))
        .with(
            1,
            open,
            send(b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        );
    let mut most = (0, 0, 0);
    let mut answered = 0;
    let seen = reads_so_far.load(Ordering::SeqCst);
    while reads_so_far.load(Ordering::SeqCst) < seen + 6 {
        assert!(started.elapsed() < SOON * 2, "its secret is not refreshed");
        let asked = Instant::now();
        // Whoever comes at such a time may be thrown out, and comes again.
        if daemon
            .endpoint()
            .exchange("GET", "/health", &[], b"")
            .is_ok_and(|a| a.status == 200)
        {
            answered += 1;
            assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        }
        most = (
            daemon.rss_kib().max(most.0),
            daemon.threads().max(most.1),
            (daemon.fds() as u64).max(most.2),
        );
    }
    let lasted = started.elapsed();
    let rotations = store
        .requests()
        .into_iter()
        .filter(|r| reads(r, "tick") && r.at > started);
    let slowest = gaps(&rotations.collect::<Vec<_>>())
        .into_iter()
        .max()
        .unwrap();
    let clients = attack.end();
    // And the last of them is on disk.
    let last = poll(SOON, || {
        let text = std::fs::read_to_string(daemon.path("out/tick")).ok()?;
        (text.parse::<usize>().ok()? >= seen + 5).then_some(text)
    });
    assert!(last.is_some());
    let after = poll(SOON, || {
        let usage = usage(&daemon);
        (usage.2 <= before.2).then_some(usage)
    })
    .expect("its descriptors come back");
    println!(
        "measured: {clients} clients in {lasted:?}, /metrics of {page} bytes, {answered} health \
         checks answered, slowest refresh of a 1 s secret {slowest:?}; RSS KiB, threads, descriptors: \
         before {before:?}, most {most:?}, after {after:?}"
    );
    assert!(clients > 500, "{clients} clients are no flood");
    assert!(answered > 0, "nobody was served");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    // 32 places, each with a page at most, and what the allocator rounds up.
    let room = 40 * page as u64 / 1024 + 4096;
    assert!(most.0 < before.0 + room, "{before:?} {most:?}");
    assert!(after.0 < before.0 + room, "{before:?} {after:?}");
    assert_eq!(after.1, before.1, "threads");
    assert!(most.1 <= before.1 + 1, "threads: {before:?} {most:?}");
    // 32 places and 16 that are let in in one turn.
    assert!(most.2 <= before.2 + 50, "descriptors: {before:?} {most:?}");
}
