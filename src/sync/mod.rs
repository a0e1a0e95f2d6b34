//! The engine: the main thread's event loop, one worker thread a secret, schedules, backoff,
//! state.
//!
//! The supervisor owns the plan, the workers' handles and the state. It never waits for the
//! network or for a secret's files; workers do, each for one secret alone, and tell it what
//! happened. Nothing flows back but commands.

mod crew;
mod crowd;
mod cycle;
mod event;
mod facts;
#[cfg(test)]
mod fleet;
mod futexes;
mod narrator;
mod once;
mod outlook;
mod pulse;
mod reading;
mod schedule;
mod showing;
mod signals;
mod stack;
mod state;
mod supervisor;
mod watch;
mod worker;

pub use facts::facts;
pub use once::{OnceOutcome, OncePolicy, once};
pub use outlook::Outlook;
pub use signals::{Caught, Signal, catch, listen};
pub use supervisor::{Start, Supervisor};
pub use watch::{Watch, Watched};
