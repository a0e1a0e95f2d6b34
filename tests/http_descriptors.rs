//! The HTTP endpoints when the process has no descriptor left. Alone in its file: it uses up what
//! all tests of a process share.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrets_sync::clock::SystemClock;
use secrets_sync::observe::http::{Board, Server};

#[test]
fn a_client_that_comes_while_there_is_no_descriptor_is_served_when_there_is() {
    let limit = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(64),
        ..limit
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let clock = Arc::new(SystemClock);
    let board = Arc::new(Board::new(clock.clone()));
    let server = Server::start("127.0.0.1:0".parse().unwrap(), board, clock).unwrap();

    // All but one, which is for the client's own end.
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.pop();
    let mut client = TcpStream::connect(server.address()).unwrap();
    assert!(File::open("/dev/null").is_err());
    client.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    // Long enough for the server to have tried in vain.
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(client.read(&mut [0; 1]).is_err());

    drop(taken);
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("{\"status\":\"healthy\"}"), "{answer}");
}
