//! Commands to an engine. `decide` turns a command into events or a [`Refusal`].

mod refusal;

use super::{
    budget::{KeyLimit, Price},
    event::{
        Auth, ContextUse, Fact, FailStage, ItemOrigin, Latency, ModelCall, NotStoredReason,
        PolicyEvidence, Sampling, ScorerResult, TokenRule, Usage,
    },
    ids::{KeyId, Micros, Position, ReplicaId, Sha256, SubjectRef},
    keys::KeyGrant,
    policy::{JudgedScope, MemoryMode, Policy},
    vector::UnitVector,
};

pub use refusal::{BudgetUnit, Refusal};

/// A command. Its actor and the content that belongs to it (prompt, answer) are in
/// `store::writer::Proposal`.
#[derive(Clone, Debug)]
pub enum Command {
    /// Admit a request: decide whether the model may be called.
    Admit(Box<Admit>),
    /// Record the answer of an admitted step.
    Complete(Box<Complete>),
    /// Record that an admitted step ended without an answer.
    Fail(Box<Fail>),
    /// End an admitted step for which no ending arrived.
    Abandon(Abandon),
    /// Store a copy of another engine's memory item.
    Add(Box<Add>),
    /// Emergency shutdown: refuse all further admissions.
    Shutdown(Intervene),
    /// End the emergency shutdown.
    Resume(Intervene),
    /// Replace the policy.
    ChangePolicy(Box<ChangePolicy>),
    /// Record the digest of the present state.
    Attest,
    /// Create an API key.
    CreateKey(Box<CreateKey>),
    /// Revoke an API key.
    RevokeKey(RevokeKey),
    /// Replace the secret of an API key.
    RotateKey(RotateKey),
    /// Raise the format of the log.
    RaiseFormat(RaiseFormat),
    /// Record a fact.
    Record(Box<Fact>),
}

impl Command {
    /// The vector to be stored with the resulting event.
    pub fn vector(&self) -> Option<&UnitVector> {
        match self {
            Self::Complete(complete) => complete.vector.as_ref(),
            Self::Add(add) => add.vector.as_ref(),
            Self::Admit(_)
            | Self::Fail(_)
            | Self::Abandon(_)
            | Self::Shutdown(_)
            | Self::Resume(_)
            | Self::ChangePolicy(_)
            | Self::Attest
            | Self::CreateKey(_)
            | Self::RevokeKey(_)
            | Self::RotateKey(_)
            | Self::RaiseFormat(_)
            | Self::Record(_) => None,
        }
    }
}

/// A request for a step.
#[derive(Clone, Debug)]
pub struct Admit {
    /// The data subject of the request.
    pub subject: SubjectRef,
    /// The moral score given by the caller (`moral_value`), in [0, 1].
    pub caller_score: Option<f64>,
    /// The results of the engine's scorers.
    pub scored: Vec<ScorerResult>,
    /// The scorers that gave no result.
    pub unavailable: Vec<String>,
    /// True if the caller may state its own score; `None` without one, and in a replay of an event
    /// that does not have it.
    pub asserted: Option<bool>,
    /// The judged text; `None` if it is the prompt.
    pub judged: Option<Judged>,
    /// The route template of the HTTP request.
    pub route: String,
    /// The requested model.
    pub model: Option<String>,
    /// The requested `max_tokens`.
    pub max_tokens: Option<u32>,
    /// True if the answer may be limited to `max_sleep_tokens` in the sleep phase.
    pub shortenable: bool,
    /// The rule that limits the answer; `None` only in a replay of an event that does not have it.
    pub token_rule: Option<TokenRule>,
    /// The use of the memory; `None` only in a replay of an event that does not have it.
    pub memory: Option<MemoryMode>,
    /// The requested number of memory items; `None` for the policy's `context.top_k`.
    pub top_k: Option<usize>,
    /// Length of the prompt in characters.
    pub prompt_chars: usize,
    /// Estimated tokens of the prompt and its context; `None` only in a replay of an event that
    /// does not have them.
    pub prompt_tokens: Option<u64>,
    /// The price of the model, if it is configured.
    pub price: Option<Price>,
    /// The limit of the API key that authenticated the request, if the key has one.
    pub key_limit: Option<KeyLimit>,
    /// HMAC of the prompt under the data subject's key, in hexadecimal.
    pub prompt_hmac: String,
    /// The sampling parameters of the request.
    pub sampling: Option<Sampling>,
    /// The credential of the request.
    pub auth: Option<Auth>,
    /// The process that received the request.
    pub replica: Option<ReplicaId>,
    /// Timeout of the step in microseconds.
    pub timeout: Micros,
    /// Time after the timeout within which the ending must be recorded, in microseconds.
    pub grace: Micros,
    /// Milliseconds since the request arrived; reported in the answer of a rejection.
    pub elapsed_ms: f64,
}

impl Admit {
    /// An empty request of a data subject.
    pub const fn of(subject: SubjectRef) -> Self {
        Self {
            subject,
            caller_score: None,
            scored: Vec::new(),
            unavailable: Vec::new(),
            asserted: None,
            judged: None,
            route: String::new(),
            model: None,
            max_tokens: None,
            shortenable: true,
            token_rule: None,
            memory: None,
            top_k: None,
            prompt_chars: 0,
            prompt_tokens: None,
            price: None,
            key_limit: None,
            prompt_hmac: String::new(),
            sampling: None,
            auth: None,
            replica: None,
            timeout: 0,
            grace: 0,
            elapsed_ms: 0.0,
        }
    }
}

