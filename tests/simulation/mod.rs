//! The whole engine in this process, on a clock of its own: main loop, workers, keepers, breaker,
//! limits, connections and files as in the daemon, against a Vault that runs on the same clock.
//! Months pass in seconds: whenever every thread of the process waits, the clock goes on to the next
//! moment at which one of them wants to be woken, and no further.
//!
//! * [`Sim`]: the clock, and how it is moved.
//! * [`Vault`]: the server, behind a unix socket, and all that it was asked.
//! * [`Engine`]: the daemon's inside, and what it shows.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test program uses its own part of this module"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod clock;
mod engine;
mod rest;
mod vault;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use clock::Sim;
pub use engine::{Engine, Process};
pub use vault::Vault;
pub use world::{Asked, Fault, Kind, Mood, Seen};

/// That every thread waits is asked of the whole process: one simulation at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
