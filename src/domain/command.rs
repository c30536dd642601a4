//! What is asked of an engine. `decide` turns a command into events or a refusal.

use super::{
    budget::{HOLDERS_MAX, KeyLimit, Price},
    event::{ContextUse, FailStage, ItemOrigin, Latency, ScorerResult, Usage},
    ids::{EngineId, KeyId, Micros, Position, Sha256, SubjectRef},
    keys::{InvalidKey, KEYS_MAX, KeyGrant},
    moral::ScoreError,
    policy::{Policy, PolicyError},
    vector::UnitVector,
};

/// One command; whose it is and its content travel beside it (`store::writer`).
#[derive(Clone, Debug)]
pub enum Command {
    /// May this request go to the model?
    Admit(Box<Admit>),
    /// The model answered.
    Complete(Box<Complete>),
    /// The step ended without an answer.
    Fail(Fail),
    /// Nobody ended the step.
    Abandon(Abandon),
    /// Remember what another engine remembers.
    Add(Box<Add>),
    /// Admit nothing from now on.
    Shutdown(Intervene),
    /// Admit again.
    Resume(Intervene),
    /// Replace the policy.
    ChangePolicy(Box<ChangePolicy>),
    /// Record the digest of the present state.
    Attest,
    /// Take an API key from now on.
    CreateKey(Box<CreateKey>),
    /// Take it no longer.
    RevokeKey(RevokeKey),
    /// Give it another secret.
    RotateKey(RotateKey),
}

