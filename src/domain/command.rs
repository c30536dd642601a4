//! Commands to an engine. `decide` turns a command into events or a [`Refusal`].

use super::{
    budget::{HOLDERS_MAX, KeyLimit, Price},
    event::{ContextUse, FailStage, ItemOrigin, Latency, ScorerResult, Usage},
    ids::{EngineId, KeyId, Micros, Position, Sha256, SubjectRef},
    keys::{InvalidKey, KEYS_MAX, KeyGrant},
    moral::ScoreError,
    policy::{Policy, PolicyError},
    vector::UnitVector,
};

/// A command. Its actor and the content that belongs to it (prompt, answer) are in
/// `store::writer::Proposal`.
#[derive(Clone, Debug)]
pub enum Command {
    /// Admit a request: decide whether the model may be called.
    Admit(Box<Admit>),
    /// Record the answer of an admitted step.
    Complete(Box<Complete>),
    /// Record that an admitted step ended without an answer.
    Fail(Fail),
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
            | Self::RotateKey(_) => None,
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
    /// The result of the engine's scorer.
    pub scored: Option<ScorerResult>,
    /// The route template of the HTTP request.
    pub route: String,
    /// The requested model.
    pub model: Option<String>,
    /// The requested `max_tokens`.
    pub max_tokens: Option<u32>,
    /// True if the answer may be limited to `max_sleep_tokens` in the sleep phase.
    pub shortenable: bool,
    /// The requested number of memory items; `None` for the policy's `context.top_k`.
    pub top_k: Option<usize>,
    /// Length of the prompt in characters.
    pub prompt_chars: usize,
    /// Estimated tokens of the prompt and its context; read by budgets only.
    pub prompt_tokens: u64,
    /// The price of the model, if it is configured; read by budgets only.
    pub price: Option<Price>,
    /// The limit of the API key that authenticated the request, if the key has one.
    pub key_limit: Option<KeyLimit>,
    /// HMAC of the prompt under the data subject's key, in hexadecimal.
    pub prompt_hmac: String,
    /// Timeout of the step in microseconds.
    pub timeout: Micros,
    /// Time after the timeout within which the ending must be recorded, in microseconds.
    pub grace: Micros,
    /// Milliseconds since the request arrived; reported in the answer of a rejection.
    pub elapsed_ms: f64,
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
    /// The memory context given to the model.
    pub context: ContextUse,
    /// The confidence of the answer, in [0, 1] (see [`confidence`](super::confidence)).
    pub confidence: f64,
    /// True if the answer repeats itself (see [`is_looping`](super::confidence::is_looping)).
    pub looping: bool,
    /// True if the answer was truncated to the size limit.
    pub cut: bool,
    /// The vector of the prompt; `None` in a replay after the data subject was erased.
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
}

/// The reason for abandoning a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbandonCause {
    /// The log's clock has passed the deadline of the step.
    Deadline,
    /// This process is the only writer of the log and has just started, so no process can still be
    /// running the step.
    SoleOwner,
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
    /// The position of the item in the other engine's log.
    pub source: ItemOrigin,
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
    /// The policy of the configuration, if the configuration caused the change.
    pub config: Option<Policy>,
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

/// The unit of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetUnit {
    /// Tokens of prompts, contexts and answers.
    Tokens,
    /// Millionths of a US dollar.
    MicroUsd,
}

impl std::fmt::Display for BudgetUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tokens => "tokens",
            Self::MicroUsd => "micro-USD",
        })
    }
}

