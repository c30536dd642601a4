//! The answer to a step. It is built from the events only, so that a repeated request gets an equal
//! answer, from any replica. Only `request_id` differs: each request has its own.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    event::{
        Envelope, LimitedBy, RejectReason, StepAdmitted, StepCompleted, StepRejected, Usage,
        VerdictSource,
    },
    ids::{Position, Sha256},
};
use crate::{
    engine::content::StoredAnswer,
    llm::{NativeAnswer, ToolCall},
    telemetry::Redacted,
};

/// The response to a request to run a step.
#[derive(Clone, Debug)]
pub struct StepResponse {
    /// The answer.
    pub answer: Answer,
    /// True if an earlier request with the same idempotency key ran the step.
    pub replayed: bool,
}

impl StepResponse {
    /// The response to the request that ran the step.
    pub(super) const fn new(answer: Answer) -> Self {
        Self { answer, replayed: false }
    }
}

/// The ids of an answer.
#[derive(Clone, Copy)]
pub(super) struct AnswerIds<'a> {
    /// The server's id of the request that ran the step.
    pub(super) id: &'a str,
    /// The id of the request that gets the answer, as its client sees it.
    pub(super) request_id: &'a str,
}

/// The event that ended a step, with its receipt.
pub(super) struct Ending<'a> {
    pub(super) envelope: &'a Envelope,
    pub(super) chain_hash: Sha256,
}

/// The answer to a governed request.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// The model's text; empty if the request was rejected.
    pub response: String,
    /// True if the moral filter and the sleep phase admitted the request.
    pub accepted: bool,
    /// The phase of the step: `wake` or `sleep`.
    pub phase: &'static str,
    /// The step's number.
    pub step: u64,
    /// `processed`, `morally rejected` or `sleep phase - consolidating`.
    pub note: &'static str,
    /// The moral threshold that the score was compared with.
    pub moral_threshold: f64,
    /// The number of memories given to the model as context.
    pub context_items: usize,
    /// The server's id of the request that ran the step (UUID version 7). The step's events have it
    /// as `request_id`.
    pub id: String,
    /// The id of this request, equal to the header `X-Request-ID`.
    pub request_id: String,
    /// `completed` or `rejected`.
    pub outcome: &'static str,
    /// The moral score that was compared with the threshold.
    pub moral_score: f64,
    /// The origin of the score: `caller` or `scorer`.
    pub moral_source: &'static str,
    /// The log position of the event that ended the step.
    pub position: Position,
    /// The receipt: the chain hash at that position, hexadecimal.
    pub chain_hash: String,
    /// Why the model stopped: `stop`, `length`, …; empty if no model was called.
    pub finish_reason: String,
    /// Token counts.
    pub usage: AnswerUsage,
    /// The model's name as the provider reports it; empty if no model was called.
    pub model: String,
    /// Milliseconds from the request's arrival until its ending was handed to the writer.
    pub latency_ms: f64,
    /// Always false: an engine that is shut down records no steps.
    pub emergency_shutdown: bool,
    /// The engine's state as the step saw it.
    pub cognitive_state: CognitiveState,
    /// What lowered the limit of the answer: `sleep` or `budget`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<&'static str>,
    /// The provider that answered; empty if no model was called.
    #[serde(skip)]
    pub provider: String,
    /// The tool calls that the model requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub tool_calls: Vec<ToolCall>,
    /// The model's reasoning, as far as the provider shows it.
    #[serde(skip)]
    pub reasoning: String,
    /// The answer in the provider's dialect.
    #[serde(skip)]
    pub native: Option<NativeAnswer>,
    /// The names of the fields of the request and of the answer that a translation between dialects
    /// left out.
    #[serde(skip)]
    pub dropped: Vec<String>,
    #[serde(skip)]
    reason: Option<RejectReason>,
}

/// Omits the text, which must not reach a log.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("response", &Redacted::new(&self.response))
            .field("outcome", &self.outcome)
            .field("step", &self.step)
            .field("position", &self.position)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Token counts as the provider reports them.
#[expect(clippy::struct_field_names, reason = "the names of the dialects")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct AnswerUsage {
    /// Tokens of the prompt and its context.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Tokens of the prompt that the provider read from its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Tokens of the answer that are reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}

