//! The database and the content key of a configuration.

use std::path::Path;

use secrecy::ExposeSecret as _;

use super::StartError;
use crate::{
    config,
    store::{self, keys::ContentKey},
};

/// The connection options of a configuration.
pub fn store_options(database: &config::Database) -> store::Options {
    store::Options {
        max_connections: database.max_connections,
        pooler: database.pooler,
        statement_timeout: database.statement_timeout(),
        lock_timeout: database.lock_timeout(),
        connect_timeout: database.acquire_timeout(),
        ..store::Options::new(database.url.clone())
    }
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
    let file = sqlite.ok_or(StartError::NoContentKey)?.with_extension("key");
    Ok(if create { ContentKey::load_or_create(&file)? } else { ContentKey::from_file(&file)? })
}
