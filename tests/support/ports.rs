//! Ports for servers that must be told theirs. Two thoughts: an OpenBao takes the port after its
//! own as well, and one that is killed and restarted must find its port free. So pairs are drawn
//! from below the range that outgoing connections use, tried by binding, and locked by a file
//! against the other test programs for as long as the guard lives.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};

const FIRST: u16 = 16_000;
const PAIRS: u16 = 1_600;
const SPACING: u16 = 10;

/// A port, and the one after it, that nobody else in these tests uses.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Reserves a port. Nothing listens on it yet: connecting to it is refused.
pub fn reserve() -> Port {
    let user = rustix::process::getuid().as_raw();
    let dir = std::env::temp_dir().join(format!("secrets-sync-test-ports-{user}"));
    fs::create_dir_all(&dir).expect("the directory of port locks");
    for _ in 0..PAIRS {
        let number = FIRST + fastrand::u16(..PAIRS) * SPACING;
        let lock = File::create(dir.join(number.to_string())).expect("a port lock");
        if lock.try_lock().is_ok() && is_free(number) && is_free(number + 1) {
            return Port {
                number,
                _lock: lock,
            };
        }
    }
    panic!(
        "no free pair of ports in {FIRST}..{}",
        FIRST + PAIRS * SPACING
    );
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
