//! The remedy for a log with events that no server of the deployment wrote, or that lost events: moves
//! the events from the damage on into a table of their own, and goes on with `log.recovered`.
//!
//! This is the only operation that removes events. It needs the database role that owns the tables, and
//! the content key, with which it authenticates `log.recovered`. It works while servers run: they fold
//! `log.recovered` where they had stopped. Events before the damage are never touched.

mod cut;
mod order;

use std::sync::Arc;

use super::{
    Store, StoreError,
    keys::ContentKey,
    replay,
    state_fold::{LogDamage, MAC_FORMAT, ReplayError, StateFold},
};
use crate::domain::ids::{EngineId, Position};
pub use order::{Order, QuarantineError, Quarantined};

/// Attempts at the transaction while other transactions hold its locks.
const ATTEMPTS_MAX: u32 = 4;

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
        let seen = cut::evidence_at(store, order).await?;
        let (fold, damage) = check(store, content_key, order).await?;
        let found = damage.as_ref().map(|_| &seen);
        match cut::cut(store, content_key, order, (fold, found)).await {
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
        Some(damage) if damage.cause.may_be_newer() => Err(QuarantineError::Newer(damage)),
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
