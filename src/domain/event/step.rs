//! Events of a step: `step.admitted`, `step.rejected`, `step.completed`, `step.failed`,
//! `step.annotated`.

use serde::{Deserialize, Serialize};

use super::{
    context::ContextUse,
    memory::MemoryOutcome,
    moral::{MoralVerdict, ScorerResult},
    request::{RequestFacts, Sampling},
};
use crate::domain::{
    budget::{Cost, Reservation, Usage},
    ids::{Micros, Position, ReplicaId, ShortHash, StepNumber, SubjectRef},
    rhythm::{Phase, RhythmState},
};

/// `step.admitted`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepAdmitted {
    /// The request.
    pub request: RequestFacts,
    /// The verdict that accepted it.
    pub moral: MoralVerdict,
    /// The phase the step runs in.
    pub phase: Phase,
    /// The rhythm after the event.
    pub tick: RhythmState,
    /// The time after which the step may be abandoned if no ending is recorded.
    pub deadline: Micros,
    /// The reservation on the data subject's account; present if the policy has a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Reservation>,
    /// The reservation on the API key's account; present if the key has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_budget: Option<Reservation>,
    /// The version of the policy that decided; 1 is the first.
    pub policy_version: u64,
    /// The first bytes of that policy's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<ShortHash>,
    /// The process that runs the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaId>,
}

/// Metadata returned to the caller with the answer. It is recorded so that an idempotent retry of
/// the request receives the same values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerMetadata {
    /// The threshold used by the verdict.
    pub moral_threshold: f64,
    /// The phase of the step.
    pub phase: Phase,
    /// Estimated resident size of the lattice memory in bytes.
    pub memory_used_bytes: u64,
    /// Milliseconds from the arrival of the request until its last event was handed to the writer.
    pub latency_ms: f64,
}

/// The reason for rejecting a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The score is below the threshold.
    Moral,
    /// The engine is in the sleep phase and `sleep_mode` is `refuse`.
    Sleep,
}

/// `step.rejected`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRejected {
    /// The request.
    pub request: RequestFacts,
    /// The verdict.
    pub moral: MoralVerdict,
    /// The reason.
    pub reason: RejectReason,
    /// The phase when the request arrived.
    pub phase: Phase,
    /// The rhythm after the event; `None` for a moral rejection, which does not tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<RhythmState>,
    /// The version of the policy that decided.
    pub policy_version: u64,
    /// The first bytes of that policy's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<ShortHash>,
    /// The process that received the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaId>,
    /// The metadata returned to the caller.
    pub answer: AnswerMetadata,
}

/// Durations of the parts of a step in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Embedding the prompt.
    pub embed_ms: f64,
    /// Searching the memory and reading the contents of the items found.
    pub retrieve_ms: f64,
    /// Waiting for the model.
    pub model_ms: f64,
    /// The whole step, from the arrival of the request until the ending was handed to the writer.
    pub total_ms: f64,
    /// The part of `model_ms` until the first piece of a streamed answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_piece_ms: Option<f64>,
}

/// `step.completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepCompleted {
    /// The position of the event that admitted the step.
    pub admitted_position: Position,
    /// The provider that answered.
    pub provider: String,
    /// The model name reported by the provider.
    pub model: String,
    /// Tokens counted by the provider.
    pub usage: Usage,
    /// The finish reason: `stop`, `length`, …
    pub finish_reason: String,
    /// Durations of the parts of the step.
    pub latency: Latency,
    /// The number of calls made to providers.
    pub attempts: u32,
    /// The memory context given to the model.
    pub context: ContextUse,
    /// The confidence of the answer, in [0, 1].
    pub confidence: f64,
    /// Quality flags; the only one is `looping`.
    pub quality: Vec<String>,
    /// True if the answer was not delivered to the caller.
    pub withheld: bool,
    /// True if the answer was truncated to the size limit.
    pub cut: bool,
    /// The effect on the lattice memory.
    pub memory: MemoryOutcome,
    /// Euclidean norms of L1, L2, L3 after the event, if an item was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_norms: Option<[f32; 3]>,
    /// The metadata returned to the caller.
    pub answer: AnswerMetadata,
    /// The calls made to providers in their order, at most [`CALLS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ModelCall>,
    /// The cost of the last call, if its model has a price. Budgets are settled at the price of the
    /// requested model, which was recorded when the step was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The score of the answer, if answers are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_score: Option<ScorerResult>,
}

/// The maximum number of calls that one event records.
pub const CALLS_MAX: usize = 32;

/// One call of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCall {
    /// The provider.
    pub provider: String,
    /// The requested model.
    pub model: String,
    /// `ok`, or a short name of the failure, e.g. `timeout`.
    pub code: String,
    /// Its duration in milliseconds.
    pub ms: f64,
    /// The sampling parameters sent to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// The HTTP status of a failed call, if the provider answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's own code of the failure, from a closed list, e.g. `context_length_exceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<String>,
    /// Why the provider could not be reached: `dns`, `connect`, `tls`, `proxy` or `reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The stage in which an admitted step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailStage {
    /// The prompt could not be embedded.
    Embedding,
    /// The call to the model failed.
    Llm,
    /// The model returned an empty answer.
    EmptyResponse,
    /// The caller cancelled the request.
    Cancelled,
    /// No ending was recorded before the deadline.
    Abandoned,
}

/// `step.failed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFailed {
    /// The position of the event that admitted the step.
    pub admitted_position: Position,
    /// The stage that failed.
    pub stage: FailStage,
    /// A short name of the cause, e.g. `timeout`, `deadline`, `sole_owner`, `replica_gone`.
    pub code: String,
    /// Milliseconds since the request arrived; 0 for abandoned steps.
    pub latency_ms: f64,
    /// The number of calls made to providers.
    pub attempts: u32,
    /// Tokens spent although the step failed.
    pub usage: Usage,
    /// The memory context sent to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextUse>,
    /// The provider that was called last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model that was called last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Durations of the parts of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// The calls made to providers in their order, at most [`CALLS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ModelCall>,
    /// The cost of the last call, if its model has a price. Budgets are settled at the price of the
    /// requested model, which was recorded when the step was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The last sign of life of the process that ran the step, if the step was abandoned because
    /// that process is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Micros>,
}

/// `step.annotated`: a person judged the verdict on a step. A note is stored as content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepAnnotated {
    /// The step.
    pub step: StepNumber,
    /// The data subject of the step.
    pub subject_ref: SubjectRef,
    /// The judgement.
    pub label: Annotation,
}

/// A person's judgement on a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Annotation {
    /// The verdict was right.
    Right,
    /// The verdict was wrong.
    Wrong,
}
