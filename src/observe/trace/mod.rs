//! Traces: one for each sync of a secret, with a span for each of its steps, told to OpenTelemetry's SDK.
//!
//! A step is told where it happens: [`root`] and [`child`] begin a span, which ends when it is dropped.
//! The span that a thread is in is the thread's own affair, so nobody hands it through; where a step goes
//! on on another thread (the login of a session), [`parent`] takes it there. While nothing is traced all of
//! this is a look at one word of memory.
//!
//! Nothing of a secret is told but its name, where it lies and its version.

mod pipeline;
mod teller;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use crate::clock::{Clock, SystemClock, Tick};
use crate::failure::{ErrorType, Failure};
use crate::printable::brief;

pub use pipeline::{Carried, Carrier, Pipeline};

/// The longest text of a failure, in characters: thousands of spans wait at a time.
const LONGEST: usize = 1000;

/// At the end of the process the delivery of the last spans is waited for so long at most.
pub const LAST_SPANS: Duration = Duration::from_secs(1);

static PIPELINE: OnceLock<Pipeline> = OnceLock::new();

thread_local! {
    /// The span that this thread is in.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
    /// What this thread tells of at the moment, where it is another thread's.
    static ABOUT: Cell<Option<Ids>> = const { Cell::new(None) };
}

/// From now on syncs are traced, until the end of the process.
pub fn begin(pipeline: Pipeline) {
    let _ = PIPELINE.set(pipeline);
}

/// Delivers what waits, for so long at most. What ends later is not told any more.
pub fn end(within: Duration) {
    if let Some(pipeline) = PIPELINE.get() {
        pipeline.end(within);
    }
}

/// Begins a trace.
pub fn root(name: &'static str) -> Span {
    PIPELINE
        .get()
        .map_or_else(Span::none, |pipeline| pipeline.root(name))
}

/// Begins a step of what this thread is at, if that is traced.
pub fn child(name: &'static str) -> Span {
    begin_child(SpanKind::Internal, || name.into())
}

/// The same for a request to a server.
pub fn client(name: impl FnOnce() -> Cow<'static, str>) -> Span {
    begin_child(SpanKind::Client, name)
}

fn begin_child(kind: SpanKind, name: impl FnOnce() -> Cow<'static, str>) -> Span {
    CURRENT.with_borrow_mut(|current| match current {
        Some(outer) if outer.recorded => {
            let (tracer, anchor) = (&outer.tracer, outer.anchor);
            let builder = tracer
                .span_builder(name())
                .with_kind(kind)
                .with_start_time(anchor.now());
            let span = tracer.build_with_context(builder, &outer.context);
            Span::enter(span, anchor, tracer.clone(), current)
        }
        _ => Span::none(),
    })
}

/// The span that this thread is in, for another thread to go on in.
#[must_use]
pub fn parent() -> Option<Parent> {
    CURRENT.with_borrow(|current| current.clone().map(Parent))
}

/// `traceparent` for a request of what this thread is at
/// ([W3C](https://www.w3.org/TR/trace-context/#traceparent-header)).
#[must_use]
pub fn traceparent() -> Option<String> {
    CURRENT.with_borrow(|current| {
        let current = current.as_ref()?;
        let Ids { trace, span } = current.ids;
        let flags = u8::from(current.recorded);
        Some(format!("00-{}-{}-{flags:02x}", hex(&trace), hex(&span)))
    })
}

/// What a line of the log is about, if that is traced.
#[must_use]
pub fn told_of() -> Option<Ids> {
    // A line may come when a thread is about to end, and its own memory is gone.
    ABOUT.try_with(Cell::get).ok().flatten().or_else(|| {
        CURRENT
            .try_with(|current| Some(current.try_borrow().ok()?.as_ref()?.ids))
            .ok()
            .flatten()
    })
}

/// Until it is dropped, this thread's lines of the log are about that.
#[must_use]
pub fn about(ids: Option<Ids>) -> About {
    About(ABOUT.replace(ids))
}

/// See [`about`].
#[derive(Debug)]
pub struct About(Option<Ids>);

impl Drop for About {
    fn drop(&mut self) {
        let _ = ABOUT.try_with(|about| about.set(self.0));
    }
}

/// The numbers of a trace and of a span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    trace: [u8; 16],
    span: [u8; 8],
}

impl Ids {
    fn of(context: &SpanContext) -> Self {
        Self {
            trace: context.trace_id().to_bytes(),
            span: context.span_id().to_bytes(),
        }
    }

