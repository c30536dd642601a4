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
    let mut fold = StateFold::new(engine.clone(), Arc::clone(content_key));
    advance(store, &mut fold, engine, until, progress).await?;
    Ok(fold)
}

/// Folds the events after the fold's position, up to `until` or the current end.
pub async fn advance(
    store: &Store,
    fold: &mut StateFold,
    engine: &EngineId,
    until: Position,
    progress: &mut (dyn FnMut(Position) + Send),
) -> Result<(), ReplayError> {
    let mut rows = store.read_for_fold(engine, fold.position(), PAGE).await?;
    while let Some((last, _)) = rows.last() {
        let last = last.position;
        fetch_keys(store, fold, engine, &rows).await?;
        let more = last < until && rows.len() as u32 == PAGE;
        let mut working =
            std::mem::replace(fold, StateFold::new(engine.clone(), fold.content_key()));
        let applying = tokio::task::spawn_blocking(move || {
            let result = working.apply(rows, until);
            (working, result)
        });
        let next = async {
            if more { store.read_for_fold(engine, last, PAGE).await } else { Ok(Vec::new()) }
        };
        let (applied, read) = tokio::join!(applying, next);
        let (working, result) = applied.map_err(|e| StoreError::Other(e.to_string()))?;
        *fold = working;
        result?;
        progress(fold.position());
        rows = read?;
    }
    Ok(())
}

/// Fetches the subject keys that a fold needs for these rows and has not cached.
pub async fn fetch_keys(
    store: &Store,
    fold: &mut StateFold,
    engine: &EngineId,
    rows: &[RecordWithVector],
) -> Result<(), ReplayError> {
    let missing = fold.missing_keys(rows);
    if missing.is_empty() {
        return Ok(());
    }
    let found = store.subjects_by_ref(engine, &missing).await?;
    let position = fold.position() + 1;
    fold.add_keys(&missing, &found).map_err(|e| {
        ReplayError::Damage(Box::new(LogDamage {
            engine: engine.clone(),
            position,
            cause: DamageCause::Key(e),
        }))
    })
}
