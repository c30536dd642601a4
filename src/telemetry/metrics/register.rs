//! Registering metrics of the contract: each with all its series, at once and for good.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric, counter::Counter, gauge::Gauge, info::Info},
    registry::Registry,
};

use super::{
    Histogram,
    contract::{Kind, Spec},
    exemplars::{self, Traced},
};

/// The labels of one series, with their values.
pub type Labels = Vec<(&'static str, String)>;

/// A gauge of reals.
pub type Real = Gauge<f64, std::sync::atomic::AtomicU64>;

/// A counter of reals.
pub type Amount = Counter<f64, std::sync::atomic::AtomicU64>;

/// The registry. Its lock is taken to register and to scrape, never to count.
#[derive(Debug, Default)]
pub struct Register {
    registry: Mutex<Registry>,
    traced: Mutex<Vec<Traced>>,
}

/// All series of a metric. The list never changes, so counting looks nothing up and locks nothing.
#[derive(Debug)]
struct Series<M>(Vec<(Labels, M)>);

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Series<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, metric) in &self.0 {
            if !metric.is_empty() {
                metric.encode(encoder.encode_family(labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

impl Register {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traces(&self) -> MutexGuard<'_, Vec<Traced>> {
        self.traced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a metric without labels.
    pub fn one<M>(&self, spec: &Spec, metric: M) -> M
    where
        M: EncodeMetric + TypedMetric + Clone + fmt::Debug + Send + Sync + 'static,
    {
        self.registry().register(stem(spec), spec.meaning, metric.clone());
        metric
    }

    /// Registers a metric with all its series.
    pub fn series<M>(&self, spec: &Spec, series: Vec<(Labels, M)>)
    where
        M: EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static,
    {
        debug_assert!(
            series
                .iter()
                .all(|(labels, _)| labels.iter().map(|l| l.0).eq(spec.labels.iter().copied())),
            "labels of {}",
            spec.name
        );
        self.registry().register(stem(spec), spec.meaning, Series(series));
    }

    /// Shows the traces of these series, which are registered as any others.
    pub fn traced(&self, spec: &Spec, series: &[(Labels, Histogram)]) {
        let traced = series.iter().map(|(labels, histogram)| Traced::new(spec, labels, histogram));
        self.traces().extend(traced);
    }

    /// Registers what says something in its labels.
    pub fn info(&self, spec: &Spec, labels: Labels) {
        self.registry().register(stem(spec), spec.meaning, Info::new(labels));
    }

    /// Registers a metric with one label, and gives its series in the order of the values.
    pub fn by<M>(&self, spec: &Spec, values: &[&str], make: impl Fn() -> M) -> Vec<M>
    where
        M: EncodeMetric + TypedMetric + Clone + fmt::Debug + Send + Sync + 'static,
    {
        let label = spec.labels.first().copied().unwrap_or_default();
        let series: Vec<(Labels, M)> =
            values.iter().map(|value| (vec![(label, (*value).to_owned())], make())).collect();
        let metrics = series.iter().map(|(_, metric)| metric.clone()).collect();
        self.series(spec, series);
        metrics
    }

    /// Everything registered, as `OpenMetrics` text.
    ///
    /// # Errors
    /// When a metric cannot be written, which is a defect.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry())?;
        Ok(exemplars::add(text, &self.traces()))
    }
}

/// The name without what the encoder adds.
fn stem(spec: &Spec) -> &'static str {
    let suffix = match spec.kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram => "",
    };
    spec.name.strip_suffix(suffix).unwrap_or(spec.name)
}

/// A histogram maker, for [`Register::by`].
pub(super) fn histogram(bounds: &'static [f64]) -> impl Fn() -> Histogram {
    move || Histogram::new(bounds)
}
