//! The event store on SQLite or PostgreSQL: rows, keys and the hash chain.
//!
//! An append must hold the lock on the engine's row ([`Store::begin`]), so each engine's log is
//! gapless and in commit order. The tables have the same meaning in `migrations/postgres` and
//! `migrations/sqlite`:
//!
//! - `engines`: one row per engine. Writers lock the row and never update it: an updated row
//!   degrades under long snapshots. The head of a log is read from its last event. The server's own
//!   log, `_system`, is one of the engines.
//! - `events`: immutable, with the payload as plain JSON (column `clear`).
//! - `contents`: sealed text and vectors, in a table of their own so that they can be deleted.
//! - `idempotency`: requests with an idempotency key; no content.
//! - `subject_keys`: one wrapped key per data subject; deleting it erases everything sealed with
//!   it.
//! - `mac_keys`: the wrapped keys of the events' MACs.
//!
//! Not here: the meaning of an event, decisions, batching, and waiting for an unavailable database.
//! The store works on rows and bytes, and its errors ([`StoreError`]) state the remedy.

use std::{path::Path, sync::Arc, time::Instant};

use self::{mac::MacRing, metrics::StoreMetrics};
use crate::domain::ids::{EngineId, Micros, ReplicaId};
use connection::{Conn, ReadConnection};
use disk::Disk;
use options::DatabaseKind;

#[macro_use]
mod connection;

mod append;
pub mod audit;
mod bind;
pub mod chain;
mod clock;
pub mod codec;
pub mod content_cache;
mod disk;
mod error;
pub mod faults;
pub mod fleet;
pub mod keys;
mod limits;
pub mod mac;
mod mac_keys;
pub mod metrics;
mod migrations;
mod options;
mod pool_use;
mod postgres;
#[cfg(feature = "tools")]
mod probe;
pub mod quarantine;
mod read;
mod records;
pub mod replay;
pub mod replicas;
pub mod seal;
pub mod simulated;
mod sql;
mod sqlite;
pub mod state_fold;
pub mod subject;
mod tx;
pub mod writer;

pub use append::{Append, PURGE_ROWS, Rows, UnlockedAppend};
pub use clock::LogClock;
pub use error::{CommitError, StoreError};
pub use mac_keys::MacKeyError;
pub use options::{
    ANSWER_MARGIN, CONNECT_TIMEOUT, Clock, IDLE_TIMEOUT, LOCK_TIMEOUT, MAX_CONNECTIONS, Options,
    STATEMENT_TIMEOUT,
};
pub use pool_use::PoolUse;
pub use postgres::PostgresStore;
#[cfg(feature = "tools")]
pub use probe::Snapshot;
pub use records::{
    Content, EngineRow, EventMac, Head, Hmac, IdempotencyKey, IdempotencyRow, MacKeyRow, Record,
    SealedContent, SubjectRow,
};
pub use sqlite::SqliteStore;

/// A handle to the event store. Clones share connections.
#[derive(Clone)]
pub enum Store {
    /// A SQLite file, open for writing in one process.
    Sqlite(SqliteStore),
    /// A PostgreSQL database, shared by any number of processes.
    Postgres(PostgresStore),
}

impl Store {
    /// Opens the database for reading and appending. Creates a missing SQLite file (and its folder)
    /// with access for its owner only, and locks it against other processes.
    pub async fn open(options: &Options) -> Result<Self, StoreError> {
        match options.database()? {
            DatabaseKind::Sqlite => SqliteStore::open(options).await.map(Self::Sqlite),
            DatabaseKind::Postgres => PostgresStore::open(options, false).await.map(Self::Postgres),
        }
    }

    /// Opens the database for reading only; works while a server uses it.
    pub async fn open_read_only(options: &Options) -> Result<Self, StoreError> {
        match options.database()? {
            DatabaseKind::Sqlite => SqliteStore::open_read_only(options).await.map(Self::Sqlite),
            DatabaseKind::Postgres => PostgresStore::open(options, true).await.map(Self::Postgres),
        }
    }

