//! Which requests are sampled: the server decides.
//!
//! A caller's flag counts only where callers are trusted, and neither does the trace id that a caller
//! chooses: for the trace of a stranger a die is thrown. Within this process all follows the request.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, SpanRef, TraceContextExt as _, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::{
    config::{self, TraceSampler},
    ids,
};

/// How requests are chosen.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// The share of requests, 0 to 1.
    share: f64,
    /// Whether the caller's flag decides.
    follows: bool,
    die: fn() -> u32,
}

impl Chosen {
    pub(super) fn new(config: &config::Traces) -> Self {
        let (share, parent_based) = match config.sampler {
            TraceSampler::AlwaysOn => (1.0, false),
            TraceSampler::AlwaysOff => (0.0, false),
            TraceSampler::Traceidratio => (config.sampler_arg, false),
            TraceSampler::ParentbasedAlwaysOn => (1.0, true),
            TraceSampler::ParentbasedAlwaysOff => (0.0, true),
            TraceSampler::ParentbasedTraceidratio => (config.sampler_arg, true),
        };
        Self { share, follows: parent_based && config.trust_callers, die: ids::random_bits }
    }

    fn samples(&self, parent: Option<&Context>) -> bool {
        let span = parent.map(Context::span);
        let parent = span.as_ref().map(SpanRef::span_context).filter(|ids| ids.is_valid());
        match parent {
            Some(ids) if !ids.is_remote() || self.follows => ids.is_sampled(),
            _ => f64::from((self.die)()) < self.share * (f64::from(u32::MAX) + 1.0),
        }
    }
}

impl ShouldSample for Chosen {
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
    fn a_strangers_flag_and_id_decide_nothing() {
        let [on, off] = [TraceFlags::SAMPLED, TraceFlags::default()];
        for (share, follows, expected) in [
            (0.0, false, [false, false, false]),
            (1.0, false, [true, true, true]),
            (0.0, true, [false, true, false]),
            (1.0, true, [true, true, false]),
        ] {
            let chosen = Chosen { share, follows, die: || u32::MAX };
            let remote = [on, off].map(|flags| chosen.samples(Some(&parent(flags, true))));
            let found = [chosen.samples(None), remote[0], remote[1]];
            assert_eq!(found, expected, "{share} {follows}");
            // our own are followed in any case
            assert!(chosen.samples(Some(&parent(on, false))));
            assert!(!chosen.samples(Some(&parent(off, false))));
        }
        let half = |die| Chosen { share: 0.5, follows: false, die }.samples(None);
        assert!(half(|| u32::MAX / 2) && !half(|| u32::MAX / 2 + 1));
    }
}
