//! The database and the content key of a configuration.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::StartError;
use crate::{
    config,
    store::{self, Store, keys::ContentKey},
};

/// The connection options of a configuration.
pub fn store_options(database: &config::Database) -> store::Options {
    store::Options {
        max_connections: database.max_connections,
        pooler: database.pooler,
        statement_timeout: database.statement_timeout(),
        lock_timeout: database.lock_timeout(),
        idle_timeout: database.idle_transaction_timeout(),
        answer_margin: database.answer_margin(),
        connect_timeout: database.acquire_timeout(),
        ..store::Options::new(database.url.clone())
    }
}

/// Opens the event log for writing and applies the migrations.
pub async fn open_log(database: &config::Database) -> Result<Store, StartError> {
    let options = store_options(database);
    refuse_missing_log(database, options.sqlite_file()?)?;
    let store = Store::open(&options).await?;
    store.migrate().await?;
    Ok(store)
}

/// Fails if the SQLite file `log` is missing but the key file beside it exists: a new log would hide
/// the loss of the old one.
pub fn refuse_missing_log(
    database: &config::Database,
    log: Option<PathBuf>,
) -> Result<(), StartError> {
    let Some(log) = log.filter(|_| database.content_key().is_none()) else { return Ok(()) };
    let key = key_file(&log);
    // a start that was interrupted before the migrations leaves an empty file, but no key
    let is_missing = log.metadata().map_or(true, |metadata| metadata.len() == 0);
    if is_missing && key.exists() { Err(StartError::LogMissing { log, key }) } else { Ok(()) }
}

/// The key file of a SQLite database for which no key is configured.
pub fn key_file(log: &Path) -> PathBuf {
    log.with_extension("key")
}

/// The content key of a configuration. Without a configured key, a SQLite database uses the file
/// next to it with the extension `.key`; `create` makes that file if it is missing.
pub fn content_key(
    database: &config::Database,
    sqlite: Option<&Path>,
    create: bool,
) -> Result<ContentKey, StartError> {
    if let Some(key) = database.content_key() {
        return Ok(ContentKey::from_text(key.expose_secret())?);
    }
    let file = key_file(sqlite.ok_or(StartError::NoContentKey)?);
    Ok(if create { ContentKey::load_or_create(&file)? } else { ContentKey::from_file(&file)? })
}
