//! The start of tracing, for the commands that sync.

use std::sync::Arc;

use log::{info, warn};

use crate::clock::Clock;
use crate::config::{Environment, Tracing};
use crate::observe::trace::{self, Carrier, Pipeline};
use crate::plan::Daemon;
use crate::store::collector::Collector;

/// Where traces will go, if anywhere.
pub(super) struct Traces(Option<(Arc<Tracing>, Arc<Collector>)>);

impl Traces {
    /// # Errors
    ///
    /// The variable that cannot be used, and why.
    pub(super) fn planned(
        daemon: &Daemon,
        environment: &Environment,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let Some(tracing) = &daemon.tracing else {
            return Ok(Self(None));
        };
        let collector = Collector::new(tracing, environment, Arc::clone(clock))?;
        Ok(Self(Some((Arc::clone(tracing), Arc::new(collector)))))
    }

    /// Starts the thread that delivers. Without one there are no traces; all else goes on.
    pub(super) fn begin(self, clock: &Arc<dyn Clock>) {
        let Some((tracing, collector)) = self.0 else {
            return;
        };
        if let Some(warning) = collector.warning() {
            warn!(target: "observe", "{warning}");
        }
        info!(target: "observe", endpoint = collector.address(); "syncs are traced");
        match Pipeline::start(&tracing, collector, Arc::clone(clock)) {
            Ok(pipeline) => trace::begin(pipeline),
            Err(error) => {
                warn!(target: "observe", "nothing is traced, for there is no thread to be had: {error}");
            }
        }
    }
}
