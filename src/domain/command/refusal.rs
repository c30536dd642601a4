//! Refusals: the reasons for which a command records no event.

use crate::domain::{
    budget::HOLDERS_MAX,
    event::LOG_FORMAT,
    ids::{EngineId, KeyId, Micros, Position},
    keys::{InvalidKey, KEYS_MAX},
    moral::ScoreError,
    policy::PolicyError,
    state::HOLDS_MAX,
};

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
    /// The log's format is below that of the event.
    #[error(
        "{kind} needs log format {needed}, and the log has format {found}; run \
         `mlsdm upgrade finish` once all servers have the newer version"
    )]
    LogFormat {
        /// The event type.
        kind: &'static str,
        /// The format that it needs.
        needed: u32,
        /// The format of the log.
        found: u32,
    },
    /// This binary does not know the requested log format.
    #[error("log format {to} is unknown; this binary knows up to {LOG_FORMAT}")]
    UnknownFormat {
        /// The requested format.
        to: u32,
    },
    /// A fact is larger than its bound.
    #[error("{field} of {kind} must have {must}")]
    FactBound {
        /// The event type.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// The bound, for use after "must have".
        must: &'static str,
    },
    /// The memory has no item at this position.
    #[error("the memory has no item at position {position}")]
    NoItem {
        /// The position.
        position: Position,
    },
    /// The position is not in the log yet.
    #[error("position {position} is not in the log yet; its last position is {head}")]
    NoPosition {
        /// The position.
        position: Position,
        /// The last position of the log.
        head: Position,
    },
    /// The maximum number of holds exists.
    #[error("the maximum of {HOLDS_MAX} holds exists; release one that is not needed")]
    TooManyHolds,
    /// The process that runs the step may be alive.
    #[error(
        "the process that runs step {step} gave a sign of life at {last_seen} µs; \
         the step can be closed 30 s later"
    )]
    ReplicaAlive {
        /// The step.
        step: u64,
        /// The last sign of life.
        last_seen: Micros,
    },
    /// The process that runs the step is unknown, so it cannot be gone.
    #[error("step {step} names no process; it can be closed after its deadline")]
    NoReplica {
        /// The step.
        step: u64,
    },
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
            | Self::LogFormat { .. }
            | Self::UnknownFormat { .. }
            | Self::FactBound { .. }
            | Self::NoItem { .. }
            | Self::NoPosition { .. }
            | Self::TooManyHolds
            | Self::ReplicaAlive { .. }
            | Self::NoReplica { .. }
            | Self::Dimension { .. } => None,
        }
    }
}

/// Converts microseconds to seconds, rounding up.
const fn seconds(micros: Micros) -> u64 {
    micros.unsigned_abs().div_ceil(1_000_000)
}
