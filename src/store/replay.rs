//! Folds a whole log, or a log up to a position, from the rows alone.
//!
//! Reading and folding overlap: while one page is folded on a blocking thread the next is read.

use std::sync::Arc;

use crate::domain::ids::{EngineId, Position};

use super::{
    Store, StoreError,
    fold::{Cause, Damage, Folder, FoldingError, PAGE, Row},
    keys::ContentKey,
};

/// Folds an engine's log up to `until` (or its present end), calling `progress` with the position
/// reached after each page.
pub async fn replay(
    store: &Store,
    content_key: &Arc<ContentKey>,
    engine: &EngineId,
    until: Position,
    progress: &mut (dyn FnMut(Position) + Send),
) -> Result<Folder, FoldingError> {
    let mut folder = Folder::new(engine.clone(), Arc::clone(content_key));
    advance(store, &mut folder, engine, until, progress).await?;
    Ok(folder)
}

/// Folds what came after a folder's position, up to `until` or the present end.
pub async fn advance(
    store: &Store,
    folder: &mut Folder,
    engine: &EngineId,
    until: Position,
    progress: &mut (dyn FnMut(Position) + Send),
) -> Result<(), FoldingError> {
    let mut rows = store.read_for_fold(engine, folder.position(), PAGE).await?;
    while let Some((last, _)) = rows.last() {
        let last = last.position;
        fetch_keys(store, folder, engine, &rows).await?;
        let more = last < until && rows.len() as u32 == PAGE;
        let mut working =
            std::mem::replace(folder, Folder::new(engine.clone(), folder.content_key()));
        let fold = tokio::task::spawn_blocking(move || {
            let result = working.fold(rows, until);
            (working, result)
        });
        let next = async {
            if more { store.read_for_fold(engine, last, PAGE).await } else { Ok(Vec::new()) }
        };
        let (ended, read) = tokio::join!(fold, next);
        let (working, result) = ended.map_err(|e| StoreError::Other(e.to_string()))?;
        *folder = working;
        result?;
        progress(folder.position());
        rows = read?;
    }
    Ok(())
}

/// Fetches the keys that a folder needs for these rows and does not have yet.
pub async fn fetch_keys(
    store: &Store,
    folder: &mut Folder,
    engine: &EngineId,
    rows: &[Row],
) -> Result<(), FoldingError> {
    let asked = folder.missing_keys(rows);
    if asked.is_empty() {
        return Ok(());
    }
    let found = store.subjects_by_ref(engine, &asked).await?;
    let position = folder.position() + 1;
    folder.add_keys(&asked, &found).map_err(|e| {
        FoldingError::Damage(Box::new(Damage {
            engine: engine.clone(),
            position,
            cause: Cause::Key(e),
        }))
    })
}
