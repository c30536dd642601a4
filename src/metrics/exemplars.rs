//! Exemplars: the trace of one value of a histogram's bucket, added to the text of a scrape.
//!
//! `prometheus-client` writes the exemplars of its own histograms only, which take a lock for each
//! value. They are therefore added to the bucket lines here, in the form of `OpenMetrics`:
//! `… 17 # {trace_id="4bf9…"} 0.067 1712345678.9`.

use std::{collections::HashMap, fmt};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text::encode},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    histogram::{Exemplar, Histogram},
    spec::Spec,
};

/// The end of the name in a bucket line.
const BUCKET: &str = "_bucket{";

/// A series whose buckets may have exemplars.
#[derive(Debug)]
pub(super) struct SampledSeries {
    name: &'static str,
    /// The labels as a bucket line has them after the bound, each preceded by a comma.
    labels: String,
    histogram: Histogram,
}

impl SampledSeries {
    pub(super) fn new<L>(spec: &Spec, labels: L, histogram: &Histogram) -> Self
    where
        L: EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
    {
        Self { name: spec.name, labels: encoded(labels), histogram: histogram.clone() }
    }
}

/// A metric of one series, to encode its labels.
#[derive(Debug)]
struct Labelled<L>(L);

impl<L: EncodeLabelSet> EncodeMetric for Labelled<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_family(&self.0)?.encode_gauge(&0)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// The label set in text form. The crate offers no other way than to encode a metric with it.
fn encoded<L>(labels: L) -> String
where
    L: EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
{
    let mut registry = Registry::default();
    registry.register("labels", "", Labelled(labels));
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        return String::new();
    }
    let labels = text.lines().find_map(|line| line.strip_prefix("labels{"));
    let labels = labels.and_then(|rest| rest.rsplit_once("} ")).map_or("", |(labels, _)| labels);
    if labels.is_empty() { String::new() } else { format!(",{labels}") }
}

/// Adds the exemplars of these series to the text of a scrape.
pub(super) fn add(text: String, sampled: &[SampledSeries]) -> String {
    let mut exemplars = HashMap::new();
    for SampledSeries { name, labels, histogram } in sampled {
        for (bound, value, Exemplar { trace, at }) in histogram.exemplars() {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let seconds = at as f64 / 1e6;
            let exemplar = format!(" # {{trace_id=\"{trace}\"}} {value} {seconds:.3}");
            exemplars.insert(format!("{name}{BUCKET}le=\"{bound}\"{labels}}}"), exemplar);
        }
    }
    if exemplars.is_empty() {
        return text;
    }
    let mut extended = String::with_capacity(text.len() + exemplars.len() * 100);
    for line in text.split_inclusive('\n') {
        let series = line.rsplit_once(' ').map(|(series, _)| series);
        match series.filter(|s| s.contains(BUCKET)).and_then(|s| exemplars.get(s)) {
            Some(exemplar) => {
                extended.push_str(line.trim_end());
                extended.push_str(exemplar);
                extended.push('\n');
            }
            None => extended.push_str(line),
        }
    }
    extended
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::TraceId;

    use super::*;
    use crate::metrics::{Kind, Registry, SECONDS};

    const LATENCY: Spec =
        Spec { name: "latency_seconds", kind: Kind::Histogram, labels: &[], unit: "", meaning: "" };
    const DURATION: Spec = Spec {
        name: "duration_seconds",
        kind: Kind::Histogram,
        labels: &["method", "route"],
        unit: "",
        meaning: "",
    };

    #[test]
    fn a_bucket_shows_the_trace_of_its_last_sampled_value() {
        let (latency, duration) = (Histogram::new(SECONDS), Histogram::new(SECONDS));
        let (none, labels) = ([("", ""); 0], [("method", "GET"), ("route", "a \"b\"} c")]);
        let mut registry = Registry::default();
        registry.metric(&LATENCY, &latency);
        registry.exemplars(&LATENCY, none, &latency);
        registry.family(&DURATION, [(labels, duration.clone())]);
        registry.exemplars(&DURATION, labels, &duration);

        latency.observe_with_exemplar(Duration::from_millis(2), None);
        assert!(!registry.text().unwrap().contains(" # {"), "no value was sampled");
        let at = 1_700_000_000_250_000;
        let sampled = Some(Exemplar { trace: TraceId::from(0xabc_u128), at });
        latency.observe_with_exemplar(Duration::from_millis(2), sampled);
        latency.observe_with_exemplar(Duration::from_secs(99), sampled);
        duration.observe_with_exemplar(Duration::ZERO, sampled);
        latency.observe_with_exemplar(Duration::from_millis(2), None);

        let text = registry.text().unwrap();
        let trace = format!(" # {{trace_id=\"{:032x}\"}} ", 0xabc);
        let exemplar = |series: &str| {
            let mut lines = text.lines();
            let line = lines.find(|line| line.starts_with(series)).unwrap();
            line.split_once(&trace).map(|(start, end)| (start.to_owned(), end.to_owned()))
        };
        let (start, end) = exemplar("latency_seconds_bucket{le=\"0.0025\"}").unwrap();
        assert_eq!(start, "latency_seconds_bucket{le=\"0.0025\"} 3");
        assert_eq!(end, "0.002 1700000000.250");
        assert!(exemplar("latency_seconds_bucket{le=\"+Inf\"} 4").is_some());
        assert!(exemplar("latency_seconds_bucket{le=\"0.5\"}").is_none());
        let odd = "method=\"GET\",route=\"a \\\"b\\\"} c\"";
        let series = format!("duration_seconds_bucket{{le=\"0.001\",{odd}}}");
        assert!(exemplar(&series).is_some(), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
