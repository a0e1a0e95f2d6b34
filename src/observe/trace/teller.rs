//! What the log is told of the delivery of traces: a line when it begins to fail, then at most one in five
//! minutes, and one when it goes on.

use log::{info, warn};

use crate::clock::Tick;
use crate::observe::quiet::EVERY;

/// Why a batch was not taken.
pub(super) struct Fault {
    pub(super) why: String,
    pub(super) remedy: Option<&'static str>,
    /// It makes sense to send it once more.
    pub(super) again: bool,
}

/// Tells the log, of each trouble at most once in [`EVERY`].
#[derive(Debug, Default)]
pub(super) struct Teller {
    undelivered: Option<Tick>,
    refused: Option<Tick>,
    dropped: Option<Tick>,
    /// The log thinks that nothing is delivered.
    is_broken: bool,
    repeated: usize,
    untold: usize,
}

impl Teller {
    /// Whether it was told.
    pub(super) fn undelivered(&mut self, fault: &Fault, lost: usize, now: Tick) -> bool {
        if !is_due(&mut self.undelivered, now) {
            self.repeated += 1;
            return false;
        }
        self.is_broken = true;
        let repeated = std::mem::take(&mut self.repeated);
        warn!(target: "observe", error = *fault.why, remedy = fault.remedy, lost,
            repeated = (repeated > 0).then_some(repeated);
            "traces are not delivered; the secrets are not concerned");
        true
    }

    pub(super) fn delivered(&mut self) {
        if std::mem::take(&mut self.is_broken) {
            info!(target: "observe", "traces are delivered again");
        }
    }

    pub(super) fn refused(&mut self, spans: usize, why: &str, now: Tick) {
        self.untold += spans;
        if is_due(&mut self.refused, now) {
            let lost = std::mem::take(&mut self.untold);
            warn!(target: "observe", lost, error = Some(why).filter(|why| !why.is_empty());
                "the receiver of traces did not take some spans");
        }
    }

    /// What is yet to be told.
    pub(super) fn dropped(&mut self, spans: usize, now: Tick) -> Option<usize> {
        if spans > 0 && is_due(&mut self.dropped, now) {
            warn!(target: "observe", lost = spans,
                remedy = "record fewer traces (OTEL_TRACES_SAMPLER), or raise OTEL_BSP_MAX_QUEUE_SIZE";
                "spans were dropped: more ended than could be delivered");
            return None;
        }
        Some(spans)
    }
}

fn is_due(told: &mut Option<Tick>, now: Tick) -> bool {
    let due = told.is_none_or(|told| now.since(told) >= EVERY);
    if due {
        *told = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_same_trouble_is_told_once_in_five_minutes_whatever_comes_between() {
        let mut teller = Teller::default();
        let at = |seconds| Tick::from_start(Duration::from_secs(seconds));
        let fault = Fault {
            why: "no".to_owned(),
            remedy: None,
            again: true,
        };
        assert!(teller.undelivered(&fault, 1, at(10)));
        assert!(!teller.undelivered(&fault, 1, at(11)));
        teller.delivered();
        assert!(!teller.is_broken);
        assert!(!teller.undelivered(&fault, 1, at(309)));
        assert!(!teller.is_broken, "nobody is told of its end");
        assert!(teller.undelivered(&fault, 1, at(310)));
        assert_eq!(teller.dropped(0, at(0)), Some(0));
        assert_eq!(teller.dropped(3, at(0)), None);
        assert_eq!(teller.dropped(3, at(299)), Some(3));
        assert_eq!(teller.dropped(6, at(300)), None);
    }
}
