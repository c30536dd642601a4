//! The caller's part of a trace: `traceparent` of requests, `traceresponse` of answers.
//!
//! Only the ids are taken. What else a caller may send along (`tracestate`, `baggage`) is not passed on:
//! it could hold anything.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A span of somebody else's, as W3C `traceparent` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl Remote {
    /// Reads a `traceparent`; none if it is not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let known = version != "ff" && (version != "00" || parts.next().is_none());
        let shaped = lower(version, 2) && lower(trace, 32) && lower(span, 16) && lower(flags, 2);
        if !(known && shaped) {
            return None;
        }
        let trace = TraceId::from_hex(trace).ok().filter(|id| *id != TraceId::INVALID)?;
        let span = SpanId::from_hex(span).ok().filter(|id| *id != SpanId::INVALID)?;
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
        Some(Self { trace, span, flags })
    }

    /// The trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.trace.to_string()
    }

    /// Makes a span that has not been entered its child.
    pub fn adopt(&self, span: &Span) {
        let Self { trace, span: parent, flags } = *self;
        let ids = SpanContext::new(trace, parent, flags, true, TraceState::default());
        // without traces there is nothing to set
        drop(span.set_parent(Context::new().with_remote_span_context(ids)));
    }
}

#[cfg(test)]
mod tests {
    use super::Remote;

    #[test]
    fn only_valid_trace_parents_count() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        let zeros = "0".repeat(32);
        let trace_id = |text: &str| Remote::parse(text).map(|remote| remote.trace_id());
        assert_eq!(trace_id(&format!("00-{trace}-{span}-01")).as_deref(), Some(trace));
        assert_eq!(trace_id(&format!("cc-{trace}-{span}-01-more")).as_deref(), Some(trace));
        for bad in [
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{zeros}-{span}-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{span}"),
            String::new(),
        ] {
            assert_eq!(trace_id(&bad), None, "{bad}");
        }
    }
}