/// The text that was judged, if it is not the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The part of the request.
    pub scope: JudgedScope,
    /// Its length in characters.
    pub chars: u64,
    /// HMAC of it under the data subject's key, in hexadecimal.
    pub hmac: String,
}

/// The answer of a model to an admitted step.
#[derive(Clone, Debug)]
pub struct Complete {
    /// The step number.
    pub step: u64,
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
    /// These calls in their order.
    pub calls: Vec<ModelCall>,
    /// The price of the model that answered, if it is configured.
    pub price: Option<Price>,
    /// The memory context given to the model.
    pub context: ContextUse,
    /// The confidence of the answer, in [0, 1] (see [`confidence`](super::confidence)).
    pub confidence: f64,
    /// True if the answer repeats itself (see [`is_looping`](super::confidence::is_looping)).
    pub looping: bool,
    /// True if the answer was truncated to the size limit.
    pub cut: bool,
    /// Why the answer must not be remembered, whatever its confidence; `None` if it may be.
    pub forgo: Option<NotStoredReason>,
    /// The vector of the prompt; `None` in a replay after the data subject was erased, and if the
    /// step used no memory.
    pub vector: Option<UnitVector>,
}

/// The failure of an admitted step.
#[derive(Clone, Debug)]
pub struct Fail {
    /// The step number.
    pub step: u64,
    /// The stage that failed.
    pub stage: FailStage,
    /// A short name of the cause, such as `timeout`.
    pub code: String,
    /// Milliseconds since the request arrived.
    pub latency_ms: f64,
    /// The number of calls made to providers.
    pub attempts: u32,
    /// Tokens spent although the step failed.
    pub usage: Usage,
    /// The price of the model that was called last, if it is configured.
    pub price: Option<Price>,
    /// The memory context sent to the model; `None` if the step failed before.
    pub context: Option<ContextUse>,
    /// The provider that was called last.
    pub provider: Option<String>,
    /// The model that was called last.
    pub model: Option<String>,
    /// Durations of the parts of the step.
    pub latency: Option<Latency>,
    /// The calls made to providers in their order.
    pub calls: Vec<ModelCall>,
}

impl Fail {
    /// A failure without further facts.
    pub const fn new(step: u64, stage: FailStage, code: String, latency_ms: f64) -> Self {
        Self {
            step,
            stage,
            code,
            latency_ms,
            attempts: 0,
            usage: Usage::new(0, 0),
            price: None,
            context: None,
            provider: None,
            model: None,
            latency: None,
            calls: Vec::new(),
        }
    }
}

/// The reason for abandoning a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbandonCause {
    /// The log's clock has passed the deadline of the step.
    Deadline,
    /// This process is the only writer of the log and has just started, so no process can still be
    /// running the step.
    SoleOwner,
    /// The process that runs the step has given no sign of life for
    /// [`REPLICA_GONE_AFTER`](super::decide::REPLICA_GONE_AFTER).
    ReplicaGone {
        /// Its last sign of life, by the log's clock.
        last_seen: Micros,
    },
}

/// Abandons an open step.
#[derive(Clone, Copy, Debug)]
pub struct Abandon {
    /// The step number.
    pub step: u64,
    /// The reason given by the actor.
    pub cause: AbandonCause,
}

/// A copy of an item in the memory of another engine.
#[derive(Clone, Debug)]
pub struct Add {
    /// The data subject, as a pseudonym of this engine.
    pub subject: SubjectRef,
    /// The position of the item in the other engine's log; `None` if the item is no copy.
    pub source: Option<ItemOrigin>,
    /// The source position that must be the last one added so far; 0 for none. It makes a sequence
    /// of additions idempotent and ordered: an item out of order is refused, and none is added
    /// twice.
    pub after: Position,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The phase value of the item, in [0, 1].
    pub phase: f32,
    /// The confidence of its answer, in [0, 1].
    pub confidence: f64,
    /// True if the item is consolidated.
    pub consolidated: bool,
    /// The vector of the prompt, made by this engine's embedder; `None` in a replay after the data
    /// subject was erased.
    pub vector: Option<UnitVector>,
}

/// An administrator's shutdown or resumption.
#[derive(Clone, Debug)]
pub struct Intervene {
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// The replacement of the policy.
#[derive(Clone, Debug)]
pub struct ChangePolicy {
    /// The complete new policy.
    pub policy: Policy,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
    /// The configured policy, if a configuration change caused this.
    pub config: Option<Policy>,
    /// The report of a simulation on which the change is based.
    pub evidence: Option<PolicyEvidence>,
}

/// The creation of an API key.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// The permanent id of the key.
    pub id: KeyId,
    /// SHA-256 of the key's secret.
    pub hash: Sha256,
    /// The permissions and limits of the key.
    pub grant: KeyGrant,
    /// The administrator, as a plain name.
    pub actor: String,
}

/// The revocation of an API key.
#[derive(Clone, Debug)]
pub struct RevokeKey {
    /// The key.
    pub id: KeyId,
    /// The administrator, as a plain name.
    pub actor: String,
}

/// The replacement of an API key's secret.
#[derive(Clone, Debug)]
pub struct RotateKey {
    /// The key.
    pub id: KeyId,
    /// SHA-256 of the new secret.
    pub hash: Sha256,
    /// Seconds for which the previous secret remains valid.
    pub grace_seconds: u32,
    /// The administrator, as a plain name.
    pub actor: String,
}

/// The raise of the log's format.
#[derive(Clone, Debug)]
pub struct RaiseFormat {
    /// The new format.
    pub to: u32,
    /// The administrator, as a plain name.
    pub actor: String,
}