/// The reason for refusing a command; a refused command records no event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The engine is shut down.
    #[error("the engine is shut down ({reason}); an operator must resume it")]
    Shutdown {
        /// The reason given at the shutdown.
        reason: String,
    },
    /// The budget of the data subject or of the API key is spent or reserved by open steps.
    #[error(
        "the budget of {limit} {unit} is spent or reserved by running steps; \
         the next window starts in {} s", seconds(*retry_after)
    )]
    Budget {
        /// The unit that is exhausted.
        unit: BudgetUnit,
        /// The limit per window.
        limit: u64,
        /// Microseconds until the window ends.
        retry_after: Micros,
    },
    /// The current window already has [`HOLDERS_MAX`] accounts.
    #[error(
        "the current window has the maximum of {HOLDERS_MAX} budget accounts; retry in {} s, \
         or ask the operator to shorten policy.budget.window_seconds",
        seconds(*retry_after)
    )]
    BudgetHolders {
        /// Microseconds until the window ends.
        retry_after: Micros,
    },
    /// Costs are limited, and no price is configured for the model.
    #[error(
        "a cost limit applies (policy.budget.cost_micro_usd or that of the API key), but the model \
         has no price; use a model with a price, or ask the operator to configure one"
    )]
    NoPrice,
    /// The moral score is missing or out of range.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The step has already ended, or never started.
    #[error("step {step} is not open: its ending is already recorded")]
    NotOpen {
        /// The step.
        step: u64,
    },
    /// The deadline of the step has not passed.
    #[error("the deadline of step {step}, {deadline} µs, has not passed")]
    NotExpired {
        /// The step.
        step: u64,
        /// Its deadline.
        deadline: Micros,
    },
    /// The policy violates a bound.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy changes a field that is fixed for the life of an engine.
    #[error(
        "policy.{field} is fixed for the life of an engine; \
         `mlsdm engine migrate` copies an engine into a new one with another"
    )]
    Fixed {
        /// The field.
        field: &'static str,
    },
    /// This engine already holds copies from a different engine.
    #[error("this engine already has items copied from engine {engine}; copy into a new engine")]
    OtherSource {
        /// The engine that the existing items were copied from.
        engine: EngineId,
    },
    /// The item was already added, or an item before it is missing.
    #[error(
        "the item at position {position} cannot be added after the one at {last}; run one migration \
         at a time and start it again: it continues after the last added item"
    )]
    OutOfOrder {
        /// The position of the item in the source engine's log.
        position: Position,
        /// The source position of the last added item; 0 for none.
        last: Position,
    },
    /// The API key violates a bound.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The API key does not exist, or it has expired (an expired key can be revoked, but not
    /// rotated).
    #[error("no valid API key {id} exists; GET /v1/keys lists all keys")]
    NoKey {
        /// The requested id.
        id: KeyId,
    },
    /// An API key with this id exists.
    #[error("an API key with this id exists; create a key with a different id")]
    KeyExists,
    /// The maximum number of API keys exists.
    #[error("the maximum of {KEYS_MAX} API keys exists; revoke one that is not needed")]
    TooManyKeys,
    /// The dimension of the vector differs from that of the engine.
    #[error("a vector of dimension {found} does not fit an engine of dimension {expected}")]
    Dimension {
        /// The dimension of the engine.
        expected: usize,
        /// The dimension of the vector.
        found: usize,
    },
}

impl Refusal {
    /// Microseconds after which the same command may be accepted, if that is known.
    pub const fn retry_after(&self) -> Option<Micros> {
        match self {
            Self::Budget { retry_after, .. } | Self::BudgetHolders { retry_after } => {
                Some(*retry_after)
            }
            Self::Shutdown { .. }
            | Self::NoPrice
            | Self::Score(_)
            | Self::NotOpen { .. }
            | Self::NotExpired { .. }
            | Self::Policy(_)
            | Self::Fixed { .. }
            | Self::OtherSource { .. }
            | Self::OutOfOrder { .. }
            | Self::Key(_)
            | Self::NoKey { .. }
            | Self::KeyExists
            | Self::TooManyKeys
            | Self::Dimension { .. } => None,
        }
    }
}

/// Converts microseconds to seconds, rounding up.
const fn seconds(micros: Micros) -> u64 {
    micros.unsigned_abs().div_ceil(1_000_000)
}
