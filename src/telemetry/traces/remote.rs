//! The caller's span, from the header `traceparent` (W3C Trace Context).
//!
//! Only the ids are used. `tracestate` and `baggage` are not passed on, because they may contain
//! anything.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The span of the caller, which becomes the parent of the request's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteParent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl RemoteParent {
    /// Parses a `traceparent`; `None` if it is not valid.
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

    /// The trace id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.trace.to_string()
    }

    /// Makes `span`, which must not have been entered yet, a child of this one.
    pub fn adopt(&self, span: &Span) {
        let Self { trace, span: parent, flags } = *self;
        let ids = SpanContext::new(trace, parent, flags, true, TraceState::default());
        // fails without a collector, when the span has no context
        drop(span.set_parent(Context::new().with_remote_span_context(ids)));
    }
}

#[cfg(test)]
mod tests {
    use super::RemoteParent;

    #[test]
    fn only_a_valid_traceparent_is_parsed() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        let zeros = "0".repeat(32);
        let trace_id = |text: &str| RemoteParent::parse(text).map(|parent| parent.trace_id());
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
