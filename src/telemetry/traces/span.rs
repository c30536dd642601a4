//! Helpers with which the rest of the crate creates spans and refers to the current trace.

use opentelemetry::{
    Context,
    context::FutureExt as _,
    global,
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_http::HeaderInjector;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{clock, metrics::Exemplar};

/// The target of spans that are exported.
pub const TARGET: &str = "trace";

/// The trace context of a span; `None` without a collector.
pub fn context_of(span: &Span) -> Option<SpanContext> {
    let context = span.context();
    let ids = context.span().span_context().clone();
    ids.is_valid().then_some(ids)
}

/// Marks a span as failed. Its fields `otel.status_code` and `error.type` must be declared.
pub fn failed(span: &Span, error_type: &str) {
    span.record("otel.status_code", "error");
    span.record("error.type", error_type);
}

/// Runs a future in the trace that is current now, on whichever task it is polled.
pub fn in_current_trace<F: Future>(future: F) -> impl Future<Output = F::Output> {
    future.with_current_context()
}

/// The exemplar for a value observed now: the current trace, if sampled.
pub fn exemplar() -> Option<Exemplar> {
    let trace = Context::map_current(|context| {
        let span = context.span();
        let ids = span.span_context();
        (ids.is_valid() && ids.is_sampled()).then(|| ids.trace_id())
    });
    trace.map(|trace| Exemplar { trace, at: clock::now_micros() })
}

/// Adds the current trace to the headers of a request to a provider, if the configuration allows
/// it.
pub fn inject(headers: &mut reqwest::header::HeaderMap) {
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&Context::current(), &mut HeaderInjector(headers));
    });
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    #[test]
    fn only_a_sampled_trace_is_an_exemplar() {
        let exemplar_in = |flags| {
            let (trace, span) = (TraceId::from(0xabc_u128), SpanId::from(1_u64));
            let ids = SpanContext::new(trace, span, flags, false, TraceState::default());
            let _inside = Context::new().with_remote_span_context(ids).attach();
            exemplar()
        };
        assert!(exemplar().is_none(), "no trace");
        assert!(exemplar_in(TraceFlags::default()).is_none(), "not sampled");
        let sampled = exemplar_in(TraceFlags::SAMPLED).unwrap();
        assert_eq!(sampled.trace, TraceId::from(0xabc_u128));
        let age = clock::now_micros() - sampled.at;
        assert!((-1_000_000..60_000_000).contains(&age), "{age}");
    }
}
