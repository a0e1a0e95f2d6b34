//! Where the supervisor shows the state.
use crate::clock::Tick;
use crate::observe::{Metrics, StatusDocument};
use std::sync::Arc;
/// x
#[allow(missing_docs)]
pub struct Outlook {
    metrics: Arc<Metrics>,
}
#[allow(missing_docs)]
impl Outlook {
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
    pub fn turn(&mut self, _now: Tick) -> bool {
        false
    }
    pub fn notices(&self) -> Vec<String> {
        Vec::new()
    }
    pub fn show(&mut self, _d: StatusDocument, _now: Tick) {}
    pub fn reloading(&mut self, _now: Tick) {}
    pub fn reloaded(&mut self) {}
    pub fn stopping(&mut self) {}
    pub fn close(&mut self, _d: StatusDocument, _now: Tick) {}
}
