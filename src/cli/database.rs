//! Reading the log beside a running server.

use std::sync::Arc;

use super::{Context, context::Finding};
use crate::{
    domain::ids::EngineId,
    startup::{StartError, content_key, store_options},
    store::{EngineRow, Store, keys::ContentKey},
};

/// The configured database, for reading only: the process lock of SQLite is left alone.
pub(super) async fn open(context: &Context) -> anyhow::Result<Store> {
    let database = &context.loaded()?.config.database;
    Ok(Store::open_read_only(&store_options(database)).await?)
}

/// The key that opens the database's contents; none is made.
pub(super) fn key(context: &Context, store: &Store) -> anyhow::Result<Arc<ContentKey>> {
    let database = &context.loaded()?.config.database;
    let key: Result<_, StartError> = content_key(database, store.path(), false);
    Ok(Arc::new(key?))
}

/// The named engine, or all of them by name.
pub(super) async fn engines(
    store: &Store,
    named: Option<&EngineId>,
) -> anyhow::Result<Vec<EngineRow>> {
    let Some(id) = named else { return Ok(store.engines().await?) };
    let missing =
        || Finding(format!("there is no engine \"{id}\"; `mlsdm engine list` lists them"));
    Ok(vec![store.engine(id).await?.ok_or_else(missing)?])
}