/// The engine's state as a step saw it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CognitiveState {
    /// `wake` or `sleep`.
    pub phase: &'static str,
    /// True if the step did not search the memory.
    pub stateless_mode: bool,
    /// Always false: an engine that is shut down records no steps.
    pub emergency_shutdown: bool,
    /// Resident size of the lattice memory in MiB.
    pub memory_used_mb: f64,
    /// The moral threshold that the score was compared with.
    pub moral_threshold: f64,
}

impl From<Usage> for AnswerUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cached_tokens: usage.cached_tokens,
            reasoning_tokens: usage.reasoning_tokens,
        }
    }
}

impl Answer {
    /// The answer of a completed step.
    pub(super) fn completed(
        ids: AnswerIds<'_>,
        admitted: &StepAdmitted,
        ending: &Ending<'_>,
        completed: &StepCompleted,
        stored: StoredAnswer,
    ) -> Self {
        let facts = &completed.answer;
        Self {
            response: stored.answer,
            accepted: true,
            phase: facts.phase.as_str(),
            step: ending.envelope.step.unwrap_or_default(),
            note: "processed",
            moral_threshold: facts.moral_threshold,
            context_items: completed.context.used.len(),
            id: ids.id.to_owned(),
            request_id: ids.request_id.to_owned(),
            outcome: "completed",
            moral_score: admitted.moral.value,
            moral_source: source(admitted.moral.source),
            position: ending.envelope.position,
            chain_hash: ending.chain_hash.to_string(),
            finish_reason: completed.finish_reason.clone(),
            usage: completed.usage.into(),
            model: completed.model.clone(),
            latency_ms: facts.latency_ms,
            emergency_shutdown: false,
            cognitive_state: CognitiveState {
                phase: facts.phase.as_str(),
                stateless_mode: admitted.request.top_k == 0,
                emergency_shutdown: false,
                memory_used_mb: mebibytes(facts.memory_used_bytes),
                moral_threshold: facts.moral_threshold,
            },
            limited_by: admitted.request.limited_by.map(LimitedBy::as_str),
            provider: completed.provider.clone(),
            tool_calls: stored.tool_calls,
            reasoning: stored.reasoning,
            native: stored.native,
            dropped: stored.dropped,
            reason: None,
        }
    }

    /// The answer of a rejected step.
    pub(super) fn rejected(
        ids: AnswerIds<'_>,
        envelope: &Envelope,
        chain_hash: Sha256,
        rejected: &StepRejected,
    ) -> Self {
        let facts = &rejected.answer;
        Self {
            response: String::new(),
            accepted: false,
            phase: facts.phase.as_str(),
            step: envelope.step.unwrap_or_default(),
            note: match rejected.reason {
                RejectReason::Moral => "morally rejected",
                RejectReason::Sleep => "sleep phase - consolidating",
            },
            moral_threshold: facts.moral_threshold,
            context_items: 0,
            id: ids.id.to_owned(),
            request_id: ids.request_id.to_owned(),
            outcome: "rejected",
            moral_score: rejected.moral.value,
            moral_source: source(rejected.moral.source),
            position: envelope.position,
            chain_hash: chain_hash.to_string(),
            finish_reason: String::new(),
            usage: AnswerUsage::default(),
            model: String::new(),
            latency_ms: facts.latency_ms,
            emergency_shutdown: false,
            cognitive_state: CognitiveState {
                phase: facts.phase.as_str(),
                stateless_mode: true,
                emergency_shutdown: false,
                memory_used_mb: mebibytes(facts.memory_used_bytes),
                moral_threshold: facts.moral_threshold,
            },
            limited_by: None,
            provider: String::new(),
            tool_calls: Vec::new(),
            reasoning: String::new(),
            native: None,
            dropped: Vec::new(),
            reason: Some(rejected.reason),
        }
    }

    /// Why the request was rejected, if it was.
    pub const fn refusal(&self) -> Option<RejectReason> {
        self.reason
    }
}

const fn source(source: VerdictSource) -> &'static str {
    match source {
        VerdictSource::Caller => "caller",
        VerdictSource::Scorer => "scorer",
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
