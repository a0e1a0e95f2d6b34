//! What may not grow, and what may not be exceeded.

use std::fmt;
use std::time::{Duration, Instant};

use crate::support::{Daemon, poll};

/// What a daemon holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    resident_kib: u64,
    threads: u64,
    /// Root alone may count those of a process that cannot be dumped.
    descriptors: Option<usize>,
}

impl Resources {
    pub(crate) fn of(daemon: &Daemon) -> Self {
        Self {
            resident_kib: daemon.rss_kib(),
            threads: daemon.threads(),
            descriptors: rustix::process::geteuid().is_root().then(|| daemon.fds()),
        }
    }

    /// Medians of three seconds, in which nothing happens but the refreshes.
    pub(crate) fn at_rest(daemon: &Daemon) -> Self {
        let mut looks = Vec::new();
        poll(Duration::from_secs(3), || {
            looks.push(Self::of(daemon));
            None::<()>
        });
        Self {
            resident_kib: median(looks.iter().map(|look| look.resident_kib)),
            threads: median(looks.iter().map(|look| look.threads)),
            descriptors: median(looks.iter().map(|look| look.descriptors)),
        }
    }

    /// Nothing has grown.
    #[track_caller]
    pub(crate) fn assert_no_more_than(&self, before: &Self) {
        assert_eq!(self.threads, before.threads, "threads");
        // Files are open for a moment at each refresh, and connections rest in the pool.
        let most = before.descriptors.map(|before| before + 8);
        assert!(
            self.descriptors <= most,
            "{:?} descriptors",
            self.descriptors
        );
        let most = before.resident_kib * 110 / 100;
        assert!(self.resident_kib <= most, "{} KiB", self.resident_kib);
    }
}

fn median<T: Ord>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<_> = values.collect();
    values.sort();
    let middle = values.len() / 2;
    values.swap_remove(middle)
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mib, threads) = (self.resident_kib as f64 / 1024.0, self.threads);
        write!(f, "{mib:.1} MiB resident, {threads} threads")?;
        match self.descriptors {
            Some(number) => write!(f, ", {number} descriptors"),
            None => Ok(()),
        }
    }
}

/// The most of these, in their order, in any span of that length.
pub(crate) fn most_within(times: &[Instant], span: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, time) in times.iter().enumerate() {
        while *time - times[first] >= span {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

/// A token bucket, as the contract states the limit on requests.
pub(crate) struct Bucket;

impl Bucket {
    /// What was in it at the least, when it gave one for each of these.
    pub(crate) fn lowest(times: &[Instant], rate: f64, burst: f64) -> f64 {
        let (mut tokens, mut lowest) = (burst, burst);
        let mut before = times.first().copied();
        for time in times {
            let passed = before.map_or(0.0, |before| (*time - before).as_secs_f64());
            before = Some(*time);
            tokens = (tokens + passed * rate).min(burst) - 1.0;
            lowest = lowest.min(tokens);
        }
        lowest
    }
}
