//! A histogram of atomics.
//!
//! That of `prometheus-client` takes a lock for each observation, which all requests would share.
//! The trace of the last sampled value of a bucket is kept by swapping a pointer; requests that are not
//! sampled never touch it. A scrape may see a value in its bucket and not yet in the sum; the next one sees both.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use opentelemetry::trace::TraceId;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric, exemplar},
};

use crate::{clock, telemetry::traces};

/// No bound is an integer: Prometheus 3 writes those another way, and a query by `le` would not
/// match both. 0.5 is the bound of the objectives.
pub(super) const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.5, 2.5, 7.5, 30.5];

/// Seconds of HTTP requests, of which there is a histogram a route: fewer, coarser.
pub(super) const REQUEST_SECONDS: &[f64] =
    &[0.0025, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.5, 5.5, 30.5];

/// Seconds of calls of models.
pub(super) const MODEL_SECONDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.5, 2.5, 5.5, 10.5, 20.5, 40.5, 80.5];

/// Tokens of a call.
pub(super) const TOKENS: &[f64] =
    &[0.5, 16.5, 64.5, 256.5, 1_024.5, 4_096.5, 16_384.5, 65_536.5, 262_144.5];

/// Events of a batch.
pub(super) const EVENTS: &[f64] = &[0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 128.5, 256.5];

/// Scores.
pub(super) const SCORES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Parts of one in which the sum is kept: an integer can be added to without a lock.
const PARTS: f64 = 1e6;

/// A histogram; a clone is the same one.
#[derive(Clone)]
pub struct Histogram(Arc<Inner>);

struct Inner {
    bounds: &'static [f64],
    /// Whether it shows only once it has a value.
    quiet: bool,
    /// One a bound, and one beyond the last; not cumulative.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
    /// The last value of each bucket that was counted in a sampled trace.
    exemplars: Vec<ArcSwapOption<Exemplar>>,
}

/// A value, and the trace it was counted in.
#[derive(Clone, Debug)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    pub(super) value: f64,
    /// When, in microseconds since 1970.
    pub(super) at: i64,
}

impl Histogram {
    /// An empty one with these upper bounds, ascending.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self::with(bounds, false)
    }

    /// An empty one of times.
    pub fn seconds() -> Self {
        Self::new(SECONDS)
    }

    /// The same, showing only once it has a value.
    pub(super) fn quiet(bounds: &'static [f64]) -> Self {
        Self::with(bounds, true)
    }

    fn with(bounds: &'static [f64], quiet: bool) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let exemplars = (0..=bounds.len()).map(|_| ArcSwapOption::empty()).collect();
        Self(Arc::new(Inner { bounds, quiet, counts, sum: AtomicU64::new(0), exemplars }))
    }

    /// Counts a value; a negative one as 0.
    pub fn observe(&self, value: f64) {
        self.count(value);
    }

    /// Counts a time in seconds, with the trace that this runs in if it is sampled.
    pub fn observe_in_trace(&self, time: Duration) {
        let value = time.as_secs_f64();
        let bucket = self.count(value);
        if let (Some(trace), Some(last)) = (traces::sampled(), self.0.exemplars.get(bucket)) {
            last.store(Some(Arc::new(Exemplar { trace, value, at: clock::now_micros() })));
        }
    }

    /// The bounds with the exemplars of their buckets.
    pub(super) fn exemplars(&self) -> impl Iterator<Item = (f64, Arc<Exemplar>)> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let exemplars = bounds.zip(&self.0.exemplars);
        exemplars.filter_map(|(bound, exemplar)| Some((bound, exemplar.load_full()?)))
    }

    /// Counts a value; gives its bucket.
    fn count(&self, value: f64) -> usize {
        let value = value.max(0.0);
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.sum.fetch_add((value * PARTS).round() as u64, Ordering::Relaxed);
        bucket
    }

    /// Counts a time in seconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// Counts a time given in milliseconds.
    pub fn observe_ms(&self, milliseconds: f64) {
        self.observe(milliseconds / 1_000.0);
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({} bounds)", self.0.bounds.len())
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // of the same loads as the buckets: the last bucket has to equal it
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum.load(Ordering::Relaxed) as f64 / PARTS;
        // those of the crate can be made by nobody else: `exemplars` adds ours
        let no_exemplars: Option<&HashMap<usize, exemplar::Exemplar<NoLabelSet, f64>>> = None;
        encoder.encode_histogram(sum, count, &buckets, no_exemplars)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.0.quiet && self.0.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }
}
