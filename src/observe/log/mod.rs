//! The log: one record a line on stderr, as JSON or for people. Of other crates only warnings are
//! taken, since what they tell below that is the traffic itself.

mod defects;
mod format;
mod sink;

use std::io::Write;
use std::sync::Arc;

use ::log::LevelFilter;

use crate::clock::Clock;

pub use defects::report_defects;
pub use sink::Sink;

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people at a terminal.
    Text,
}

/// The targets of our own lines: the rooms of this crate.
const ROOMS: [&str; 9] = [
    "secrets_sync",
    "cli",
    "config",
    "files",
    "http",
    "observe",
    "store",
    "sandbox",
    "sync",
];

/// Starts the log on stderr. A second call changes nothing.
pub fn init(level: LevelFilter, format: Format, clock: Arc<dyn Clock>) {
    let _ = builder(level, format, clock).try_init();
}

fn builder(level: LevelFilter, format: Format, clock: Arc<dyn Clock>) -> env_logger::Builder {
    let line: fn(std::time::SystemTime, &::log::Record<'_>) -> String = match format {
        Format::Json => format::json,
        Format::Text => format::text,
    };
    let mut builder = env_logger::Builder::new();
    for room in ROOMS {
        builder.filter_module(room, level);
    }
    builder
        .filter_level(level.min(LevelFilter::Warn))
        .target(env_logger::Target::Pipe(Box::new(Sink::stderr())))
        .format(move |out, record| out.write_all(line(clock.wall(), record).as_bytes()));
    builder
}

#[cfg(test)]
mod tests {
    use ::log::{Level, Record};

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn other_crates_are_heard_from_warnings_up() {
        let logger = builder(
            LevelFilter::Trace,
            Format::Json,
            Arc::new(ManualClock::new()),
        )
        .build();
        let heard = |target: &str, level: Level| {
            logger.matches(&Record::builder().target(target).level(level).build())
        };
        assert!(heard("secrets_sync::sync", Level::Trace));
        assert!(heard("sync", Level::Debug));
        assert!(heard("ureq", Level::Warn));
        assert!(!heard("ureq::run", Level::Info));
        assert!(!heard("rustls", Level::Debug));
    }

    #[test]
    fn a_quieter_level_quietens_the_others_too() {
        let logger = builder(
            LevelFilter::Error,
            Format::Text,
            Arc::new(ManualClock::new()),
        )
        .build();
        let record = Record::builder().target("ureq").level(Level::Warn).build();
        assert!(!logger.matches(&record));
        assert_eq!(logger.filter(), LevelFilter::Error);
    }
}
