//! What one rendering may use, and where its output goes.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use handlebars::{Output, RenderErrorReason};

use crate::render::buffer::{Buffer, TooLarge};
use crate::render::{Limits, RenderError};
use crate::secret::SecretBytes;

/// A value on the way may be larger than the file, but not much: a field is picked out of it.
const LARGEST_VALUE: usize = 16 << 20;

/// The limits of one rendering, and the first thing that went wrong in it.
pub(super) struct Budget {
    limits: Limits,
    fault: Mutex<Option<RenderError>>,
    missing: Mutex<Option<String>>,
}

/// What a helper cannot do; the budget turns it into the error of the whole rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            fault: Mutex::new(None),
            missing: Mutex::new(None),
        }
    }

    /// One step: is there time left?
    pub(super) fn step(&self) -> Result<(), Fault> {
        if Instant::now() < self.limits.deadline {
            return Ok(());
        }
        Err(Fault::new("rendering takes too long")
            .help("the template's loops multiply: let it do less"))
    }

    /// Whether a value of so many bytes may be made.
    pub(super) fn room(&self, bytes: Option<usize>) -> Result<(), Fault> {
        self.large(bytes.filter(|bytes| *bytes <= self.largest()))?;
        Ok(())
    }

    /// What was made, if it was not too large.
    pub(super) fn large<T>(&self, made: Option<T>) -> Result<T, Fault> {
        made.ok_or_else(|| {
            Fault::new(format!(
                "a value would be larger than {} bytes",
                self.largest()
            ))
            .help("let the template make less of it, or raise `limits.maxFileBytes`")
        })
    }

    /// The largest value on the way.
    pub(super) fn largest(&self) -> usize {
        LARGEST_VALUE.max(self.limits.max_bytes)
    }

    /// The most bytes of output.
    pub(super) fn most(&self) -> usize {
        self.limits.max_bytes
    }

    /// What to say when there are more.
    pub(super) fn full(&self) -> Fault {
        let RenderError { message, help } = Buffer::full(self.limits.max_bytes);
        Fault { message, help }
    }

    /// Remembers what went wrong first, and gives the engine its error.
    pub(super) fn fail(&self, fault: Fault) -> handlebars::RenderError {
        let mut first = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(RenderError {
            message: fault.message,
            help: fault.help,
        });
        RenderErrorReason::Other(String::new()).into()
    }

    /// The first thing that went wrong.
    pub(super) fn fault(&self) -> Option<RenderError> {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Remembers the name of what `index` did not find, should somebody ask.
    pub(super) fn note_missing(&self, name: String) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    }

    /// The name noted last.
    pub(super) fn missing(&self) -> String {
        self.missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .unwrap_or_default()
    }
}

/// The output of one rendering.
pub(super) struct Sink<'b> {
    budget: &'b Budget,
    buffer: Buffer,
}

impl<'b> Sink<'b> {
    pub(super) fn new(budget: &'b Budget) -> Self {
        Self {
            budget,
            buffer: Buffer::new(budget.limits.max_bytes),
        }
    }

    pub(super) fn into_bytes(self) -> SecretBytes {
        self.buffer.into_bytes()
    }
}

impl Output for Sink<'_> {
    fn write(&mut self, text: &str) -> Result<(), io::Error> {
        let done = self.budget.step().and_then(|()| {
            self.buffer
                .push(text.as_bytes())
                .map_err(|TooLarge| self.budget.full())
        });
        done.map_err(|fault| {
            self.budget.fail(fault);
            io::Error::other("")
        })
    }
}
