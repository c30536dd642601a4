//! The registry: every metric with all its series, and their text for a scrape.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text::encode},
    metrics::{MetricType, TypedMetric, info::Info},
    registry::Registry as Inner,
};

use super::{
    exemplars::{self, SampledSeries},
    histogram::Histogram,
    spec::{Kind, Spec},
};

/// All metrics that a scrape shows.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Inner,
    sampled: Vec<SampledSeries>,
}

/// The series of one metric.
#[derive(Debug)]
struct Series<L, M>(Vec<(L, M)>);

impl<L, M> EncodeMetric for Series<L, M>
where
    L: EncodeLabelSet,
    M: EncodeMetric + TypedMetric,
{
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

impl Registry {
    /// Registers a metric without labels.
    pub fn metric<M>(&mut self, spec: &Spec, metric: &M)
    where
        M: EncodeMetric + Clone + fmt::Debug + Send + Sync + 'static,
    {
        self.inner.register(stem(spec), spec.meaning, metric.clone());
    }

    /// Registers a metric with all its series. A label set must encode the labels of `spec`, in
    /// order.
    pub fn family<L, M>(&mut self, spec: &Spec, series: impl IntoIterator<Item = (L, M)>)
    where
        L: EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
        M: EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static,
    {
        self.inner.register(stem(spec), spec.meaning, Series(series.into_iter().collect()));
    }

    /// Registers a metric whose value is its labels.
    pub fn info<const N: usize>(&mut self, spec: &Spec, labels: [(&'static str, &'static str); N]) {
        self.inner.register(stem(spec), spec.meaning, Info::new(labels));
    }

    /// Adds the exemplars of a series, which is registered like any other, to the text.
    pub fn exemplars<L>(&mut self, spec: &Spec, labels: L, series: &Histogram)
    where
        L: EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
    {
        self.sampled.push(SampledSeries::new(spec, labels, series));
    }

    /// All metrics as `OpenMetrics` text.
    ///
    /// # Errors
    /// Fails if a metric cannot be encoded, which is a defect.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.inner)?;
        Ok(exemplars::add(text, &self.sampled))
    }
}

/// The name without the suffix that the encoder adds.
fn stem(spec: &Spec) -> &'static str {
    let suffix = match spec.kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram => "",
    };
    spec.name.strip_suffix(suffix).unwrap_or(spec.name)
}
