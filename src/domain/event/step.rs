//! The payloads of `step.*`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{
    budget::{KeyLimit, Price, Reservation, Usage},
    ids::{Micros, Position, SubjectRef},
    rhythm::{Phase, RhythmState},
};

/// What was asked, without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestFacts {
    /// The route template it came by.
    pub route: String,
    /// The model asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens_asked: Option<u32>,
    /// Tokens granted: what the phase and the budget allow.
    pub max_tokens: u32,
    /// Whether the answer may be cut short in sleep (not with tools or a response format).
    pub shortenable: bool,
    /// Memories wanted as context.
    pub top_k: usize,
    /// Length of the prompt in characters.
    pub prompt_chars: usize,
    /// Keyed hash of the prompt, in hexadecimal: equal prompts of one subject can be told, others not.
    pub prompt_hmac: String,
    /// Tokens that the prompt and its context may have, roughly; only under a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// What the model costs; only under a budget, and if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The limit of the API key it came with, if that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_limit: Option<KeyLimit>,
}

/// A scorer's opinion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScorerResult {
    /// The scorer's name.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// Its score in [0, 1]; 1 is harmless.
    pub value: f64,
    /// What it is made of.
    pub parts: BTreeMap<String, f64>,
}

/// Whose score decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictSource {
    /// The caller's `moral_value`.
    Caller,
    /// The scorer's.
    Scorer,
}

/// A moral verdict: inputs, the value that decided, and how the filter moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoralVerdict {
    /// The caller's score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<f64>,
    /// The scorer's opinion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer: Option<ScorerResult>,
    /// The score that decided.
    pub value: f64,
    /// Whose it was.
    pub source: VerdictSource,
    /// The asker's threshold the verdict used.
    pub threshold_before: f64,
    /// The asker's threshold afterwards.
    pub threshold_after: f64,
    /// The engine's average before.
    pub ema_before: f64,
    /// The engine's average afterwards.
    pub ema_after: f64,
    /// The asker's own average before; 0 when none is kept.
    pub subject_ema_before: f64,
    /// The asker's own average afterwards; 0 when none is kept.
    pub subject_ema_after: f64,
    /// The subject whose average was forgotten to make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgot: Option<SubjectRef>,
}

/// `step.admitted`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepAdmitted {
    /// What was asked.
    pub request: RequestFacts,
    /// Why it was allowed.
    pub moral: MoralVerdict,
    /// The phase the step runs in.
    pub phase: Phase,
    /// The rhythm afterwards.
    pub tick: RhythmState,
    /// When an ending not yet recorded is given up.
    pub deadline: Micros,
    /// What it may spend; only under a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Reservation>,
    /// The same of the API key it came with; only if that has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_budget: Option<Reservation>,
    /// Which policy decided: 1 is the first.
    pub policy_version: u64,
}

/// What the caller was told beside the text; recorded, so that a repeated request is told the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerMetadata {
    /// The threshold the verdict used.
    pub moral_threshold: f64,
    /// The phase of the step.
    pub phase: Phase,
    /// Resident size of the lattice memory.
    pub memory_used_bytes: u64,
    /// From the request's arrival until the ending was handed to the log.
    pub latency_ms: f64,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Its score was under the threshold.
    Moral,
    /// The engine sleeps and its policy refuses meanwhile.
    Sleep,
}

/// `step.rejected`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRejected {
    /// What was asked.
    pub request: RequestFacts,
    /// The verdict.
    pub moral: MoralVerdict,
    /// Why.
    pub reason: RejectReason,
    /// The phase it met.
    pub phase: Phase,
    /// The rhythm afterwards; a moral refusal does not tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<RhythmState>,
    /// Which policy decided.
    pub policy_version: u64,
    /// What the caller was told.
    pub answer: AnswerMetadata,
}

/// Where the time went, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Making the prompt a vector.
    pub embed_ms: f64,
    /// Searching the memory and reading the remembered text.
    pub retrieve_ms: f64,
    /// Waiting for the model.
    pub model_ms: f64,
    /// All, from arrival until the ending was handed to the log.
    pub total_ms: f64,
    /// Part of `model_ms`: until the first piece of an answer that was streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_piece_ms: Option<f64>,
}

/// The context a step was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContextUse {
    /// Position of the view that was searched.
    pub view: Position,
    /// The phase value searched with.
    pub phase: f32,
    /// Items that could have been found.
    pub candidates: usize,
    /// Items whose text reached the model, best first.
    pub used: Vec<Position>,
    /// Characters of the context.
    pub chars: usize,
}

/// What became of a step in the lattice memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum MemoryOutcome {
    /// An item was stored.
    Stored {
        /// The how-many-th item ever stored.
        n: u64,
        /// Its eviction key at that moment.
        key: u64,
        /// Its phase value.
        phase: f32,
        /// The item that left for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        victim: Option<Position>,
    },
    /// Nothing was stored.
    NotStored {
        /// Why.
        why: NotStoredReason,
    },
}

/// Why an answer is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotStoredReason {
    /// Its confidence is under `min_store_confidence`.
    Confidence,
    /// It goes round in circles.
    Looping,
    /// Its data subject was erased meanwhile.
    Erased,
}

/// `step.completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepCompleted {
    /// Where the step was admitted.
    pub admitted_position: Position,
    /// Who answered.
    pub provider: String,
    /// The model as reported by the provider.
    pub model: String,
    /// Tokens.
    pub usage: Usage,
    /// Why the answer ended: `stop`, `length`, …
    pub finish_reason: String,
    /// Where the time went.
    pub latency: Latency,
    /// Calls made to providers.
    pub attempts: u32,
    /// The context given.
    pub context: ContextUse,
    /// How sure the answer sounds, in [0, 1].
    pub confidence: f64,
    /// Flags: `looping`.
    pub quality: Vec<String>,
    /// Whether the answer was kept from the caller.
    pub withheld: bool,
    /// Whether the answer was cut to its size limit.
    pub cut: bool,
    /// What the lattice memory did.
    pub memory: MemoryOutcome,
    /// Norms of L1, L2, L3 afterwards, if an item was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_norms: Option<[f32; 3]>,
    /// What the caller was told.
    pub answer: AnswerMetadata,
}

/// Where an admitted step ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailStage {
    /// No vector could be made.
    Embedding,
    /// The model could not be asked.
    Llm,
    /// The model said nothing.
    EmptyResponse,
    /// The caller went away.
    Cancelled,
    /// Nobody recorded an ending in time.
    Abandoned,
}

/// `step.failed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFailed {
    /// Where the step was admitted.
    pub admitted_position: Position,
    /// Where it ended.
    pub stage: FailStage,
    /// A short name of the cause, e.g. `timeout`, `deadline`, `sole_owner`.
    pub code: String,
    /// From the request's arrival; 0 for abandoned steps.
    pub latency_ms: f64,
    /// Calls made to providers.
    pub attempts: u32,
    /// Tokens spent all the same.
    pub usage: Usage,
}
