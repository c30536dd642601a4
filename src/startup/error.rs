//! The error of [`startup`](super).

use std::path::PathBuf;

use crate::{
    auth, embed,
    engine::EngineError,
    llm::SetupError,
    store::{StoreError, seal::SealError},
};

/// Why a server cannot start, or a command cannot open the event log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened or migrated.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content key cannot be read, parsed or created.
    #[error(transparent)]
    Key(#[from] SealError),
    /// The database is PostgreSQL and no content key is configured.
    #[error(
        "PostgreSQL needs a content key: set MLSDM_CONTENT_KEY or MLSDM_CONTENT_KEY_FILE \
         (generate one with `openssl rand -hex 32`) and back it up; contents cannot be read \
         without it"
    )]
    NoContentKey,
    /// The SQLite file is missing or empty although the key file beside it exists.
    #[error(
        "the event log {log} is missing, but its key file {key} exists; restore the log from a \
         backup, or move the key file away to begin an empty log"
    )]
    LogMissing {
        /// The database file.
        log: PathBuf,
        /// The file of the content key.
        key: PathBuf,
    },
    /// The embedder cannot be opened, or its first embedding failed permanently.
    #[error(transparent)]
    Embedder(#[from] embed::OpenError),
    /// The default engine or the system log cannot be created or loaded.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A model provider cannot be configured.
    #[error(transparent)]
    Llm(#[from] SetupError),
    /// Authentication cannot be configured.
    #[error(transparent)]
    Auth(#[from] auth::SetupError),
}
