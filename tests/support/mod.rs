//! What the tests in this folder stand on: a real OpenBao, the real binary, and servers that
//! misbehave on demand. Knows the contract only, nothing of the code's insides.
//!
//! Each `tests/*.rs` is a program of its own and says `mod support;`.
//!
//! * [`OpenBao`]: `OpenBao::shared()` for most tests (give every test its own mounts by
//!   [`unique`]), `OpenBao::dev().tls().start()`, `OpenBao::sealable()`, `OpenBao::raft()` where
//!   a test stops, seals or restarts it. It is the [`Api`] of its root namespace.
//! * [`Daemon`]: the binary as a daemon ([`Setup::start`]) or for one answer ([`Setup::run`]).
//! * [`ScriptedServer`] and [`CountingProxy`]: answers from a closure; what was asked, and when.
//! * [`Certs`]: an authority and its certificates. [`ports::reserve`]: a port nobody answers on.
//! * [`canary`]: every run is searched for every secret of its test program, by itself;
//!   `canary::allow` takes one value out, with a reason.
//! * [`skip!`](crate::skip): a test that cannot run here says so, and the check counts it.
//!
//! Every run of the binary is searched for the secrets and tokens that the harness knows of.
//!
//! Every process started here dies with the test program, even when that is killed.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part of this module"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what is for the tests; a test program exports nothing"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and what it prints explains the failure"
)]

pub mod canary;
mod certs;
pub mod commands;
mod daemon;
mod http;
mod log;
mod openbao;
pub mod ports;
pub mod process;
mod proxy;
mod scripted;
mod search;
mod setup;
mod stolen;
pub mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use certs::Certs;
pub use daemon::Daemon;
pub use http::{Answer, Endpoint};
pub use log::{LogLine, Mark};
pub use openbao::{Agent, Api, OpenBao, Shared};
pub use proxy::CountingProxy;
pub use rustix::process::Signal;
pub use scripted::{Action, Request, Response, ScriptedServer};
pub use search::Search;
pub use setup::{Finished, Setup};
pub use stolen::Stolen;

/// How long a test waits for what should come at once. Generous: it is only ever used up by a
/// test that fails, and the machine may be busy with others.
pub const SOON: Duration = Duration::from_secs(20);

/// A name that no other test of this program has, such as `kv-7`.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Looks every 5 ms until `look` finds something or `within` is over. For files and `/proc`,
/// which tell nobody that they changed; logs and requests are waited for by their own events.
pub fn poll<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says that this test cannot run here, and why, past libtest's capture; `.ci/run` lists and
/// counts these lines.
pub fn skipped(place: &str, reason: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    // On a line of its own, even where libtest has begun one.
    let line = format!("\nSKIPPED {place}::{}: {reason}\n", name.unwrap_or("main"));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Ends the test as skipped: `skip!("needs root")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::support::skipped(module_path!(), &format!($($reason)+));
        return;
    }};
}
