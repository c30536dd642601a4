//! The order to quarantine events, its result, and the reasons to refuse it.

use crate::{
    domain::{
        command::Refusal,
        ids::{EngineId, Position, QuarantineId, Sha256},
    },
    store::{MacKeyError, StoreError, seal::SealError, state_fold::LogDamage},
};

/// The order to quarantine the end of a log.
#[derive(Clone, Debug)]
pub struct Order {
    /// The engine.
    pub engine: EngineId,
    /// The first position to move: the position of the damage, or the one after the last event.
    pub from: Position,
    /// True if the log verifies, but its end is known to be lost.
    pub accept_loss: bool,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the administrator.
    pub reason: String,
}

/// The result of a quarantine.
#[derive(Debug)]
pub struct Quarantined {
    /// The id of the events in `quarantined_events`; `None` if there were none to move.
    pub id: Option<QuarantineId>,
    /// The number of events that were moved.
    pub events: u64,
    /// The damage of the log; `None` if its end was lost.
    pub damage: Option<Box<LogDamage>>,
    /// The position of `log.recovered`.
    pub position: Position,
    /// The chain hash at that position.
    pub chain_hash: Sha256,
}

/// Why nothing was quarantined.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key is not the one of the database.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The role does not own the tables.
    #[error(
        "only the owner of the tables can remove events from a log; use the database role that runs \
         the migrations"
    )]
    NotOwner,
    /// The first event would be moved.
    #[error(
        "the first event of engine {0} cannot be moved, since the engine would have no policy; restore \
         the log from a backup"
    )]
    FirstEvent(EngineId),
    /// The log is damaged before the position.
    #[error("{0}: nothing after it can be trusted; use --from {position}", position = .0.position)]
    DamagedBefore(Box<LogDamage>),
    /// The position is after the end of the log.
    #[error("the log of engine {engine} ends at position {head}; use --from {next}", next = head + 1)]
    AfterEnd {
        /// The engine.
        engine: EngineId,
        /// The position of the last event.
        head: Position,
    },
    /// The event may be genuine.
    #[error("{0}: the event may be genuine; run the newer binary, and quarantine nothing")]
    Newer(Box<LogDamage>),
    /// The log is damaged later.
    #[error(
        "the events before position {position} are authentic; use --from {position}",
        position = .0.position
    )]
    DamagedAfter(Box<LogDamage>),
    /// The log is not damaged.
    #[error(
        "the log of engine {engine} verifies up to its last event at position {head}: there is nothing to \
         quarantine. If events after it were lost, use --from {next} --accept-loss", next = head + 1
    )]
    Intact {
        /// The engine.
        engine: EngineId,
        /// The position of the last event.
        head: Position,
    },
    /// The format of the log has no `log.recovered`.
    #[error(
        "the log of engine {0} has format 1 before that position, whose events are not authenticated; \
         restore it from a backup"
    )]
    Format(EngineId),
    /// The log changed during the quarantine.
    #[error("the log of engine {0} changed meanwhile; run the command again")]
    Changed(EngineId),
    /// The order is invalid.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A defect.
    #[error("log.recovered cannot be written: {0}")]
    Defect(String),
}

impl From<MacKeyError> for QuarantineError {
    fn from(error: MacKeyError) -> Self {
        match error {
            MacKeyError::Store(error) => error.into(),
            MacKeyError::Seal(error) => error.into(),
        }
    }
}
