//! The events of an engine's log, named in the past tense.
//!
//! Each struct is the payload of one event type and is stored as JSON. The fields common to all
//! events, such as position, time and subject, are in the [`Envelope`]. Prompts, answers and
//! vectors are stored separately as content, so that they can be deleted. Schema versions and their
//! upcasters are in `store::codec`.

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

/// The version of `decide`, recorded with every event. It must be raised when `decide` gives a
/// different result for the same input.
pub const DECIDE_VERSION: u32 = 1;

/// The version of `evolve`, part of the state digest. It must be raised when the same log folds to
/// a different state.
pub const FOLD_VERSION: u32 = 1;

/// The newest log format this binary reads and writes.
pub const LOG_FORMAT: u32 = 1;

/// The fields common to all events that `evolve` reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The position in the engine's log.
    pub position: Position,
    /// The time by the log's clock; it never decreases from one event to the next.
    pub recorded_at: Micros,
    /// The step that the event belongs to.
    pub step: Option<StepNumber>,
    /// The data subject of the step.
    pub subject: Option<SubjectRef>,
    /// SHA-256 of the stored content, if the event has content.
    pub content_hash: Option<Sha256>,
}

/// An event: its type and payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The engine was created with a policy.
    EngineCreated(Box<EngineCreated>),
    /// The policy was replaced.
    PolicyChanged(Box<PolicyChanged>),
    /// A request passed the moral filter and the rhythm; the model may be called.
    StepAdmitted(Box<StepAdmitted>),
    /// A request was rejected.
    StepRejected(Box<StepRejected>),
    /// An admitted step was answered.
    StepCompleted(Box<StepCompleted>),
    /// An admitted step ended without an answer.
    StepFailed(Box<StepFailed>),
    /// A memory item was copied from another engine.
    MemoryAdded(Box<MemoryAdded>),
    /// Memory items became visible in both phases.
    MemoryConsolidated(Positions),
    /// Memory items were removed because the capacity was reduced.
    MemoryEvicted(Positions),
    /// The engine was shut down: it refuses all requests until it is resumed.
    EngineShutdown(Intervention),
    /// The engine was resumed.
    EngineResumed(Intervention),
    /// The key and the contents of a data subject were destroyed.
    SubjectErased(SubjectErased),
    /// The digest of the state before this event was recorded.
    StateAttested(StateAttested),
    /// An API key was created.
    KeyCreated(Box<KeyCreated>),
    /// An API key was revoked.
    KeyRevoked(KeyRevoked),
    /// The secret of an API key was replaced.
    KeyRotated(KeyRotated),
}

/// The name of each event type, written once: a variant without a name does not compile, and a name
/// without a fixture or a decoder fails the tests of the codec.
macro_rules! kinds {
    ($($variant:ident => $kind:literal,)*) => {
        impl Event {
            /// The names of all event types as the log stores them.
            pub const KINDS: [&str; [$($kind),*].len()] = [$($kind),*];

            /// The name of this event's type as the log stores it.
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }
        }
    };
}

kinds! {
    EngineCreated => "engine.created",
    PolicyChanged => "policy.changed",
    StepAdmitted => "step.admitted",
    StepRejected => "step.rejected",
    StepCompleted => "step.completed",
    StepFailed => "step.failed",
    MemoryAdded => "memory.added",
    MemoryConsolidated => "memory.consolidated",
    MemoryEvicted => "memory.evicted",
    EngineShutdown => "engine.shutdown",
    EngineResumed => "engine.resumed",
    SubjectErased => "subject.erased",
    StateAttested => "state.attested",
    KeyCreated => "key.created",
    KeyRevoked => "key.revoked",
    KeyRotated => "key.rotated",
}

/// `engine.created`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineCreated {
    /// The policy of the engine.
    pub policy: Policy,
    /// The log format from this event on.
    pub log_format: u32,
    /// Hash of the policy in the configuration, if the engine was created from the configuration.
    pub config_hash: Option<String>,
}

/// `policy.changed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyChanged {
    /// The complete new policy.
    pub policy: Policy,
    /// Dotted names of the changed fields.
    pub diff: Vec<String>,
    /// The administrator, as a plain name, or `config`.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
    /// Hash of the policy in the configuration, if the configuration caused the change.
    pub config_hash: Option<String>,
    /// The policy in the configuration; the next change of the configuration is computed against
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Policy>,
}

/// The origin of a copied memory item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemOrigin {
    /// The source engine.
    pub engine: EngineId,
    /// The position of the item in the source engine's log.
    pub position: Position,
}

/// `memory.added`
///
/// Its content holds the prompt and the answer together, so the item has one position for both. The
/// event belongs to no step and changes no step counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryAdded {
    /// The item that was copied.
    pub source: ItemOrigin,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The store number: this is the `n`-th item ever stored in this engine, counted from 1.
    pub n: u64,
    /// Its eviction key when it was stored: `n + ⌊capacity · confidence⌋`.
    pub key: u64,
    /// Its phase value in the source engine, in [0, 1].
    pub phase: f32,
    /// The confidence of its answer in the source engine, in [0, 1].
    pub confidence: f64,
    /// True if it was consolidated in the source engine.
    pub consolidated: bool,
    /// The item that was evicted to make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<Position>,
    /// Euclidean norms of L1, L2, L3 after the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_norms: Option<[f32; 3]>,
}

/// `memory.consolidated`, `memory.evicted`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The positions of the items, at most [`POSITIONS_MAX`].
    pub positions: Vec<Position>,
}

/// The maximum number of items in one event.
pub const POSITIONS_MAX: usize = 1_000;

/// `engine.shutdown`, `engine.resumed`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `subject.erased`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectErased {
    /// The pseudonym of the erased data subject.
    pub subject_ref: SubjectRef,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `state.attested`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAttested {
    /// The state digest at the position before this event, in hexadecimal.
    pub digest: String,
}
