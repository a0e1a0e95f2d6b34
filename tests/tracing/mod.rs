//! A receiver of traces that takes nothing but what the protocol says (`receiver.py`), and what came to
//! it.

#![allow(
    dead_code,
    reason = "each test program uses its own part of this module"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what is for the tests; a test program exports nothing"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::commands::root;
use crate::support::{Setup, canary, process};

/// The interpreter that `make checkers` gives the protocol to.
pub fn python() -> Option<PathBuf> {
    let python = root().join(".tools/venv/bin/python3");
    let packages = std::fs::read_dir(root().join(".tools/venv/lib")).ok()?;
    let has = |package: std::fs::DirEntry| {
        let found = package.path().join("site-packages/opentelemetry/proto");
        found.is_dir()
    };
    (packages.flatten().any(has) && python.is_file()).then_some(python)
}

/// The receiver; it ends when this is dropped. A request that it did not take fails the test.
pub struct Receiver {
    child: Child,
    port: u16,
    came: Arc<(Mutex<Vec<Value>>, Condvar)>,
}

/// One span, as it came.
#[derive(Clone, Debug)]
pub struct Span(pub Value);

impl Span {
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap()
    }

    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// An attribute; null when it is absent.
    pub fn attribute(&self, key: &str) -> &Value {
        &self.0["attributes"][key]
    }

    pub fn start(&self) -> u64 {
        self.0["start"].as_u64().unwrap()
    }

    pub fn end(&self) -> u64 {
        self.0["end"].as_u64().unwrap()
    }

    /// `00-TRACE-SPAN-01`
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.text("trace_id"), self.text("span_id"))
    }
}

impl Receiver {
    /// `None` where the protocol is not to be had.
    pub fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// With TLS; see `receiver.py`.
    pub fn tls((cert, key): &(PathBuf, PathBuf), authority: &Path) -> Option<Self> {
        Self::with(&[Path::new("--tls"), cert, key, authority])
    }

    fn with(arguments: &[&Path]) -> Option<Self> {
        let mut command = process::command(&python()?);
        command
            .arg(root().join("tests/tracing/receiver.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = process::spawn(command).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let came = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let told = Arc::clone(&came);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                told.0
                    .lock()
                    .unwrap()
                    .push(serde_json::from_str(&line).unwrap());
                told.1.notify_all();
            }
        });
        Some(Self { child, port, came })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As a base.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The daemon tells this receiver, a few times a second.
    pub fn told_by(&self, setup: Setup) -> Setup {
        setup
            .env("ENABLE_TRACING", "true")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.endpoint())
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
    }

    /// All requests so far. None of them may hold a secret, or anything that is not the protocol.
    pub fn requests(&self) -> Vec<Value> {
        let requests = self.came.0.lock().unwrap().clone();
        for request in &requests {
            assert_eq!(request["fault"], Value::Null, "{request}");
            let mut shown = request.clone();
            for to_come_there in ["body", "headers", "path"] {
                shown[to_come_there].take();
            }
            canary::assert_absent("a request to the receiver of traces", &shown.to_string());
        }
        requests
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests();
        let spans = requests.iter().flat_map(|r| r["spans"].as_array().unwrap());
        spans.cloned().map(Span).collect()
    }

    /// The first root that is wanted, with all spans of its trace: the root ends last.
    pub fn trace(&self, within: Duration, wanted: impl Fn(&Span) -> bool) -> Trace {
        let end = Instant::now() + within;
        loop {
            let seen = self.came.0.lock().unwrap().len();
            let spans = self.spans();
            let root = spans
                .iter()
                .find(|span| span.text("parent").is_empty() && wanted(span));
            if let Some(root) = root {
                let id = root.text("trace_id").to_owned();
                let its = |span: &Span| span.text("trace_id") == id;
                return Trace(spans.into_iter().filter(its).collect());
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such trace among {spans:#?}");
            let came = self.came.0.lock().unwrap();
            let _ = self
                .came
                .1
                .wait_timeout_while(came, left, |came| came.len() == seen)
                .unwrap();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}

/// The spans of one trace.
#[derive(Clone, Debug)]
pub struct Trace(pub Vec<Span>);

impl Trace {
    pub fn root(&self) -> &Span {
        let root = self.0.iter().find(|span| span.text("parent").is_empty());
        root.unwrap()
    }

    /// The spans of this name, in the order of their beginnings.
    pub fn all(&self, name: &str) -> Vec<&Span> {
        let mut all: Vec<_> = self.0.iter().filter(|span| span.name() == name).collect();
        all.sort_by_key(|span| span.start());
        all
    }

    /// The only one of this name.
    pub fn one(&self, name: &str) -> &Span {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {self:#?}");
        all[0]
    }

    /// The tree: names with what is below them in brackets, in the order of their beginnings. Fails
    /// where a span's parent did not come, or does not hold its child's beginning.
    pub fn tree(&self) -> String {
        for span in &self.0 {
            let parent = span.text("parent");
            let parent = self.0.iter().find(|other| other.text("span_id") == parent);
            assert_eq!(parent.is_none(), span.text("parent").is_empty(), "{span:?}");
            if let Some(parent) = parent {
                assert!(parent.start() <= span.start(), "{parent:?} {span:?}");
                assert!(span.start() <= parent.end(), "{parent:?} {span:?}");
            }
        }
        self.below(self.root())
    }

    fn below(&self, span: &Span) -> String {
        let its = |other: &&Span| other.text("parent") == span.text("span_id");
        let mut children: Vec<_> = self.0.iter().filter(its).collect();
        children.sort_by_key(|child| (child.start(), child.end()));
        let children: Vec<_> = children.iter().map(|child| self.below(child)).collect();
        match children.as_slice() {
            [] => span.name().to_owned(),
            some => format!("{}({})", span.name(), some.join(" ")),
        }
    }
}
