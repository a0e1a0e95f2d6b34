//! What the log says of a panic. A program of its own: the hook is the whole process's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::sync::Mutex;

use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use secrets_sync::observe::log::report_defects;

static LINES: Mutex<String> = Mutex::new(String::new());

struct Keep;

struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let _ = write!(self.0, " {key}={value}");
        Ok(())
    }
}

impl Log for Keep {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        let mut lines = LINES.lock().unwrap();
        let _ = write!(lines, "{} {}", record.level(), record.args());
        let _ = record.key_values().visit(&mut Fields(&mut lines));
    }
    fn flush(&self) {}
}

#[test]
fn a_panic_is_one_line_with_its_place_and_without_what_it_quotes() {
    log::set_boxed_logger(Box::new(Keep)).unwrap();
    log::set_max_level(LevelFilter::Trace);
    report_defects();
    // The runtime's words of this quote the string.
    let value = String::from("hunter2-ä");
    let cut = value.len() - 1;
    let thread = std::thread::Builder::new()
        .name("tls-cert".to_owned())
        .spawn(move || value[cut..].len())
        .unwrap();
    let said = thread.join().unwrap_err();
    drop(std::panic::take_hook());
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.contains("hunter2"), "{said}");
    let line = LINES.lock().unwrap();
    assert!(line.starts_with("ERROR a defect in this program"), "{line}");
    assert!(line.contains("thread=tls-cert"), "{line}");
    assert!(line.contains("place=tests/defects.rs:"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}
