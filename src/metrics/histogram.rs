//! A histogram of atomics.
//!
//! The histogram of `prometheus-client` takes a lock for each observation, which all requests would
//! share. Here the exemplar of a bucket is replaced by swapping a pointer, which only sampled
//! requests do. A scrape may see a value in its bucket before it sees it in the sum.

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

/// Bounds for durations in seconds; 0.5 is the bound of the service level objectives.
///
/// No bound of any histogram is an integer: Prometheus 3 formats those differently, and a query by
/// `le` would not match both forms.
pub const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.5, 2.5, 7.5, 30.5];

/// The sum is an integer in this fraction of the unit, so that adding to it takes no lock.
const SUM_SCALE: f64 = 1e6;

/// A sampled trace in which a value was observed.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar {
    /// The trace.
    pub trace: TraceId,
    /// The time of the observation, in microseconds since the Unix epoch.
    pub at: i64,
}

/// A histogram; a clone refers to the same one.
#[derive(Clone)]
pub struct Histogram(Arc<Inner>);

struct Inner {
    bounds: &'static [f64],
    hidden_while_empty: bool,
    /// One count for each bound and one for larger values; not cumulative.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
    /// The last sampled value of each bucket.
    exemplars: Vec<ArcSwapOption<(f64, Exemplar)>>,
}

impl Histogram {
    /// An empty histogram with these upper bounds, in ascending order.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self::build(bounds, false)
    }

    /// A histogram that a scrape shows only once it has a value.
    pub fn hidden_while_empty(bounds: &'static [f64]) -> Self {
        Self::build(bounds, true)
    }

    fn build(bounds: &'static [f64], hidden_while_empty: bool) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let exemplars = (0..=bounds.len()).map(|_| ArcSwapOption::empty()).collect();
        let sum = AtomicU64::new(0);
        Self(Arc::new(Inner { bounds, hidden_while_empty, counts, sum, exemplars }))
    }

    /// Counts a value; a negative one counts as 0.
    pub fn observe(&self, value: f64) {
        self.count(value);
    }

    /// Counts a duration, in seconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// Counts a duration given in milliseconds, in seconds.
    pub fn observe_ms(&self, milliseconds: f64) {
        self.observe(milliseconds / 1_000.0);
    }

    /// Counts a duration, in seconds, and the sampled trace in which it was measured.
    pub fn observe_with_exemplar(&self, time: Duration, exemplar: Option<Exemplar>) {
        let value = time.as_secs_f64();
        let bucket = self.count(value);
        if let (Some(exemplar), Some(last)) = (exemplar, self.0.exemplars.get(bucket)) {
            last.store(Some(Arc::new((value, exemplar))));
        }
    }

    /// Counts a value and returns its bucket.
    fn count(&self, value: f64) -> usize {
        let value = value.max(0.0);
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.sum.fetch_add((value * SUM_SCALE).round() as u64, Ordering::Relaxed);
        bucket
    }

    /// The buckets that have an exemplar: upper bound, value and exemplar.
    pub(super) fn exemplars(&self) -> impl Iterator<Item = (f64, f64, Exemplar)> {
        self.bounds().zip(&self.0.exemplars).filter_map(|(bound, exemplar)| {
            let (value, exemplar) = *exemplar.load_full()?;
            Some((bound, value, exemplar))
        })
    }

    fn bounds(&self) -> impl Iterator<Item = f64> {
        self.0.bounds.iter().copied().chain([f64::INFINITY])
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
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = self.bounds().zip(counts).collect();
        // from the same loads as the buckets, because the last cumulative bucket must equal it
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum.load(Ordering::Relaxed) as f64 / SUM_SCALE;
        // the crate's exemplars cannot be constructed outside of it; the registry adds ours
        let no_exemplars: Option<&HashMap<usize, exemplar::Exemplar<NoLabelSet, f64>>> = None;
        encoder.encode_histogram(sum, count, &buckets, no_exemplars)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.0.hidden_while_empty
            && self.0.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "sums of few digits are exact")]

    use super::*;
    use crate::metrics::{Kind, Registry, Spec};

    const SCORES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
    const SPEC: Spec =
        Spec { name: "scores", kind: Kind::Histogram, labels: &["stage"], unit: "", meaning: "" };

    fn exposed(histogram: Histogram) -> impl Fn(&str) -> f64 {
        let mut registry = Registry::default();
        registry.family(&SPEC, [([("stage", "embed")], histogram)]);
        let text = registry.text().unwrap();
        move |series| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            value.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
        }
    }

    #[test]
    fn a_bucket_includes_its_upper_bound() {
        let histogram = Histogram::new(SCORES);
        for value in [0.1, 0.100_1, 0.5, 7.0, -1.0] {
            histogram.observe(value);
        }
        let value = exposed(histogram);
        let bucket = |le: &str| value(&format!("scores_bucket{{le=\"{le}\",stage=\"embed\"}}"));
        let counts = ["0.1", "0.2", "0.4", "0.5", "0.9", "+Inf"].map(bucket);
        assert_eq!(counts, [2.0, 3.0, 3.0, 4.0, 4.0, 5.0]);
        assert_eq!(value("scores_count{stage=\"embed\"}"), 5.0);
        assert_eq!(value("scores_sum{stage=\"embed\"}"), 7.700_1);
    }

    #[test]
    fn the_observations_of_all_threads_are_counted() {
        let histogram = Histogram::new(SECONDS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| histogram.observe(0.25)));
            }
        });
        let value = exposed(histogram);
        assert_eq!(value("scores_count{stage=\"embed\"}"), 40_000.0);
        assert_eq!(value("scores_sum{stage=\"embed\"}"), 10_000.0);
    }
}
