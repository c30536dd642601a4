//! What a caller is told of a step: built from its events only, so that a repeated request is told
//! the same, whoever answers it.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::{AnswerText, Recorded};
use crate::domain::{
    event::{
        Envelope, RejectReason, StepAdmitted, StepCompleted, StepRejected, Usage, VerdictSource,
    },
    ids::{Position, Sha256},
};
use crate::{llm::ToolCall, telemetry::Redacted};

/// The answer to a governed request.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// The model's text; empty when the request was rejected.
    pub response: String,
    /// Whether the request passed the filter and the rhythm.
    pub accepted: bool,
    /// The phase of the step: `wake` or `sleep`.
    pub phase: &'static str,
    /// The step's number.
    pub step: u64,
    /// `processed`, `morally rejected` or `sleep phase - consolidating`.
    pub note: &'static str,
    /// The threshold the verdict used.
    pub moral_threshold: f64,
    /// Memories whose text reached the model.
    pub context_items: usize,
    /// The id of the request that ran the step.
    pub request_id: String,
    /// `completed` or `rejected`.
    pub outcome: &'static str,
    /// The score that decided.
    pub moral_score: f64,
    /// Whose score it was: `caller` or `scorer`.
    pub moral_source: &'static str,
    /// Where the step's ending stands in the log.
    pub position: Position,
    /// Receipt: the chain hash at that position, hexadecimal.
    pub chain_hash: String,
    /// Why the answer ended: `stop`, `length`, …; empty when none was asked.
    pub finish_reason: String,
    /// Tokens.
    pub usage: AnswerUsage,
    /// The model as the provider reports it; empty when none was asked.
    pub model: String,
    /// From the request's arrival until the ending was handed to the log.
    pub latency_ms: f64,
    /// Always false: a shut down engine records no step.
    pub emergency_shutdown: bool,
    /// The engine as the step saw it.
    pub cognitive_state: CognitiveState,
    /// Who answered; empty when none was asked.
    #[serde(skip)]
    pub provider: String,
    /// Tools that the model wants to call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub tool_calls: Vec<ToolCall>,
    #[serde(skip)]
    refused: Option<RejectReason>,
}

/// Without what was said, which must not be read in a log.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("response", &Redacted::new(&self.response))
            .field("outcome", &self.outcome)
            .field("step", &self.step)
            .field("position", &self.position)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// Tokens, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct AnswerUsage {
    /// Of the prompt and its context.
    pub prompt_tokens: u64,
    /// Of the answer.
    pub completion_tokens: u64,
}

/// The engine as a step saw it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CognitiveState {
    /// `wake` or `sleep`.
    pub phase: &'static str,
    /// Whether the step consulted no memory.
    pub stateless_mode: bool,
    /// Always false, as above.
    pub emergency_shutdown: bool,
    /// Resident size of the lattice memory in MiB.
    pub memory_used_mb: f64,
    /// The threshold the verdict used.
    pub moral_threshold: f64,
}

impl From<Usage> for AnswerUsage {
    fn from(usage: Usage) -> Self {
        Self { prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens }
    }
}

impl Answer {
    /// The answer of a completed step.
    pub(super) fn completed(
        request_id: &str,
        admitted: &StepAdmitted,
        ending: &Recorded<'_>,
        completed: &StepCompleted,
        text: AnswerText,
    ) -> Self {
        let told = &completed.answer;
        Self {
            response: text.answer,
            accepted: true,
            phase: told.phase.as_str(),
            step: ending.envelope.step.unwrap_or_default(),
            note: "processed",
            moral_threshold: told.moral_threshold,
            context_items: completed.context.used.len(),
            request_id: request_id.to_owned(),
            outcome: "completed",
            moral_score: admitted.moral.value,
            moral_source: source(admitted.moral.source),
            position: ending.envelope.position,
            chain_hash: ending.chain_hash.to_string(),
            finish_reason: completed.finish_reason.clone(),
            usage: completed.usage.into(),
            model: completed.model.clone(),
            latency_ms: told.latency_ms,
            emergency_shutdown: false,
            cognitive_state: CognitiveState {
                phase: told.phase.as_str(),
                stateless_mode: admitted.request.top_k == 0,
                emergency_shutdown: false,
                memory_used_mb: mebibytes(told.memory_used_bytes),
                moral_threshold: told.moral_threshold,
            },
            provider: completed.provider.clone(),
            tool_calls: text.tool_calls,
            refused: None,
        }
    }

    /// The answer of a rejected step.
    pub(super) fn rejected(
        request_id: &str,
        envelope: &Envelope,
        chain_hash: Sha256,
        rejected: &StepRejected,
    ) -> Self {
        let told = &rejected.answer;
        Self {
            response: String::new(),
            accepted: false,
            phase: told.phase.as_str(),
            step: envelope.step.unwrap_or_default(),
            note: match rejected.reason {
                RejectReason::Moral => "morally rejected",
                RejectReason::Sleep => "sleep phase - consolidating",
            },
            moral_threshold: told.moral_threshold,
            context_items: 0,
            request_id: request_id.to_owned(),
            outcome: "rejected",
            moral_score: rejected.moral.value,
            moral_source: source(rejected.moral.source),
            position: envelope.position,
            chain_hash: chain_hash.to_string(),
            finish_reason: String::new(),
            usage: AnswerUsage::default(),
            model: String::new(),
            latency_ms: told.latency_ms,
            emergency_shutdown: false,
            cognitive_state: CognitiveState {
                phase: told.phase.as_str(),
                stateless_mode: true,
                emergency_shutdown: false,
                memory_used_mb: mebibytes(told.memory_used_bytes),
                moral_threshold: told.moral_threshold,
            },
            provider: String::new(),
            tool_calls: Vec::new(),
            refused: Some(rejected.reason),
        }
    }

    /// Why the request was refused, if it was.
    pub const fn refusal(&self) -> Option<RejectReason> {
        self.refused
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
