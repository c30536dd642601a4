//! Events of a step: `step.admitted`, `step.rejected`, `step.completed`, `step.failed`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{
    budget::{KeyLimit, Price, Reservation, Usage},
    ids::{Micros, Position, SubjectRef},
    rhythm::{Phase, RhythmState},
};

/// The facts of a request, without its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestFacts {
    /// The route template of the HTTP request.
    pub route: String,
    /// The requested model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The requested `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens_asked: Option<u32>,
    /// The granted answer tokens: the requested number limited by phase and budget.
    pub max_tokens: u32,
    /// True if the answer may be limited to `max_sleep_tokens` in the sleep phase (false for
    /// requests with tools or a response format).
    pub shortenable: bool,
    /// The number of memory items requested as context.
    pub top_k: usize,
    /// Length of the prompt in characters.
    pub prompt_chars: usize,
    /// HMAC of the prompt under the data subject's key, in hexadecimal: it identifies equal prompts
    /// of one subject and reveals nothing without the key.
    pub prompt_hmac: String,
    /// Estimated tokens of the prompt and its context; present if a budget applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// The price of the model; present if a budget applies and a price is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The limit of the API key that authenticated the request, if the key has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_limit: Option<KeyLimit>,
}

/// The result of a moral scorer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScorerResult {
    /// The scorer's name.
    pub id: String,
    /// The scorer's version.
    pub version: u32,
    /// The score in [0, 1]; 1 is harmless.
    pub value: f64,
    /// The components of the score by name.
    pub parts: BTreeMap<String, f64>,
}

/// The source of the score that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictSource {
    /// The caller's `moral_value`.
    Caller,
    /// The engine's scorer.
    Scorer,
}

/// A moral verdict: its inputs, the deciding score, and the resulting change of the filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoralVerdict {
    /// The score given by the caller, in [0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<f64>,
    /// The result of the engine's scorer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer: Option<ScorerResult>,
    /// The score that decided.
    pub value: f64,
    /// The source of that score.
    pub source: VerdictSource,
    /// The data subject's threshold `T` at the time of the verdict; accepted if `value ≥ T`.
    pub threshold_before: f64,
    /// The data subject's threshold after the verdict.
    pub threshold_after: f64,
    /// The engine's moving average `E` before the verdict.
    pub ema_before: f64,
    /// The engine's moving average after the verdict.
    pub ema_after: f64,
    /// The data subject's own moving average before the verdict; 0 if none is stored.
    pub subject_ema_before: f64,
    /// The data subject's own moving average after the verdict; 0 if none is stored.
    pub subject_ema_after: f64,
    /// The subject whose average was evicted to make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgot: Option<SubjectRef>,
}

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

/// The memory context of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContextUse {
    /// The log position of the state that was searched.
    pub view: Position,
    /// The phase value of the search.
    pub phase: f32,
    /// The number of items that were visible to the search.
    pub candidates: usize,
    /// The positions of the items quoted to the model, best match first.
    pub used: Vec<Position>,
    /// The length of the context in characters.
    pub chars: usize,
}

/// The effect of a step on the lattice memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum MemoryOutcome {
    /// An item was stored.
    Stored {
        /// The store number: this is the `n`-th item ever stored, counted from 1.
        n: u64,
        /// Its eviction key when it was stored: `n + ⌊capacity · confidence⌋`.
        key: u64,
        /// Its phase value, in [0, 1].
        phase: f32,
        /// The item that was evicted to make room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        victim: Option<Position>,
    },
    /// Nothing was stored.
    NotStored {
        /// The reason.
        why: NotStoredReason,
    },
}

/// The reason for not storing an answer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotStoredReason {
    /// The confidence is below `min_store_confidence`.
    Confidence,
    /// The answer repeats itself.
    Looping,
    /// The data subject was erased while the step was running.
    Erased,
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
    /// A short name of the cause, e.g. `timeout`, `deadline`, `sole_owner`.
    pub code: String,
    /// Milliseconds since the request arrived; 0 for abandoned steps.
    pub latency_ms: f64,
    /// The number of calls made to providers.
    pub attempts: u32,
    /// Tokens spent although the step failed.
    pub usage: Usage,
}
