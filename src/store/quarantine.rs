//! The remedy for a log with events that no server of the deployment wrote, or that lost events: moves
//! the events from the damage on into a table of their own, and goes on with `log.recovered`.
//!
//! This is the only operation that removes events. It needs the database role that owns the tables, and
//! the content key, with which it authenticates `log.recovered`. It works while servers run: they fold
//! `log.recovered` where they had stopped. Events before the damage are never touched.

mod cut;

use std::sync::Arc;

use super::{
    MacKeyError, Store, StoreError,
    keys::ContentKey,
    replay,
    seal::SealError,
    state_fold::{LogDamage, MAC_FORMAT, ReplayError, StateFold},
};
use crate::domain::{
    command::Refusal,
    ids::{EngineId, Position, QuarantineId, Sha256},
};

/// Attempts at the transaction while other transactions hold its locks.
const ATTEMPTS_MAX: u32 = 4;

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
    /// The log is damaged later.
    #[error("the events before position {position} are authentic; use --from {position}", position = .0.position)]
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

/// Moves the events of a log from the damage on into `quarantined_events`, and appends `log.recovered`.
pub async fn quarantine(
    store: &Store,
    content_key: &Arc<ContentKey>,
    order: &Order,
) -> Result<Quarantined, QuarantineError> {
    let row = store.engine(&order.engine).await?;
    let row = row.ok_or_else(|| StoreError::EngineMissing(order.engine.clone()))?;
    content_key.unwrap_index_key(&row)?;
    if order.from <= 1 {
        return Err(QuarantineError::FirstEvent(order.engine.clone()));
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (fold, damage) = check(store, content_key, order).await?;
        match cut::cut(store, content_key, order, fold).await {
            Err(QuarantineError::Store(error))
                if error.is_transient() && attempts < ATTEMPTS_MAX => {}
            done => return done.map(|done| Quarantined { damage, ..done }),
        }
    }
}

/// Folds the log up to the position, and on to its damage, which must be at the position.
async fn check(
    store: &Store,
    content_key: &Arc<ContentKey>,
    order: &Order,
) -> Result<(StateFold, Option<Box<LogDamage>>), QuarantineError> {
    let engine = &order.engine;
    let mut fold =
        StateFold::new(engine.clone(), Arc::clone(content_key), Arc::clone(store.mac_ring()));
    advance(store, &mut fold, engine, order.from - 1)
        .await?
        .map_or(Ok(()), |damage| Err(QuarantineError::DamagedBefore(damage)))?;
    let Some(state) = fold.state.clone() else {
        return Err(QuarantineError::FirstEvent(engine.clone()));
    };
    if state.position != order.from - 1 {
        return Err(QuarantineError::AfterEnd { engine: engine.clone(), head: state.position });
    }
    if state.log_format < MAC_FORMAT {
        return Err(QuarantineError::Format(engine.clone()));
    }
    let chain_hash = fold.chain_hash;
    let damage = advance(store, &mut fold, engine, Position::MAX).await?;
    let head = fold.position();
    (fold.state, fold.chain_hash) = (Some(state), chain_hash);
    match damage {
        Some(damage) if damage.position == order.from => Ok((fold, Some(damage))),
        Some(damage) => Err(QuarantineError::DamagedAfter(damage)),
        None if order.accept_loss && head + 1 == order.from => Ok((fold, None)),
        None => Err(QuarantineError::Intact { engine: engine.clone(), head }),
    }
}

/// Folds on; returns the damage at which the fold stopped.
async fn advance(
    store: &Store,
    fold: &mut StateFold,
    engine: &EngineId,
    until: Position,
) -> Result<Option<Box<LogDamage>>, StoreError> {
    match replay::advance(store, fold, engine, until, &mut |_| {}).await {
        Ok(()) => Ok(None),
        Err(ReplayError::Damage(damage)) => Ok(Some(damage)),
        Err(ReplayError::Store(error)) => Err(error),
    }
}

impl From<MacKeyError> for QuarantineError {
    fn from(error: MacKeyError) -> Self {
        match error {
            MacKeyError::Store(error) => error.into(),
            MacKeyError::Seal(error) => error.into(),
        }
    }
}
