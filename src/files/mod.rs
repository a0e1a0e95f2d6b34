//! Bytes in, files on disk: path rules, staging, commit, comparison and clean-up.
//!
//! Walks by directory handles, creates exclusively, syncs, renames; never follows a link it does
//! not trust. Knows nothing of servers, templates or schedules, and never logs.

mod error;
mod owner;
mod sweep;
mod target;
mod writer;

pub use error::WriteError;
pub use owner::{parse_group, parse_user};
pub use sweep::{Swept, sweep};
pub use target::{Mode, Target, TargetPath};
pub use writer::{Change, Committed, NewFile, Writer};
