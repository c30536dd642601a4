//! Exemplars: the trace of one value of a bucket, added to the text of a scrape.
//!
//! `prometheus-client` writes exemplars of its own histograms only, which take a lock for each value. So
//! they are added to the lines of buckets here, in the form of `OpenMetrics`:
//! `… 17 # {trace_id="4bf9…"} 0.067 1712345678.9`.

use std::collections::HashMap;

use super::{Histogram, contract::Spec, register::Labels};

/// What the lines of buckets have in their names.
const BUCKET: &str = "_bucket{";

/// A series whose buckets may have exemplars.
#[derive(Debug)]
pub(super) struct Traced {
    name: &'static str,
    /// As the lines of its buckets have them after the bound, each with a comma before it.
    labels: String,
    histogram: Histogram,
}

impl Traced {
    pub(super) fn new(spec: &Spec, labels: &Labels, histogram: &Histogram) -> Self {
        let labels = labels.iter().map(|(name, value)| format!(",{name}=\"{value}\""));
        Self { name: spec.name, labels: labels.collect(), histogram: histogram.clone() }
    }
}

/// The text of a scrape with the exemplars there are.
pub(super) fn add(text: String, traced: &[Traced]) -> String {
    let mut exemplars = HashMap::new();
    for Traced { name, labels, histogram } in traced {
        for (bound, exemplar) in histogram.exemplars() {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let seconds = exemplar.at as f64 / 1e6;
            let trace =
                format!(" # {{trace_id=\"{}\"}} {} {seconds:.3}", exemplar.trace, exemplar.value);
            exemplars.insert(format!("{name}{BUCKET}le=\"{bound}\"{labels}}}"), trace);
        }
    }
    if exemplars.is_empty() {
        return text;
    }
    let mut told = String::with_capacity(text.len() + exemplars.len() * 100);
    for line in text.split_inclusive('\n') {
        let series = line.rsplit_once(' ').map(|(series, _)| series);
        let exemplar = series.filter(|s| s.contains(BUCKET)).and_then(|s| exemplars.get(s));
        match exemplar {
            Some(exemplar) => {
                told.push_str(line.trim_end());
                told.push_str(exemplar);
                told.push('\n');
            }
            None => told.push_str(line),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
    };

    use crate::telemetry::metrics::{Metrics, Scope};

    fn within(flags: TraceFlags, act: impl FnOnce()) {
        let (trace, span) = (TraceId::from(0xabc_u128), SpanId::from(1_u64));
        let ids = SpanContext::new(trace, span, flags, false, TraceState::default());
        let _inside = Context::new().with_remote_span_context(ids).attach();
        act();
    }

    #[test]
    fn buckets_show_the_trace_of_their_last_sampled_value() {
        let metrics = Metrics::new(&Scope::default());
        let latency = &metrics.steps.latency;
        within(TraceFlags::default(), || latency.observe_in_trace(Duration::from_millis(2)));
        let text = || metrics.register.text().unwrap();
        assert!(!text().contains(" # {"), "not sampled");
        within(TraceFlags::SAMPLED, || {
            latency.observe_in_trace(Duration::from_millis(2));
            latency.observe_in_trace(Duration::from_secs(99));
            metrics.http.answered(None, "GET", 404, Duration::ZERO);
        });
        latency.observe_in_trace(Duration::from_millis(2));
        let text = text();
        let trace = format!(" # {{trace_id=\"{:032x}\"}} ", 0xabc);
        let of = |series: &str| {
            let mut lines = text.lines();
            let line = lines.find(|line| line.starts_with(series)).unwrap();
            line.split_once(&trace).map(|(start, end)| (start.to_owned(), end.to_owned()))
        };
        let (start, end) = of("mlsdm_latency_seconds_bucket{le=\"0.0025\"}").unwrap();
        assert_eq!(start, "mlsdm_latency_seconds_bucket{le=\"0.0025\"} 3");
        let (value, at) = end.split_once(' ').unwrap();
        let age = crate::clock::now_micros() as f64 / 1e6 - at.parse::<f64>().unwrap();
        assert!(value == "0.002" && (-1.0..60.0).contains(&age), "{end}");
        assert!(of("mlsdm_latency_seconds_bucket{le=\"+Inf\"} 4").is_some());
        assert!(of("mlsdm_latency_seconds_bucket{le=\"0.5\"}").is_none());
        let unmatched = "http_request_method=\"GET\",http_route=\"unmatched\"";
        let series =
            format!("http_server_request_duration_seconds_bucket{{le=\"0.0025\",{unmatched}}}");
        assert!(of(&series).is_some());
        assert!(text.ends_with("# EOF\n"));
    }
}
