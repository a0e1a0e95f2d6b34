//! When secrets that were first read together are read again.

use std::time::Duration;

use super::{Dice, Histogram, INTERVAL, MEAN, highest, lowest, number};
use crate::clock::Clock;
use crate::config::{Environment, daemon_settings};
use crate::plan::Interval;
use crate::sync::schedule::Pacing;

/// Secrets: of one host each or many on each, that is all the same here.
pub(super) const SECRETS: u64 = 50_000;

/// Refreshes that are followed, and as many as are shown: at that time the last secret has had those.
const ROUNDS: u32 = 105;
const SHOWN: u32 = 101;

/// Reads are counted in spans of so many seconds.
pub(super) const SPAN: f64 = 10.0;

/// The busiest and the quietest span of an interval, as multiples of the mean.
pub(super) struct Wave {
    pub(super) busiest: f64,
    pub(super) quietest: f64,
}

/// Reads over time, of secrets whose first read falls into the first `spread` seconds.
pub(super) struct Phases(Histogram);

impl Phases {
    pub(super) fn simulate(spread: f64) -> Self {
        let dice = Dice::seeded();
        let daemon = daemon_settings(&Environment::default()).unwrap();
        let pacing = Pacing::new(Interval::Every(Duration::from_secs_f64(INTERVAL)), &daemon);
        let mut reads = Histogram::new(SPAN, f64::from(SHOWN) * MEAN);
        for _ in 0..SECRETS {
            let mut at = dice.within(spread);
            reads.add(at);
            for _ in 0..ROUNDS {
                at += pacing.after_success(None, &dice).unwrap().as_secs_f64();
                reads.add(at);
            }
            assert!(at > f64::from(SHOWN) * MEAN, "it would be missed");
        }
        Self(reads)
    }

    /// Multiples of the mean, span by span.
    pub(super) fn between(&self, from: f64, to: f64) -> Vec<f64> {
        let mean = number(SECRETS) / MEAN;
        let rates = self.0.rates(from, to);
        rates.iter().map(|rate| rate / mean).collect()
    }

    /// In the mean interval around the refresh of that number.
    pub(super) fn wave(&self, refresh: u32) -> Wave {
        let middle = f64::from(refresh) * MEAN;
        let rates = self.between((middle - MEAN / 2.0).max(0.0), middle + MEAN / 2.0);
        Wave {
            busiest: highest(&rates),
            quietest: lowest(&rates),
        }
    }
}

#[test]
fn chance_is_even() {
    let dice = Dice::seeded();
    let drawn: Vec<f64> = (0..10_000).map(|_| dice.chance()).collect();
    let mean = drawn.iter().sum::<f64>() / 10_000.0;
    assert!((mean - 0.5).abs() < 0.01, "{mean}");
    assert!(drawn.iter().all(|part| (0.0..1.0).contains(part)));
}
