//! The sampler of requests.
//!
//! The caller's sampling flag is honoured only if callers are trusted. Otherwise the decision is
//! random and does not depend on the trace id, which the caller chooses. Spans below the request
//! follow its decision.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, SpanRef, TraceContextExt as _, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::{
    config::{self, TraceSampler},
    ids,
};

/// Decides for each request.
#[derive(Clone, Debug)]
pub(super) struct RequestSampler {
    /// The share of sampled requests, 0 to 1.
    share: f64,
    /// True if the caller's flag decides.
    follows_caller: bool,
    random: fn() -> u32,
}

impl RequestSampler {
    pub(super) fn new(config: &config::Traces) -> Self {
        let (share, parent_based) = match config.sampler {
            TraceSampler::AlwaysOn => (1.0, false),
            TraceSampler::AlwaysOff => (0.0, false),
            TraceSampler::Traceidratio => (config.sampler_arg, false),
            TraceSampler::ParentbasedAlwaysOn => (1.0, true),
            TraceSampler::ParentbasedAlwaysOff => (0.0, true),
            TraceSampler::ParentbasedTraceidratio => (config.sampler_arg, true),
        };
        Self {
            share,
            follows_caller: parent_based && config.trust_callers,
            random: ids::random_bits,
        }
    }

    fn samples(&self, parent: Option<&Context>) -> bool {
        let span = parent.map(Context::span);
        let parent = span.as_ref().map(SpanRef::span_context).filter(|ids| ids.is_valid());
        match parent {
            Some(ids) if !ids.is_remote() || self.follows_caller => ids.is_sampled(),
            _ => f64::from((self.random)()) < self.share * (f64::from(u32::MAX) + 1.0),
        }
    }
}

impl ShouldSample for RequestSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let decision = if self.samples(parent) {
            SamplingDecision::RecordAndSample
        } else {
            SamplingDecision::Drop
        };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::default() }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;

    fn parent(flags: TraceFlags, remote: bool) -> Context {
        let (trace, span) = (TraceId::from(1_u128), SpanId::from(1_u64));
        let ids = SpanContext::new(trace, span, flags, remote, TraceState::default());
        Context::new().with_remote_span_context(ids)
    }

    #[test]
    fn an_untrusted_caller_does_not_influence_the_decision() {
        let [on, off] = [TraceFlags::SAMPLED, TraceFlags::default()];
        for (share, follows, expected) in [
            (0.0, false, [false, false, false]),
            (1.0, false, [true, true, true]),
            (0.0, true, [false, true, false]),
            (1.0, true, [true, true, false]),
        ] {
            let sampler = RequestSampler { share, follows_caller: follows, random: || u32::MAX };
            let remote = [on, off].map(|flags| sampler.samples(Some(&parent(flags, true))));
            let found = [sampler.samples(None), remote[0], remote[1]];
            assert_eq!(found, expected, "{share} {follows}");
            // spans of this process follow their parent in any case
            assert!(sampler.samples(Some(&parent(on, false))));
            assert!(!sampler.samples(Some(&parent(off, false))));
        }
        let half =
            |random| RequestSampler { share: 0.5, follows_caller: false, random }.samples(None);
        assert!(half(|| u32::MAX / 2) && !half(|| u32::MAX / 2 + 1));
    }
}
