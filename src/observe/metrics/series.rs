//! One series of a metric: its labels and its value. The library's own keep the metric's whole description
//! with each series, and make it anew for each; here a series knows the values of its labels, and what is
//! common to all stays with the metric.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Metric, MetricVec, MetricVecBuilder};
use prometheus::proto::{self, LabelPair, MetricType};
use prometheus::{DEFAULT_BUCKETS, Opts, Result};

/// The series of one metric.
pub(super) type Labelled<V> = MetricVec<Builder<V>>;

/// The names of a metric's labels.
type Names = &'static [&'static str];

/// No series yet.
///
/// # Errors
///
/// For a name that no metric or label may have.
pub(super) fn labelled<V: Value>(name: &str, help: &str, names: Names) -> Result<Labelled<V>> {
    let labels = names.iter().map(|name| (*name).to_owned()).collect();
    let options = Opts::new(name, help).variable_labels(labels);
    MetricVec::create(V::TYPE, Builder(names, PhantomData), options)
}

/// What a series holds.
pub(super) trait Value: Default + Send + Sync + 'static {
    /// What it is called on the page.
    const TYPE: MetricType;

    /// Shows it.
    fn show(&self, on: &mut proto::Metric);
}

/// One series. Clones share it.
pub(super) struct Series<V>(Arc<Held<V>>);

struct Held<V> {
    names: Names,
    labels: Box<[Box<str>]>,
    value: Mutex<V>,
}

impl<V> Series<V> {
    /// Changes its value.
    pub(super) fn update(&self, change: impl FnOnce(&mut V)) {
        change(&mut self.0.value.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<V> Clone for Series<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: Value> Metric for Series<V> {
    fn metric(&self) -> proto::Metric {
        let mut labels: Vec<LabelPair> = (self.0.names.iter().zip(&self.0.labels))
            .map(|(name, label)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(label.to_string());
                pair
            })
            .collect();
        labels.sort();
        let mut shown = proto::Metric::from_label(labels);
        let value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        value.show(&mut shown);
        shown
    }
}

/// Makes the series of one metric.
pub(super) struct Builder<V>(Names, PhantomData<fn() -> V>);

impl<V> Clone for Builder<V> {
    fn clone(&self) -> Self {
        Self(self.0, PhantomData)
    }
}

impl<V: Value> MetricVecBuilder for Builder<V> {
    type M = Series<V>;
    type P = Opts;

    fn build<L: AsRef<str>>(&self, _: &Opts, labels: &[L]) -> Result<Series<V>> {
        Ok(Series(Arc::new(Held {
            names: self.0,
            labels: labels.iter().map(|label| label.as_ref().into()).collect(),
            value: Mutex::default(),
        })))
    }
}

/// Only ever rises.
#[derive(Default)]
pub(super) struct Count(pub(super) u64);

impl Value for Count {
    const TYPE: MetricType = MetricType::COUNTER;

    fn show(&self, on: &mut proto::Metric) {
        let mut counter = proto::Counter::default();
        #[allow(clippy::cast_precision_loss)] // from 2^53 on
        counter.set_value(self.0 as f64);
        on.set_counter(counter);
    }
}

/// Any number.
#[derive(Default)]
pub(super) struct Level(pub(super) f64);

impl Value for Level {
    const TYPE: MetricType = MetricType::GAUGE;

    fn show(&self, on: &mut proto::Metric) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(self.0);
        on.set_gauge(gauge);
    }
}

/// How many values there were up to each of the usual bounds.
#[derive(Default)]
pub(super) struct Spread {
    /// In each bucket by itself, and beyond the last.
    counts: [u64; DEFAULT_BUCKETS.len() + 1],
    sum: f64,
}

impl Spread {
    /// One more.
    pub(super) fn observe(&mut self, value: f64) {
        self.counts[DEFAULT_BUCKETS.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }
}

impl Value for Spread {
    const TYPE: MetricType = MetricType::HISTOGRAM;

    fn show(&self, on: &mut proto::Metric) {
        let mut so_far = 0;
        let buckets = DEFAULT_BUCKETS
            .iter()
            .zip(&self.counts)
            .map(|(bound, count)| {
                so_far += count;
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(so_far);
                bucket
            });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.counts.iter().sum());
        histogram.set_sample_sum(self.sum);
        on.set_histogram(histogram);
    }
}
