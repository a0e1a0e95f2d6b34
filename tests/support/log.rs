//! What a running daemon says on standard error, line by line as it comes.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One line.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When the test read it.
    pub at: Instant,
    /// As written.
    pub raw: String,
    /// Parsed; null when it is no JSON.
    pub json: Value,
}

/// A place in the log: what was said before it is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(usize);

/// All lines so far, and word of new ones.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<LogLine>,
    ended: bool,
}

impl LogLine {
    fn new(raw: String) -> Self {
        let json = serde_json::from_str(&raw).unwrap_or_default();
        Self {
            at: Instant::now(),
            raw,
            json,
        }
    }

    /// A field as text; empty when it is absent or no text.
    pub fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_default()
    }

    /// The message.
    pub fn msg(&self) -> &str {
        self.text("msg")
    }

    /// Whether the field is there and is this text.
    pub fn has(&self, field: &str, text: &str) -> bool {
        self.json[field].as_str() == Some(text)
    }
}

impl Log {
    /// Follows `from` to its end, on a thread of its own.
    pub(super) fn follow(from: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n') {
                let Ok(line) = line else { break };
                writer.push(LogLine::new(String::from_utf8_lossy(&line).into_owned()));
            }
            writer.0.state.lock().unwrap().ended = true;
            writer.0.grown.notify_all();
        });
        log
    }

    fn push(&self, line: LogLine) {
        self.0.state.lock().unwrap().lines.push(line);
        self.0.grown.notify_all();
    }

    pub(super) fn lines(&self) -> Vec<LogLine> {
        self.0.state.lock().unwrap().lines.clone()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.0.state.lock().unwrap().lines.len())
    }

    /// The first line from `mark` on that `wanted` takes; `None` when the log ended or the time is
    /// over.
    pub(super) fn wait(
        &self,
        mark: Mark,
        within: Duration,
        wanted: impl Fn(&LogLine) -> bool,
    ) -> Option<LogLine> {
        let end = Instant::now() + within;
        let mut seen = mark.0;
        let mut state = self.0.state.lock().unwrap();
        loop {
            if let Some(line) = state.lines.iter().skip(seen).find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = state.lines.len().max(seen);
            let left = end.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self.0.grown.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits until the writer has closed its end.
    pub(super) fn wait_for_end(&self, within: Duration) {
        let state = self.0.state.lock().unwrap();
        drop(
            self.0
                .grown
                .wait_timeout_while(state, within, |state| !state.ended)
                .unwrap(),
        );
    }

    /// Everything, for a message about a failure.
    pub(super) fn text(&self) -> String {
        let lines = self.lines();
        lines.iter().map(|line| format!("{}\n", line.raw)).collect()
    }
}
