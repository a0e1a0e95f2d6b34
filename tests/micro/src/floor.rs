//! The least that a program can do which does the daemon's work: what the kernel, TLS and the server's answers ask
//! for, and nothing besides. `tests/bench/floor.py` runs it beside the daemon and shows both. Prints names with
//! seconds, a line each.
//!
//! ```text
//! floor files DIRECTORY N                           two files for each of N secrets
//! floor creates DIRECTORY N                         N new files, and nothing in them
//! floor reads TLS CA TOKEN N                        N reads of secrets, over one connection
//! floor wakes PLAIN TLS CA TOKEN N FILE FILE [DIRECTORY..]
//!                                                   N times: only waking; a read and a look at two files; the same
//!                                                   over TLS; a read over TLS and two new files in each directory
//! ```
//!
//! `PLAIN` and `TLS` are HOST:PORT of the same server.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, fsync, openat, renameat};
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The length of a field in the bench.
const BYTES: [u8; 106] = [b'x'; 106];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(|argument| &**argument)
        .collect::<Vec<_>>()[..]
    {
        ["files", directory, n] => files(Path::new(directory), number(n)),
        ["creates", directory, n] => creates(Path::new(directory), number(n)),
        ["reads", tls, ca, token, n] => reads(&mut Line::tls(tls, ca), token, number(n)),
        [
            "wakes",
            plain,
            tls,
            ca,
            token,
            n,
            first,
            second,
            ref directories @ ..,
        ] => {
            let n = number(n) as usize;
            wakes(
                &mut Line::plain(plain),
                &mut Line::tls(tls, ca),
                token,
                n,
                [first, second],
                directories,
            );
        }
        _ => panic!(
            "usage: floor files DIRECTORY N | creates DIRECTORY N | reads TLS CA TOKEN N \
             | wakes PLAIN TLS CA TOKEN N FILE FILE [DIRECTORY..]"
        ),
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

/// Of the whole process, in seconds.
fn processor() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn measured(work: impl FnOnce()) {
    let (began, used) = (Instant::now(), processor());
    work();
    let (used, took) = (processor() - used, began.elapsed());
    println!("time {}\ncpu {used}", took.as_secs_f64());
}

/// For each secret, all of them in one directory.
fn files(directory: &Path, n: u32) {
    let directory = open(directory);
    let names: Vec<_> = (0..n).map(pair).collect();
    measured(|| names.iter().for_each(|pair| replace(&directory, pair)));
}

/// What is slow where a file system passes by what was deleted a moment ago.
fn creates(directory: &Path, n: u32) {
    let directory = open(directory);
    let names: Vec<_> = (0..n).map(|n| format!("f{n}")).collect();
    measured(|| names.iter().for_each(|name| drop(create(&directory, name))));
}

fn open(directory: &Path) -> OwnedFd {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, directory, flags, Mode::empty()).expect("the directory")
}

/// What each file of a secret is called while it is new, and then.
type Pair = [(String, String); 2];

fn pair(n: u32) -> Pair {
    ["a", "b"].map(|field| (format!(".s{n}.{field}.new"), format!("s{n}.{field}")))
}

/// As safely as the daemon: under another name, synced, renamed, and then their directory synced.
fn replace(directory: &OwnedFd, pair: &Pair) {
    let written = [&pair[0].0, &pair[1].0].map(|name| write(directory, name));
    for file in written {
        fsync(&file).expect("a sync");
    }
    for (new, name) in pair {
        renameat(directory, new, directory, name).expect("a rename");
    }
    fsync(directory).expect("a sync of the directory");
}

fn write(directory: &OwnedFd, name: &str) -> OwnedFd {
    let file = create(directory, name);
    assert_eq!(
        rustix::io::write(&file, &BYTES).expect("a write"),
        BYTES.len()
    );
    file
}

fn create(directory: &OwnedFd, name: &str) -> OwnedFd {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::from_raw_mode(0o600)).expect("a new file")
}

/// The handshake and a first read are not counted.
fn reads(line: &mut Line, token: &str, n: u32) {
    let requests: Vec<_> = (0..n).map(|n| request(token, n)).collect();
    line.ask(&requests[0]);
    measured(|| requests.iter().for_each(|request| line.ask(request)));
}

/// Once a second one of them, by turns, so that what else the machine does meets all alike. From one wake-up to
/// the next; the connections and the program's pages were used once before.
fn wakes(
    plain: &mut Line,
    tls: &mut Line,
    token: &str,
    n: usize,
    files: [&str; 2],
    directories: &[&str],
) {
    let request = request(token, 0);
    let directories: Vec<_> = directories
        .iter()
        .map(|name| (*name, open(Path::new(name))))
        .collect();
    let names = pair(0);
    let kinds = 3 + directories.len();
    let mut work = |kind: usize| match kind {
        0 => {}
        1 => {
            plain.ask(&request);
            look(files);
        }
        2 => {
            tls.ask(&request);
            look(files);
        }
        _ => {
            tls.ask(&request);
            replace(&directories[kind - 3].1, &names);
        }
    };
    (0..kinds).for_each(&mut work);
    sleep();
    for turn in 0..kinds * n {
        let (kind, used) = (turn % kinds, processor());
        work(kind);
        sleep();
        let used = processor() - used;
        match kind {
            0..3 => println!("{} {used}", ["waking", "plain", "tls"][kind]),
            _ => println!("{} {used}", directories[kind - 3].0),
        }
    }
}

fn look(files: [&str; 2]) {
    for file in files {
        let mut bytes = [0; 256];
        let read = File::open(file).and_then(|mut file| file.read(&mut bytes));
        assert!(read.expect("a file to look at") > 0);
    }
}

fn sleep() {
    std::thread::sleep(Duration::from_secs(1));
}

fn request(token: &str, n: u32) -> Vec<u8> {
    format!("GET /v1/secret/data/bench/s{n} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Token: {token}\r\n\r\n").into_bytes()
}

/// A connection that is kept.
enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    fn plain(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self::Plain(stream)
    }

    fn tls(address: &str, ca: &str) -> Self {
        let Self::Plain(stream) = Self::plain(address) else {
            unreachable!()
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).expect("the authority's certificate") {
            roots
                .add(certificate.expect("a certificate"))
                .expect("a certificate of an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = address.rsplit_once(':').expect("HOST:PORT").0.to_owned();
        let name = ServerName::try_from(host).expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        Self::Tls(Box::new(StreamOwned::new(session, stream)))
    }

    /// Sends the request, and reads the answer to its end.
    fn ask(&mut self, request: &[u8]) {
        match self {
            Self::Plain(stream) => exchange(stream, request),
            Self::Tls(stream) => exchange(stream, request),
        }
    }
}

fn exchange(stream: &mut (impl Read + Write), request: &[u8]) {
    stream.write_all(request).expect("to send");
    let (mut answer, mut filled) = ([0; 16 * 1024], 0);
    loop {
        let read = stream.read(&mut answer[filled..]).expect("an answer");
        assert!(read > 0, "the answer ended too soon, or is too long");
        filled += read;
        if length(&answer[..filled]).is_some_and(|length| filled >= length) {
            return;
        }
    }
}

/// Of the whole answer, as soon as its head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).expect("a head of text");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (_, rest) = head.split_once("Content-Length: ").expect("a length");
    let length: usize = rest.lines().next()?.parse().expect("a length");
    Some(end + 4 + length)
}
