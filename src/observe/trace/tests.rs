use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::*;
use crate::clock::ManualClock;
use crate::config::{Environment, daemon_settings};

/// Takes a batch when the test lets it.
#[derive(Debug)]
struct Gate {
    open: Receiver<()>,
    came: Sender<Vec<String>>,
    aborted: Mutex<bool>,
}

impl Carrier for Gate {
    fn carry(&self, batch: Vec<u8>, _: Duration) -> Result<Carried, (String, bool)> {
        let request = ExportTraceServiceRequest::decode(&*batch).unwrap();
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        let names = scopes.flat_map(|scope| &scope.spans);
        let _ = self
            .came
            .send(names.map(|span| span.name.clone()).collect());
        self.open.recv().map_err(|_| ("shut".to_owned(), false))?;
        Ok(Carried {
            status: 200,
            retry_after: None,
            body: Vec::new(),
        })
    }

    fn address(&self) -> &str {
        "gate"
    }

    fn abort(&self) {
        *self.aborted.lock().unwrap() = true;
    }

    fn is_echo(&self, _: &str) -> bool {
        false
    }
}

struct Bench {
    pipeline: Pipeline,
    gate: Arc<Gate>,
    open: Sender<()>,
    came: Receiver<Vec<String>>,
}

fn bench(variables: &[(&str, &str)]) -> Bench {
    let basis = [("ENABLE_TRACING", "1"), ("OTEL_BSP_SCHEDULE_DELAY", "1")];
    let environment: Environment = basis.iter().chain(variables).copied().collect();
    let tracing = daemon_settings(&environment).unwrap().tracing.unwrap();
    let (open, opened) = bounded(100);
    let (sender, came) = bounded(100);
    let gate = Arc::new(Gate {
        open: opened,
        came: sender,
        aborted: Mutex::default(),
    });
    let carrier: Arc<dyn Carrier> = Arc::<Gate>::clone(&gate);
    Bench {
        pipeline: Pipeline::start(&tracing, carrier, Arc::new(ManualClock::new())).unwrap(),
        gate,
        open,
        came,
    }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn without_a_pipeline_there_is_nothing() {
    let mut span = root("sync");
    span.set("a", 1);
    span.failed(ErrorType::Panic, "x");
    assert!(span.ids().is_none() && !span.is_recorded());
    assert!(child("fetch").ids().is_none());
    assert!(parent().is_none() && traceparent().is_none() && told_of().is_none());
}

#[test]
fn a_thread_is_in_the_span_that_began_last_and_has_not_ended() {
    let bench = bench(&[]);
    let root = bench.pipeline.root("sync");
    let of_root = told_of();
    assert_eq!(of_root, root.ids());
    let mut fetch = child("fetch");
    assert_eq!(told_of(), fetch.ids());
    assert_ne!(fetch.ids(), root.ids());
    let (trace, span) = fetch
        .ids()
        .map(|ids| (ids.trace_id(), ids.span_id()))
        .unwrap();
    assert_eq!(root.ids().unwrap().trace_id(), trace);
    assert_eq!(traceparent(), Some(format!("00-{trace}-{span}-01")));
    let taken = parent();
    fetch.leave();
    assert_eq!(
        told_of(),
        of_root,
        "it is over, though something is made of it"
    );
    let elsewhere = std::thread::spawn(move || {
        assert!(told_of().is_none());
        let seen = {
            let _within = taken.map(Parent::enter);
            told_of()
        };
        assert!(told_of().is_none());
        seen
    });
    assert_eq!(elsewhere.join().unwrap(), fetch.ids());
    {
        let _about = about(fetch.ids());
        assert_eq!(told_of(), fetch.ids());
    }
    assert_eq!(told_of(), of_root);
    drop((fetch, root));
    assert!(told_of().is_none());
    bench.open.send(()).unwrap();
    assert_eq!(bench.came.recv_timeout(SOON).unwrap().len(), 2);
}

#[test]
fn a_panic_leaves_no_span_behind() {
    let bench = bench(&[]);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _root = bench.pipeline.root("sync");
        let _child = child("render");
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(told_of().is_none());
    bench.open.send(()).unwrap();
    let came = bench.came.recv_timeout(SOON).unwrap();
    assert_eq!(came, ["render", "sync"]);
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_nobody_waits() {
    let bench = bench(&[
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3"),
    ]);
    drop(bench.pipeline.root("first"));
    assert_eq!(bench.came.recv_timeout(SOON).unwrap(), ["first"]);
    // One is on its way, and nine may wait.
    for _ in 0..50 {
        drop(bench.pipeline.root("sync"));
    }
    for _ in 0..4 {
        bench.open.send(()).unwrap();
    }
    let sizes: Vec<_> = (0..3)
        .map(|_| bench.came.recv_timeout(SOON).unwrap().len())
        .collect();
    assert_eq!(sizes, [3, 3, 3]);
    assert_eq!(
        bench.pipeline.waiting_and_lost().1,
        0,
        "told, and so forgotten"
    );
}

#[test]
fn the_end_waits_no_longer_than_it_may_and_says_what_is_lost() {
    let bench = bench(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")]);
    for _ in 0..5 {
        drop(bench.pipeline.root("sync"));
    }
    bench.came.recv_timeout(SOON).unwrap();
    bench.pipeline.end(Duration::from_millis(10));
    assert!(*bench.gate.aborted.lock().unwrap());
    assert_eq!(bench.pipeline.waiting_and_lost(), (5, 0));
    assert!(bench.pipeline.root("late").ids().is_none());
}
