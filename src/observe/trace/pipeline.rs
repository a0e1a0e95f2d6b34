//! The way of the spans: from where they end, through a bounded queue, to a thread of their own that encodes
//! them and hands them to a [`Carrier`]. Whoever ends a span never waits: what finds the queue full is dropped,
//! and counted.

use std::fmt::Debug;
use std::future::{Future, ready};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::warn;
use opentelemetry::trace::{Span as _, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan,
    SpanData, SpanExporter, SpanLimits, SpanProcessor,
};
use prost::Message as _;

use super::teller::{Fault, Teller};
use super::{Anchor, CURRENT, Span};
use crate::clock::{Clock, Stop, StopSource, Tick, pause};
use crate::config::{self, Tracing};
use crate::printable::brief;

/// The first wait before a batch is sent once more; each is twice the last.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest text of a receiver that is shown, in characters.
const LONGEST: usize = 300;

/// Brings a batch to the receiver.
pub trait Carrier: Send + Sync + Debug {
    /// Sends one request, and waits for its answer.
    ///
    /// # Errors
    ///
    /// Why there is no answer, and whether it makes sense to send it once more.
    fn carry(&self, batch: Vec<u8>, within: Duration) -> Result<Carried, (String, bool)>;

    /// The receiver, as messages name it.
    fn address(&self) -> &str;

    /// Ends a request that is under way.
    fn abort(&self);

    /// Whether a text of the receiver holds a credential that was sent to it.
    fn is_echo(&self, text: &str) -> bool;
}

/// A receiver's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The status.
    pub status: u16,
    /// The wait it asks for.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// The SDK, set up.
pub struct Pipeline {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    tally: Arc<Tally>,
    carrier: Arc<dyn Carrier>,
    clock: Arc<dyn Clock>,
}

/// What the ends of the queue share.
#[derive(Debug)]
struct Tally {
    /// Ended, and neither delivered nor lost yet.
    waiting: AtomicUsize,
    /// Lost since that was last told.
    lost: AtomicUsize,
    /// Until when the last requests may take, once it comes to an end.
    last: Mutex<(Option<StopSource>, Option<Tick>)>,
}

impl Pipeline {
    /// Starts the thread that delivers. What it is called is the SDK's.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        tracing: &Tracing,
        carrier: Arc<dyn Carrier>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let (source, stop) = Stop::new();
        let tally = Arc::new(Tally {
            waiting: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            last: Mutex::new((Some(source), None)),
        });
        let exporter = Exporter {
            carrier: Arc::clone(&carrier),
            clock: Arc::clone(&clock),
            tally: Arc::clone(&tally),
            stop,
            timeout: tracing.timeout,
            resource: ResourceAttributesWithSchema::default(),
            teller: Mutex::default(),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(tracing.queue)
            .with_max_export_batch_size(tracing.batch)
            .with_scheduled_delay(tracing.delay)
            .build();
        // The SDK panics where there is no thread to be had.
        let no_thread = |_| io::Error::from(io::ErrorKind::WouldBlock);
        let inner = catch_unwind(AssertUnwindSafe(|| {
            BatchSpanProcessor::new(exporter, batches)
        }))
        .map_err(no_thread)?;
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler(tracing.sampler))
            .with_span_limits(SpanLimits::default())
            .with_resource(resource(tracing))
            .with_span_processor(Bounded {
                inner,
                tally: Arc::clone(&tally),
                most: tracing.queue,
            })
            .build();
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Ok(Self {
            tracer: provider.tracer_with_scope(scope),
            provider,
            tally,
            carrier,
            clock,
        })
    }

    pub(super) fn root(&self, name: &'static str) -> Span {
        let anchor = Anchor::here();
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(anchor.0);
        let span = self.tracer.build_with_context(builder, &Context::new());
        if !span.span_context().is_valid() {
            // It has come to its end.
            return Span::none();
        }
        CURRENT.with_borrow_mut(|current| Span::enter(span, anchor, self.tracer.clone(), current))
    }

    /// Delivers what waits, for so long at most.
    pub(super) fn end(&self, within: Duration) {
        {
            let mut last = lock(&self.tally.last);
            last.1 = Some(self.clock.now() + within);
            // Who waits to send something once more does so no longer.
            last.0 = None;
        }
        let _ = self.provider.shutdown_with_timeout(within);
        self.carrier.abort();
        let (waiting, lost) = self.waiting_and_lost();
        if waiting + lost > 0 {
            warn!(target: "observe", lost = waiting + lost;
                "the last spans were not delivered before the end");
        }
    }

    /// Spans that are not delivered yet, and those of whose loss nobody was told yet.
    pub(super) fn waiting_and_lost(&self) -> (usize, usize) {
        let of = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (of(&self.tally.waiting), of(&self.tally.lost))
    }
}

