//! The HTTP endpoints: health, readiness, metrics, status, and the status page. One thread of its own serves them all;
//! what is shown comes from the [`Board`], and nobody is asked.
//!
//! `tiny_http` knows how requests and responses are spelled, but its server has no limit of time,
//! size or number, spawns a thread a client, and ends for good when `accept` fails once. So its
//! vocabulary (methods, versions, headers, responses) is used behind a gate of ours: `gate` waits
//! for all sockets at once, `connection` is one client's course with its deadlines, `request`
//! reads a bounded head, `answer` says what is at a path.

mod answer;
mod board;
mod connection;
mod gate;
mod page;
mod request;

pub use board::Board;
pub use gate::Server;
