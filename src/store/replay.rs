//! Replays a log, completely or up to a position.
//!
//! Reading and folding overlap: the next page is read while the previous one is folded on a
//! blocking thread.

use std::sync::Arc;

use crate::domain::ids::{EngineId, Position};

use super::{
    Store, StoreError,
    keys::ContentKey,
    state_fold::{DamageCause, LogDamage, PAGE, RecordWithVector, ReplayError, StateFold},
};

/// Folds an engine's log up to `until` or its current end. Calls `progress` with the position
/// reached after each page.
pub async fn replay(
    store: &Store,
    content_key: &Arc<ContentKey>,
    engine: &EngineId,
    until: Position,
    progress: &mut (dyn FnMut(Position) + Send),
) -> Result<StateFold, ReplayError> {
    let mut fold =
        StateFold::new(engine.clone(), Arc::clone(content_key), Arc::clone(store.mac_ring()));
    advance(store, &mut fold, engine, until, progress).await?;
    Ok(fold)
}

/// Folds the events after the fold's position, up to `until` or the current end. After an error the fold
/// holds the events before the one that caused it.
pub async fn advance(
    store: &Store,
    fold: &mut StateFold,
    engine: &EngineId,
    until: Position,
    progress: &mut (dyn FnMut(Position) + Send),
) -> Result<(), ReplayError> {
    let mut page = store.fold_page(engine, fold.position(), PAGE).await?;
    while let Some((last, _)) = page.rows.last() {
        let last = last.position;
        fetch_keys(store, fold, engine, &page.rows).await?;
        let is_full = page.rows.len() as u32 == PAGE || page.unreadable.is_some();
        let more = last < until && is_full;
        let empty = StateFold::new(engine.clone(), fold.content_key(), fold.mac_ring());
        let mut working = std::mem::replace(fold, empty);
        let applying = tokio::task::spawn_blocking(move || {
            let result = working.apply(page.rows, until);
            (working, result)
        });
        let next = async {
            if more { store.fold_page(engine, last, PAGE).await.map(Some) } else { Ok(None) }
        };
        let (applied, read) = tokio::join!(applying, next);
        let (working, result) = applied.map_err(|e| StoreError::Other(e.to_string()))?;
        *fold = working;
        result?;
        progress(fold.position());
        match read? {
            Some(next) => page = next,
            None => return Ok(()),
        }
    }
    match page.unreadable {
        Some(error) if fold.position() < until => Err(unreadable(fold, engine, error)),
        _ => Ok(()),
    }
}

/// Folds the event after the fold's position, if there is one.
pub async fn advance_one(
    store: &Store,
    fold: &mut StateFold,
    engine: &EngineId,
) -> Result<(), ReplayError> {
    let page = store.fold_page(engine, fold.position(), 1).await?;
    fetch_keys(store, fold, engine, &page.rows).await?;
    fold.apply(page.rows, Position::MAX)?;
    page.unreadable.map_or(Ok(()), |error| Err(unreadable(fold, engine, error)))
}

/// The error of a row that does not have the form of an event.
fn unreadable(fold: &StateFold, engine: &EngineId, error: StoreError) -> ReplayError {
    let StoreError::Corrupt { what, .. } = error else { return error.into() };
    ReplayError::Damage(Box::new(LogDamage {
        engine: engine.clone(),
        position: fold.position() + 1,
        cause: DamageCause::Unreadable(what),
    }))
}

/// Fetches the keys that a fold needs for these rows and has not cached: the MAC keys and those of
/// data subjects.
pub async fn fetch_keys(
    store: &Store,
    fold: &mut StateFold,
    engine: &EngineId,
    rows: &[RecordWithVector],
) -> Result<(), ReplayError> {
    let unknown = fold.missing_mac_keys(rows);
    if !unknown.is_empty() {
        fold.add_mac_keys(&store.mac_key_rows(&unknown).await?);
    }
    let missing = fold.missing_keys(rows);
    if missing.is_empty() {
        return Ok(());
    }
    let found = store.subjects_by_ref(engine, &missing).await?;
    fold.add_keys(&missing, &found);
    Ok(())
}