impl Command {
    /// The vector that travels with it.
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

/// A request.
#[derive(Clone, Debug)]
pub struct Admit {
    /// Whose words.
    pub subject: SubjectRef,
    /// The caller's own score.
    pub caller_score: Option<f64>,
    /// The scorer's opinion.
    pub scored: Option<ScorerResult>,
    /// The route template it came by.
    pub route: String,
    /// The model asked for.
    pub model: Option<String>,
    /// Tokens asked for.
    pub max_tokens: Option<u32>,
    /// Whether the answer may be cut short in sleep.
    pub shortenable: bool,
    /// Memories asked for; the policy's number without.
    pub top_k: Option<usize>,
    /// Length of the prompt in characters.
    pub prompt_chars: usize,
    /// Tokens that the prompt and its context may have, roughly; only a budget reads them.
    pub prompt_tokens: u64,
    /// What the model costs, if anybody knows; only a budget reads it.
    pub price: Option<Price>,
    /// The limit of the API key it came with, if that has one.
    pub key_limit: Option<KeyLimit>,
    /// Keyed hash of the prompt, hexadecimal.
    pub prompt_hmac: String,
    /// How long the step may take, in microseconds.
    pub timeout: Micros,
    /// How much longer its ending may take to arrive, in microseconds.
    pub grace: Micros,
    /// Time since the request arrived, for the answer of a refusal.
    pub elapsed_ms: f64,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Complete {
    /// Which step.
    pub step: u64,
    /// Who answered.
    pub provider: String,
    /// The model as reported.
    pub model: String,
    /// Tokens.
    pub usage: Usage,
    /// Why the answer ended.
    pub finish_reason: String,
    /// Where the time went.
    pub latency: Latency,
    /// Calls made to providers.
    pub attempts: u32,
    /// The context given.
    pub context: ContextUse,
    /// How sure the answer sounds.
    pub confidence: f64,
    /// Whether it goes round in circles.
    pub looping: bool,
    /// Whether it was cut to its size limit.
    pub cut: bool,
    /// The prompt's vector; absent in a replay after its erasure.
    pub vector: Option<UnitVector>,
}

/// An ending without an answer.
#[derive(Clone, Debug)]
pub struct Fail {
    /// Which step.
    pub step: u64,
    /// Where it ended.
    pub stage: FailStage,
    /// A short name of the cause.
    pub code: String,
    /// From the request's arrival.
    pub latency_ms: f64,
    /// Calls made to providers.
    pub attempts: u32,
    /// Tokens spent all the same.
    pub usage: Usage,
}

/// Why a step is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbandonCause {
    /// The log's clock passed its deadline.
    Deadline,
    /// This process alone may write the log, and it has just started.
    SoleOwner,
}

/// Give a step up.
#[derive(Clone, Copy, Debug)]
pub struct Abandon {
    /// Which step.
    pub step: u64,
    /// Why.
    pub cause: AbandonCause,
}

/// An item of another engine.
#[derive(Clone, Debug)]
pub struct Add {
    /// Whose words, by this engine's pseudonym.
    pub subject: SubjectRef,
    /// Where it is remembered.
    pub source: ItemOrigin,
    /// The position at the source that has to be the last one added so far; 0 for none. So items
    /// handed over one after another are added in order or not at all, and never twice.
    pub after: Position,
    /// Who adds it, by clear name.
    pub actor: String,
    /// Its phase value.
    pub phase: f32,
    /// How sure its answer sounds.
    pub confidence: f64,
    /// Whether it is consolidated.
    pub consolidated: bool,
    /// Its prompt's vector, by this engine's embedder; absent in a replay after its erasure.
    pub vector: Option<UnitVector>,
}

/// An administrator's act.
#[derive(Clone, Debug)]
pub struct Intervene {
    /// Who, by clear name.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A new policy.
#[derive(Clone, Debug)]
pub struct ChangePolicy {
    /// The whole of it.
    pub policy: Policy,
    /// Who, by clear name.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The configuration's policy, when configuration caused it.
    pub config: Option<Policy>,
}

/// A new API key.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// Its name for good.
    pub id: KeyId,
    /// SHA-256 of its secret.
    pub hash: Sha256,
    /// What it is given.
    pub grant: KeyGrant,
    /// Who, by clear name.
    pub actor: String,
}

/// An API key's end.
#[derive(Clone, Debug)]
pub struct RevokeKey {
    /// The key.
    pub id: KeyId,
    /// Who, by clear name.
    pub actor: String,
}

/// An API key's other secret.
#[derive(Clone, Debug)]
pub struct RotateKey {
    /// The key.
    pub id: KeyId,
    /// SHA-256 of the new secret.
    pub hash: Sha256,
    /// For how long the one before still counts.
    pub grace_seconds: u32,
    /// Who, by clear name.
    pub actor: String,
}

/// What a budget limits.
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

/// Why a command yields no event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The engine is shut down.
    #[error("the engine is shut down ({reason}); an operator must resume it")]
    Shutdown {
        /// The reason given at the shutdown.
        reason: String,
    },
    /// The data subject, or the API key, has spent its budget, or the running steps may.
    #[error(
        "the budget of {limit} {unit} is spent, or held by steps that still run; \
         the next window begins in {} s", seconds(*retry_after)
    )]
    Budget {
        /// What there is none left of.
        unit: BudgetUnit,
        /// How much there was.
        limit: u64,
        /// Until the window ends, in microseconds.
        retry_after: Micros,
    },
    /// Too many data subjects have spent something in this window.
    #[error(
        "{HOLDERS_MAX} data subjects have an account in this window, and there is no room for \
         another; try again in {} s, or have the operator shorten policy.budget.window_seconds",
        seconds(*retry_after)
    )]
    BudgetHolders {
        /// Until the window ends, in microseconds.
        retry_after: Micros,
    },
    /// Costs are limited and nobody knows what the model costs.
    #[error(
        "costs are limited (policy.budget.cost_micro_usd, or by the API key) and the model has no price; \
         ask a model with a price, or have the operator configure one"
    )]
    NoPrice,
    /// The score cannot be judged.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The step has ended already, or never began.
    #[error("step {step} is not open: its ending is already recorded")]
    NotOpen {
        /// The step.
        step: u64,
    },
    /// The step's deadline has not passed.
    #[error("step {step} still has until {deadline} µs")]
    NotExpired {
        /// The step.
        step: u64,
        /// Its deadline.
        deadline: Micros,
    },
    /// The policy breaks a bound.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy changes what cannot be changed.
    #[error(
        "policy.{field} is fixed for the life of an engine; \
         `mlsdm engine migrate` copies an engine into a new one with another"
    )]
    Fixed {
        /// The field.
        field: &'static str,
    },
    /// Items are copied from another engine already.
    #[error("this engine is a copy of engine {engine}; copy into an engine of its own")]
    OtherSource {
        /// Where they come from.
        engine: EngineId,
    },
    /// An item's turn has passed, or has not come.
    #[error(
        "the item at position {position} cannot be added: the last one added is that at {last}; \
         run one migration at a time, and start it again: it goes on from there"
    )]
    OutOfOrder {
        /// The item's position at its source.
        position: Position,
        /// The last one's; 0 for none.
        last: Position,
    },
    /// An API key breaks a bound.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// No such API key, or it has expired and can only be revoked.
    #[error("there is no API key {id} that counts; GET /v1/keys lists them")]
    NoKey {
        /// As it was asked for.
        id: KeyId,
    },
    /// The id of an API key is taken.
    #[error("there is an API key of this id already; create another")]
    KeyExists,
    /// Too many API keys.
    #[error("there are {KEYS_MAX} API keys, which is the most; revoke one that is not needed")]
    TooManyKeys,
    /// The vector has another dimension than the engine.
    #[error("a vector of dimension {found} does not fit an engine of dimension {expected}")]
    Dimension {
        /// The engine's.
        expected: usize,
        /// The vector's.
        found: usize,
    },
}

impl Refusal {
    /// After which time, in microseconds, the same command may be accepted, where that is known.
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

/// Whole seconds, rounded up.
const fn seconds(micros: Micros) -> u64 {
    micros.unsigned_abs().div_ceil(1_000_000)
}