    /// Applies the migrations. On PostgreSQL use a direct URL, without a pooler.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.migrate().await,
            Self::Postgres(store) => store.migrate().await,
        }
    }

    /// Fails if [`Self::migrate`] would refuse the tables of another version; changes nothing. On PostgreSQL
    /// the role of a server cannot change tables, and nothing is refused.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.check_schema().await,
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Truncates SQLite's write-ahead log, which otherwise holds erased rows until its space is
    /// reused. The write-ahead log of PostgreSQL is its operator's responsibility.
    pub async fn truncate_wal(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.truncate_wal().await,
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Pings idle connections and drops dead ones: a connection that nobody uses fails silently, and the
    /// next caller would wait for it.
    pub async fn check_idle_connections(&self) {
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(store) => store.check_idle().await,
        }
    }

    /// Closes all connections and unlocks a SQLite file.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }

    /// Fails if a file of a SQLite database that is open for writing was removed or replaced.
    /// Each write transaction does this too.
    pub fn check_files(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.check_files(),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// The absolute path of a SQLite database.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(store) => Some(store.path()),
            Self::Postgres(_) => None,
        }
    }

    /// The connection pools by name.
    pub fn pools(&self) -> Vec<(&'static str, PoolUse)> {
        match self {
            Self::Sqlite(store) => store.pools(),
            Self::Postgres(store) => vec![("postgres", store.pool())],
        }
    }

    /// True if this process is the only writer: a SQLite file is locked against other processes.
    pub const fn has_one_owner(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// The id of this process.
    pub const fn replica(&self) -> ReplicaId {
        match self {
            Self::Sqlite(store) => store.replica(),
            Self::Postgres(store) => store.replica(),
        }
    }

    /// The time by this process, without a query and for no log in particular.
    pub fn local_time(&self) -> Micros {
        self.clock().local()
    }

    /// The time of a log by this process, without a query: sufficient to find candidates for a timeout;
    /// the log's clock decides.
    pub fn log_time(&self, engine: &EngineId) -> Micros {
        self.clock().of_log(engine)
    }

    /// Microseconds since any fixed moment; never decreases.
    pub fn monotonic(&self) -> Micros {
        self.clock().monotonic()
    }

    /// Notes the time of an event that was folded.
    pub(crate) fn folded(&self, engine: &EngineId, recorded_at: Micros) {
        self.clock().saw(engine, recorded_at);
    }

    const fn clock(&self) -> &clock::StoreClock {
        match self {
            Self::Sqlite(store) => store.clock(),
            Self::Postgres(store) => store.clock(),
        }
    }

    /// Begins a write transaction.
    async fn begin_tx(&self) -> Result<tx::Tx, StoreError> {
        match self {
            Self::Sqlite(store) => {
                let limit = store.limits.statement;
                store.begin().await.map(|transaction| tx::Tx::Sqlite(transaction, limit))
            }
            Self::Postgres(store) => store.begin().await.map(tx::Tx::Postgres),
        }
    }

    const fn disk(&self) -> &Disk {
        match self {
            Self::Sqlite(store) => &store.disk,
            Self::Postgres(store) => &store.disk,
        }
    }

    const fn hooks(&self) -> &faults::Hooks {
        match self {
            Self::Sqlite(store) => &store.hooks,
            Self::Postgres(store) => &store.hooks,
        }
    }

    /// The MAC keys of this database that were read.
    pub const fn mac_ring(&self) -> &Arc<MacRing> {
        match self {
            Self::Sqlite(store) => &store.mac_ring,
            Self::Postgres(store) => &store.mac_ring,
        }
    }

    /// The metrics of this store.
    pub const fn metrics(&self) -> &StoreMetrics {
        match self {
            Self::Sqlite(store) => &store.metrics,
            Self::Postgres(store) => &store.metrics,
        }
    }

    /// A connection for one read. [`ReadConnection::done`] ends it.
    async fn reader(&self) -> Result<ReadConnection, StoreError> {
        let began = Instant::now();
        let reader = match self {
            Self::Sqlite(store) => store.reader().await,
            Self::Postgres(store) => store.reader().await,
        };
        self.metrics().connection_wait.observe_time(began.elapsed());
        reader
    }
}
