//! Panics as log lines: where, and never with what. The words of a panic may quote what the code
//! was at (a slice out of bounds quotes the string), and the code is at secrets.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};

use log::LevelFilter;

/// From now on a panic is one line of the log (of stderr, before there is a log) instead of the
/// runtime's own text.
pub fn report_defects() {
    panic::set_hook(Box::new(|info| {
        let place = place(info);
        let thread = std::thread::current();
        if log::max_level() == LevelFilter::Off {
            let _ = writeln!(io::stderr(), "secrets-sync: {TEXT}: {place}");
            return;
        }
        log::error!(target: "secrets_sync", thread = thread.name().unwrap_or_default(),
            place = place.as_str(), error_type = "panic"; "{TEXT}");
    }));
}

const TEXT: &str = "a defect in this program, please report it";

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location()
        .map_or_else(String::new, ToString::to_string)
}