fn sampler(sampler: config::Sampler) -> Sampler {
    Sampler::ParentBased(Box::new(match sampler {
        config::Sampler::On => Sampler::AlwaysOn,
        config::Sampler::Off => Sampler::AlwaysOff,
        config::Sampler::Ratio(part) => Sampler::TraceIdRatioBased(part),
    }))
}

fn resource(tracing: &Tracing) -> Resource {
    let host = rustix::system::uname();
    let own = [
        ("service.name", tracing.service.clone()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("host.name", host.nodename().to_string_lossy().into_owned()),
    ];
    // Of one name the later counts: what people say of the host or the version.
    let own = own.map(|(name, value)| KeyValue::new(name, value));
    let said = tracing.attributes.iter();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(own)
        .with_attributes(said.map(|(name, value)| KeyValue::new(name.clone(), value.clone())))
        .build()
}

/// Lets no more spans wait than may, those that are under way included.
#[derive(Debug)]
struct Bounded {
    inner: BatchSpanProcessor,
    tally: Arc<Tally>,
    most: usize,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut SdkSpan, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.tally.waiting.fetch_add(1, Ordering::Relaxed) < self.most {
            self.inner.on_end(span);
        } else {
            self.tally.waiting.fetch_sub(1, Ordering::Relaxed);
            self.tally.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Encodes and delivers, on the SDK's thread.
struct Exporter {
    carrier: Arc<dyn Carrier>,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
    stop: Stop,
    timeout: Duration,
    resource: ResourceAttributesWithSchema,
    teller: Mutex<Teller>,
}

impl Exporter {
    fn deliver(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let outcome = self.send(&request.encode_to_vec());
        drop(request);
        self.tally.waiting.fetch_sub(spans, Ordering::Relaxed);
        let mut teller = lock(&self.teller);
        let now = self.clock.now();
        match outcome {
            Ok(body) => {
                teller.delivered();
                if let Some((refused, why)) = self.refused(&body) {
                    teller.refused(refused, &why, now);
                }
                let lost = self.tally.lost.swap(0, Ordering::Relaxed);
                if let Some(untold) = teller.dropped(lost, now) {
                    self.tally.lost.fetch_add(untold, Ordering::Relaxed);
                }
                Ok(())
            }
            Err(fault) => {
                let lost = spans + self.tally.lost.swap(0, Ordering::Relaxed);
                let ending = lock(&self.tally.last).1.is_some();
                if ending || !teller.undelivered(&fault, lost, now) {
                    self.tally.lost.fetch_add(lost, Ordering::Relaxed);
                }
                Err(OTelSdkError::InternalFailure(fault.why))
            }
        }
    }

    /// Sends it until it is taken, or the time is over; what was answered.
    fn send(&self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let until = self.clock.now() + self.timeout;
        let mut wait = FIRST_WAIT;
        loop {
            let now = self.clock.now();
            let last = lock(&self.tally.last).1;
            let left = last.map_or(until, |last| last.min(until)).since(now);
            let (fault, after) = match self.carrier.carry(body.to_vec(), left) {
                Ok(Carried {
                    status: 200..=299,
                    body,
                    ..
                }) => return Ok(body),
                Ok(answer) => (self.fault(answer.status), answer.retry_after),
                Err((why, again)) => (
                    Fault {
                        why,
                        remedy: None,
                        again,
                    },
                    None,
                ),
            };
            let pause_for = self
                .clock
                .jitter(wait, 0.5, 1.0)
                .max(after.unwrap_or_default());
            let next = self.clock.now() + pause_for;
            if !fault.again || next >= until || !pause(&*self.clock, &self.stop, next) {
                return Err(fault);
            }
            wait *= 2;
        }
    }

    fn fault(&self, status: u16) -> Fault {
        Fault {
            why: format!("`{}` answered {status}", self.carrier.address()),
            remedy: match status {
                401 | 403 => Some("set what it asks for in OTEL_EXPORTER_OTLP_HEADERS"),
                400 | 404 | 405 | 415 => Some(
                    "name the endpoint that takes OTLP over HTTP: its port is mostly 4318, its path /v1/traces",
                ),
                _ => None,
            },
            again: matches!(status, 429 | 502..=504),
        }
    }

    /// How many spans the receiver did not take, and why. An answer that it does not understand is none.
    fn refused(&self, body: &[u8]) -> Option<(usize, String)> {
        let answer = ExportTraceServiceResponse::decode(body).ok()?;
        let partial = answer.partial_success?;
        let refused = usize::try_from(partial.rejected_spans).ok()?;
        let why = brief(&partial.error_message, LONGEST);
        let why = if self.carrier.is_echo(&why) {
            String::new()
        } else {
            why.into_owned()
        };
        (refused > 0).then_some((refused, why))
    }
}

impl SpanExporter for Exporter {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        // The SDK's thread is there to wait.
        ready(self.deliver(batch))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Exporter").field(&self.carrier).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
