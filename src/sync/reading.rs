//! A configuration that is being read, on a thread of its own: its file, and what the plan of it looks at, may lie
//! on a disk that hangs, and the main loop goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::clock::Tick;
use crate::config::Environment;
use crate::plan::{self, Daemon, Plan, Purpose};
use crate::sandbox::Sandbox;

/// That of a main thread: parsers go by the nesting of what they read.
const STACK: usize = 8 << 20;

/// One that takes longer is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read, and by whose rules.
pub(super) struct Sheet {
    pub(super) file: PathBuf,
    pub(super) environment: Arc<Environment>,
    pub(super) daemon: Arc<Daemon>,
    pub(super) sandbox: Option<Arc<Sandbox>>,
}

/// A plan, or why it is refused.
pub(super) type Read = Result<Plan, String>;

/// It is being read.
pub(super) struct Reading {
    done: Receiver<Read>,
    /// When it is to be told that it takes long; `None` once that was done.
    late_at: Option<Tick>,
    /// It was asked for once more meanwhile: what is read now may be what was there before.
    pub(super) again: bool,
}

impl Reading {
    /// Begins to read. Where the system gives no thread it is read at once, by whoever asks.
    pub(super) fn begin(sheet: Sheet, now: Tick) -> Self {
        let (sender, done) = bounded(1);
        let sheet = Arc::new(sheet);
        let reader = {
            let (sheet, sender) = (Arc::clone(&sheet), sender.clone());
            move || drop(sender.send(sheet.read()))
        };
        let thread = thread::Builder::new().name("reload".into());
        if thread.stack_size(STACK).spawn(reader).is_err() {
            let _ = sender.send(sheet.read());
        }
        Self {
            done,
            late_at: Some(now + PATIENCE),
            again: false,
        }
    }

    /// Gets the result; closes without one by a defect.
    pub(super) fn done(&self) -> Receiver<Read> {
        self.done.clone()
    }

    /// Whether it is to be told, now and once, that it takes long.
    pub(super) fn is_late(&mut self, now: Tick) -> bool {
        self.late_at.take_if(|at| now >= *at).is_some()
    }
}

impl Sheet {
    fn read(&self) -> Read {
        let plan = plan::load_again(&self.file, &self.environment, Purpose::Run)
            .map_err(|problems| problems.to_string().trim_end().to_owned())?;
        let refused = self
            .sandbox
            .as_ref()
            .and_then(|sandbox| sandbox.refuses(&plan, &self.daemon));
        match refused {
            None => Ok(plan),
            Some(why) => Err(why),
        }
    }
}
