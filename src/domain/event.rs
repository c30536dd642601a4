//! The events of an engine's log, named in the past tense.
//!
//! Each struct is the payload of one event type and is stored as JSON. The fields common to all
//! events, such as position, time and subject, are in the [`Envelope`]. Prompts, answers and
//! vectors are stored separately as content, so that they can be deleted. Schema versions and their
//! upcasters are in `store::codec`.

mod acts;
mod context;
mod fact;
mod kinds;
mod memory;
mod moral;
mod request;
mod server;
mod step;

pub use self::{
    acts::{
        EngineCreated, Hold, Intervention, LogFormatRaised, LogRecovered, NOTE_MAX, PolicyChanged,
        PolicyEvidence, StateAttested, SubjectErased, SubjectExported,
    },
    context::{ContextHit, ContextUse, HITS_MAX, HitOutcome},
    fact::{Fact, TEXT_MAX},
    memory::{
        ContentRead, ContentsExpired, ItemOrigin, MemoryAdded, MemoryForgotten, MemoryOutcome,
        MemoryShared, NotStoredReason, POSITIONS_MAX, Positions,
    },
    moral::{MoralVerdict, SCORERS_MAX, ScorerResult, VerdictSource},
    request::{Auth, AuthScheme, LimitedBy, RequestFacts, Sampling, TokenRule, UNLIMITED_TOKENS},
    server::{
        AccessDenied, AuditKeyChanged, CODES_MAX, EngineRetired, KeyCreated, KeyRevoked,
        KeyRotated, MacKeyChanged, RequestsRefused, ServerStarted, SettingsChanged,
    },
    step::{
        Annotation, AnswerMetadata, CALLS_MAX, FailStage, Latency, ModelCall, RejectReason,
        StepAdmitted, StepAnnotated, StepCompleted, StepFailed, StepRejected,
    },
};
pub use super::budget::{Cost, Usage};
use super::ids::{Micros, Position, Sha256, StepNumber, SubjectRef};

/// The version of `evolve`, part of the state digest. It must be raised when the same log folds to
/// a different state.
pub const FOLD_VERSION: u32 = 1;

/// The newest log format this binary reads and writes.
pub const LOG_FORMAT: u32 = 2;

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
    /// The format of the log was raised.
    LogFormatRaised(LogFormatRaised),
    /// A fact was recorded that needs no decision.
    Fact(Box<Fact>),
}
