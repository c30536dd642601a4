//! Reading the event log from the database, next to a running server.

use std::sync::Arc;

use super::{Context, context::Finding};
use crate::{
    domain::ids::EngineId,
    startup::{StartError, content_key, store_options},
    store::{EngineRow, Store, keys::ContentKey},
};

/// Opens the configured database read-only, without the process lock of SQLite.
pub(super) async fn open(context: &Context) -> anyhow::Result<Store> {
    let database = &context.loaded()?.config.database;
    Ok(Store::open_read_only(&store_options(database)).await?)
}

/// The key that decrypts the contents of the database. Never creates one.
pub(super) fn key(context: &Context, store: &Store) -> anyhow::Result<Arc<ContentKey>> {
    let database = &context.loaded()?.config.database;
    let key: Result<_, StartError> = content_key(database, store.path(), false);
    Ok(Arc::new(key?))
}

/// The named engine, or all engines ordered by name.
pub(super) async fn engines(
    store: &Store,
    named: Option<&EngineId>,
) -> anyhow::Result<Vec<EngineRow>> {
    let Some(id) = named else { return Ok(store.engines().await?) };
    let missing = || {
        Finding(format!("engine \"{id}\" does not exist; `mlsdm engine list` lists the engines"))
    };
    Ok(vec![store.engine(id).await?.ok_or_else(missing)?])
}
