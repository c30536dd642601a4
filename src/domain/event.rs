//! What happened: the payloads of the log, past tense.
//!
//! Each struct is the `clear` part of one event type, as it is stored (JSON). What belongs to every
//! event — position, time, subject — is the [`Envelope`]; text and vectors are contents, kept apart
//! so that they can be deleted. Versions and the wire names are the codec's business (`store::codec`).

mod key;
mod step;

use serde::{Deserialize, Serialize};

pub use super::budget::Usage;
use super::{
    ids::{EngineId, Micros, Position, Sha256, StepNumber, SubjectRef},
    policy::Policy,
};
pub use key::{KeyCreated, KeyRevoked, KeyRotated};
pub use step::{
    AnswerMetadata, ContextUse, FailStage, Latency, MemoryOutcome, MoralVerdict, NotStoredReason,
    RejectReason, RequestFacts, ScorerResult, StepAdmitted, StepCompleted, StepFailed,
    StepRejected, VerdictSource,
};

/// The version of `decide`: recorded with every event, raised when the same input decides otherwise.
pub const DECIDE_VERSION: u32 = 1;

/// The version of `evolve`: part of the digest, raised when the same log folds to another state.
pub const FOLD_VERSION: u32 = 1;

/// The newest log format this binary reads and writes.
pub const LOG_FORMAT: u32 = 1;

/// What every event carries beside its payload, as far as the fold needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Place in the engine's log.
    pub position: Position,
    /// When, by the log's clock; never falls from one event to the next.
    pub recorded_at: Micros,
    /// The step this event belongs to.
    pub step: Option<StepNumber>,
    /// Whose words the step's are.
    pub subject: Option<SubjectRef>,
    /// SHA-256 of the stored content, if the event has any.
    pub content_hash: Option<Sha256>,
}

/// One event's payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The engine began, with this policy.
    EngineCreated(Box<EngineCreated>),
    /// The policy was replaced.
    PolicyChanged(Box<PolicyChanged>),
    /// A request passed the filter and the rhythm; the model may be called.
    StepAdmitted(Box<StepAdmitted>),
    /// A request was refused.
    StepRejected(Box<StepRejected>),
    /// An admitted step was answered.
    StepCompleted(Box<StepCompleted>),
    /// An admitted step ended without an answer.
    StepFailed(Box<StepFailed>),
    /// An item was copied from another engine.
    MemoryAdded(Box<MemoryAdded>),
    /// Items became reachable in both phases.
    MemoryConsolidated(Positions),
    /// Items left because the capacity shrank.
    MemoryEvicted(Positions),
    /// The engine admits nothing until it is resumed.
    EngineShutdown(Intervention),
    /// The engine admits again.
    EngineResumed(Intervention),
    /// A data subject's keys and contents were destroyed.
    SubjectErased(SubjectErased),
    /// The digest of the state before this event.
    StateAttested(StateAttested),
    /// An API key was created.
    KeyCreated(Box<KeyCreated>),
    /// An API key was revoked.
    KeyRevoked(KeyRevoked),
    /// An API key has another secret.
    KeyRotated(KeyRotated),
}

impl Event {
    /// The names of all event types as the log stores them.
    pub const KINDS: [&str; 16] = [
        "engine.created",
        "policy.changed",
        "step.admitted",
        "step.rejected",
        "step.completed",
        "step.failed",
        "memory.added",
        "memory.consolidated",
        "memory.evicted",
        "engine.shutdown",
        "engine.resumed",
        "subject.erased",
        "state.attested",
        "key.created",
        "key.revoked",
        "key.rotated",
    ];

    /// The name of this event's type as the log stores it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::EngineCreated(_) => "engine.created",
            Self::PolicyChanged(_) => "policy.changed",
            Self::StepAdmitted(_) => "step.admitted",
            Self::StepRejected(_) => "step.rejected",
            Self::StepCompleted(_) => "step.completed",
            Self::StepFailed(_) => "step.failed",
            Self::MemoryAdded(_) => "memory.added",
            Self::MemoryConsolidated(_) => "memory.consolidated",
            Self::MemoryEvicted(_) => "memory.evicted",
            Self::EngineShutdown(_) => "engine.shutdown",
            Self::EngineResumed(_) => "engine.resumed",
            Self::SubjectErased(_) => "subject.erased",
            Self::StateAttested(_) => "state.attested",
            Self::KeyCreated(_) => "key.created",
            Self::KeyRevoked(_) => "key.revoked",
            Self::KeyRotated(_) => "key.rotated",
        }
    }
}

/// `engine.created`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineCreated {
    /// Every parameter that decides.
    pub policy: Policy,
    /// Format of the log from here on.
    pub log_format: u32,
    /// Hash of the configuration's policy, when the engine was created from configuration.
    pub config_hash: Option<String>,
}

/// `policy.changed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyChanged {
    /// The whole new policy.
    pub policy: Policy,
    /// Dotted names of the fields that differ from the old one.
    pub diff: Vec<String>,
    /// Who: an administrator's clear name, or `config`.
    pub actor: String,
    /// Why, in the actor's words.
    pub reason: String,
    /// Hash of the configuration's policy, when configuration caused it.
    pub config_hash: Option<String>,
    /// That policy itself: the next change of configuration is told from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Policy>,
}

/// Where a copied item is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemOrigin {
    /// The engine.
    pub engine: EngineId,
    /// The item's position in that engine's log.
    pub position: Position,
}

/// `memory.added`
///
/// Its content is the prompt and the answer in one text, so the item it makes has one position for
/// both. It belongs to no step: what is counted of steps does not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryAdded {
    /// What it is a copy of.
    pub source: ItemOrigin,
    /// Who, by clear name: an administrative act.
    pub actor: String,
    /// The how-many-th item ever stored here.
    pub n: u64,
    /// Its eviction key at that moment.
    pub key: u64,
    /// Its phase value, as at its source.
    pub phase: f32,
    /// How sure its answer sounds, as at its source.
    pub confidence: f64,
    /// Whether it was consolidated at its source.
    pub consolidated: bool,
    /// The item that left for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<Position>,
    /// Norms of L1, L2, L3 afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_norms: Option<[f32; 3]>,
}

/// `memory.consolidated`, `memory.evicted`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The items, at most [`POSITIONS_MAX`].
    pub positions: Vec<Position>,
}

/// Most items named by one event.
pub const POSITIONS_MAX: usize = 1_000;

/// `engine.shutdown`, `engine.resumed`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// Who, by clear name: an administrative act.
    pub actor: String,
    /// Why, in the actor's words.
    pub reason: String,
}

/// `subject.erased`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectErased {
    /// The pseudonym whose key was destroyed.
    pub subject_ref: SubjectRef,
    /// Who, by clear name.
    pub actor: String,
    /// Why, in the actor's words.
    pub reason: String,
}

/// `state.attested`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAttested {
    /// State digest at the position before this event, in hexadecimal.
    pub digest: String,
}