    /// The trace's, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    /// The span's, 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        hex(&self.span)
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A moment on both clocks. All times of a trace are counted from one, so that its spans stay in order
/// when somebody sets the clock.
#[derive(Clone, Copy, Debug)]
struct Anchor(SystemTime, Tick);

impl Anchor {
    fn here() -> Self {
        Self(SystemClock.wall(), SystemClock.now())
    }

    fn now(self) -> SystemTime {
        self.0 + SystemClock.now().since(self.1)
    }
}

/// What a thread is in.
#[derive(Clone)]
struct Current {
    tracer: SdkTracer,
    context: Context,
    ids: Ids,
    recorded: bool,
    anchor: Anchor,
}

/// See [`parent`].
#[derive(Clone)]
pub struct Parent(Current);

impl Parent {
    /// Whether it is that one.
    #[must_use]
    pub fn is(&self, span: &Span) -> bool {
        span.ids() == Some(self.0.ids)
    }

    /// Until what comes back is dropped, this thread is in that span.
    #[must_use]
    pub fn enter(self) -> Entered {
        Entered(CURRENT.replace(Some(self.0)))
    }
}

/// See [`Parent::enter`].
pub struct Entered(Option<Current>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// A step that is under way, or has just ended; nothing where nothing is traced.
#[must_use = "it ends when it is dropped"]
#[derive(Default)]
pub struct Span(Option<Box<Open>>);

struct Open {
    span: SdkSpan,
    anchor: Anchor,
    /// It is over, and waits for what is made of it.
    over: Option<SystemTime>,
    /// What the thread was in before.
    outer: Option<Current>,
    status: u16,
    failed: bool,
}

impl Span {
    /// Nothing.
    pub const fn none() -> Self {
        Self(None)
    }

    fn enter(
        span: SdkSpan,
        anchor: Anchor,
        tracer: SdkTracer,
        current: &mut Option<Current>,
    ) -> Self {
        let context = span.span_context().clone();
        let outer = current.replace(Current {
            tracer,
            ids: Ids::of(&context),
            recorded: context.is_sampled(),
            context: Context::new().with_remote_span_context(context),
            anchor,
        });
        Self(Some(Box::new(Open {
            span,
            anchor,
            over: None,
            outer,
            status: 0,
            failed: false,
        })))
    }

    /// Whether there is somebody to tell: what costs something to make is not made otherwise.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.span.is_recording())
    }

    /// Its numbers, recorded or not.
    #[must_use]
    pub fn ids(&self) -> Option<Ids> {
        self.0
            .as_ref()
            .map(|open| Ids::of(open.span.span_context()))
    }

    /// Adds an attribute. Each is told once.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0
            && open.span.is_recording()
        {
            open.span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// The status of an answer: one from 400 on is a failure, unless it is told to be another one.
    pub fn answered(&mut self, status: u16) {
        self.set("http.response.status_code", i64::from(status));
        if let Some(open) = &mut self.0 {
            open.status = status;
        }
    }

    /// It failed. The first failure counts.
    pub fn failed(&mut self, class: ErrorType, message: &str) {
        self.fail(|| (class.as_str().into(), brief(message, LONGEST).into_owned()));
    }

    /// It failed if the result says so.
    pub fn judge<T, E>(&mut self, result: &Result<T, E>, why: impl Fn(&E) -> &Failure) {
        if let Err(error) = result {
            let failure = why(error);
            self.failed(failure.error_type, &failure.message);
        }
    }

    fn fail(&mut self, why: impl FnOnce() -> (Value, String)) {
        if let Some(open) = &mut self.0
            && open.span.is_recording()
            && !open.failed
        {
            open.failed = true;
            let (class, message) = why();
            open.span.set_attribute(KeyValue::new("error.type", class));
            open.span.set_status(Status::error(message));
        }
    }

    /// It is over, and what is made of it is yet to be told.
    pub fn leave(&mut self) {
        if let Some(open) = &mut self.0
            && open.over.is_none()
        {
            open.over = Some(open.anchor.now());
            CURRENT.set(open.outer.take());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.leave();
        let Some(status) = self.0.as_ref().map(|open| open.status) else {
            return;
        };
        if status >= 400 {
            self.fail(|| (status.to_string().into(), String::new()));
        }
        if let Some(open) = &mut self.0
            && let Some(over) = open.over
        {
            open.span.end_with_timestamp(over);
        }
    }
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Span").field(&self.ids()).finish()
    }
}

#[cfg(test)]
mod tests;
