//! A fleet of hosts, each with the schedule and the breaker of a daemon as they are: when its requests reach
//! the server. The figures and charts of docs/scaling.md are made here, from a fixed seed, and a test
//! compares; `make phases` writes them anew.

mod chart;
mod page;
mod phases;
mod recovery;

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, never};

use crate::clock::{Clock, Interest, Tick};

/// The interval by default, in seconds.
const INTERVAL: f64 = 300.0;

/// The mean of what is drawn from 0.9 to 1.0 of it.
const MEAN: f64 = 0.95 * INTERVAL;

/// Chance from a seed, the same on every machine (SplitMix64); time is the simulation's own.
struct Dice(AtomicU64);

impl Dice {
    fn seeded() -> Self {
        Self(AtomicU64::new(20_261_124))
    }

    /// A random part of a time.
    fn within(&self, seconds: f64) -> f64 {
        seconds * self.chance()
    }
}

impl Clock for Dice {
    fn now(&self) -> Tick {
        Tick::default()
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn alarm(&self, _: Tick) -> Receiver<Instant> {
        never()
    }
    fn ready(&self, _: BorrowedFd<'_>, _: Interest, _: Option<Tick>) -> std::io::Result<bool> {
        Ok(false)
    }
    fn chance(&self) -> f64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        // The 53 bits that a number of this kind holds.
        #[allow(clippy::cast_precision_loss)]
        let part = (z >> 11) as f64;
        part / 9_007_199_254_740_992.0
    }
}

/// Moments counted in spans of equal length.
struct Histogram {
    span: f64,
    counts: Vec<u64>,
}

impl Histogram {
    fn new(span: f64, until: f64) -> Self {
        Self {
            span,
            counts: vec![0; index(until / span) + 1],
        }
    }

    fn add(&mut self, at: f64) {
        if let Some(count) = self.counts.get_mut(index(at / self.span)) {
            *count += 1;
        }
    }

    /// Counts a second in the spans from one moment to another.
    fn rates(&self, from: f64, to: f64) -> Vec<f64> {
        let spans = index(from / self.span)..index(to / self.span).min(self.counts.len());
        self.counts[spans]
            .iter()
            .map(|count| number(*count) / self.span)
            .collect()
    }
}

fn highest(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

fn lowest(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(f64::INFINITY, f64::min)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small, and not negative
fn index(at: f64) -> usize {
    at as usize
}

#[allow(clippy::cast_precision_loss)] // counts of a simulation
fn number(count: u64) -> f64 {
    count as f64
}

fn tick(seconds: f64) -> Tick {
    Tick::from_start(Duration::from_secs_f64(seconds))
}
