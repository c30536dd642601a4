//! The event log in SQLite or PostgreSQL: rows, keys and the hash chain.
//!
//! An engine's log is gapless and commit-ordered because the only way to append is to hold the
//! engine's row ([`Store::begin`]). The tables, the same in `migrations/postgres` and
//! `migrations/sqlite`:
//!
//! - `engines`: one row an engine; locked by writers, never updated by them (an updated head row
//!   degrades behind any long snapshot). The head is read from the last event. The server's own log,
//!   `_system`, is one of them.
//! - `events`: immutable; everything in clear is here.
//! - `contents`: sealed text and vectors, apart so that they can be deleted.
//! - `idempotency`: requests that may be repeated; no text.
//! - `subject_keys`: one wrapped key a data subject; destroying it erases what it sealed.
//!
//! Deliberately not here: what an event means, deciding, batching, and waiting for a database that
//! is away. The store speaks rows and bytes and reports a [`StoreError`] that says what to do.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction, pool::PoolConnection};

use self::metrics::StoreMetrics;
use crate::domain::ids::Micros;

/// Maps over the rows of a statement in either dialect: `Result<Vec<_>, StoreError>`.
macro_rules! fetch {
    ($conn:expr, $sql:expr, $decode:expr, [$($bind:expr),*]) => {
        fetch!($conn, $sql, $decode, sqlite [$($bind),*], postgres [$($bind),*])
    };
    ($conn:expr, $sql:expr, $decode:expr,
     sqlite [$($lite:expr),*], postgres [$($pg:expr),*]) => {
        match $conn {
            $crate::store::Conn::Sqlite(conn) => sqlx::query($sql.sqlite)
                $(.bind($lite))*
                .fetch_all(conn)
                .await
                .map_err($crate::store::error::classify)
                .and_then(|rows| rows.iter().map($decode).collect::<Result<Vec<_>, _>>()),
            $crate::store::Conn::Postgres(conn, named) => sqlx::query($sql.postgres)
                $(.bind($pg))*
                .persistent(named)
                .fetch_all(conn)
                .await
                .map_err($crate::store::error::classify)
                .and_then(|rows| rows.iter().map($decode).collect::<Result<Vec<_>, _>>()),
        }
    };
}

/// Runs a statement in either dialect: the number of rows affected.
macro_rules! execute {
    ($conn:expr, $sql:expr, [$($bind:expr),*]) => {
        execute!($conn, $sql, sqlite [$($bind),*], postgres [$($bind),*])
    };
    ($conn:expr, $sql:expr, sqlite [$($lite:expr),*], postgres [$($pg:expr),*]) => {
        match $conn {
            $crate::store::Conn::Sqlite(conn) => sqlx::query($sql.sqlite)
                $(.bind($lite))*
                .execute(conn)
                .await
                .map(|done| done.rows_affected()),
            $crate::store::Conn::Postgres(conn, named) => sqlx::query($sql.postgres)
                $(.bind($pg))*
                .persistent(named)
                .execute(conn)
                .await
                .map(|done| done.rows_affected()),
        }
    };
}

mod append;
pub mod audit;
mod bind;
pub mod chain;
pub mod codec;
pub mod content_cache;
mod error;
pub mod faults;
pub mod keys;
pub mod metrics;
mod postgres;
mod probe;
mod read;
mod records;
pub mod replay;
pub mod seal;
mod sql;
mod sqlite;
pub mod state_fold;
pub mod subject;
mod tx;
pub mod writer;

pub use append::{Append, LogClock, PURGE_ROWS, Rows, UnlockedAppend};
pub use error::{CommitError, StoreError};
pub use postgres::PostgresStore;
pub use probe::Snapshot;
pub use records::{
    Content, EngineRow, Head, Hmac, IdempotencyKey, IdempotencyRow, Record, SealedContent,
    SubjectRow,
};
pub use sqlite::SqliteStore;

/// Connections a process holds at most. More wait, at most the connect timeout.
pub const MAX_CONNECTIONS: u32 = 10;
/// A statement that runs longer is cancelled by the server.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A writer that waits longer for an engine's row, or for SQLite's write lock, gives up.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// A transaction left idle longer is ended by the server, so that it cannot hold an engine's row.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a connection, new or from the pool.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A source of the time; replaces the log's clock in tests.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How to reach a database.
#[derive(Clone)]
pub struct Options {
    /// `sqlite://path/to/file.db` or `postgres://user:password@host/name`.
    pub url: SecretString,
    /// See [`MAX_CONNECTIONS`].
    pub max_connections: u32,
    /// Whether a PgBouncer in transaction mode stands between: no named statements, and every
    /// statement in an explicit transaction.
    pub pooler: bool,
    /// See [`STATEMENT_TIMEOUT`]; SQLite has none.
    pub statement_timeout: Duration,
    /// See [`LOCK_TIMEOUT`].
    pub lock_timeout: Duration,
    /// See [`IDLE_TIMEOUT`]; SQLite has none.
    pub idle_timeout: Duration,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// The log's clock: `None` is the database's own (SQLite: the system's).
    pub clock: Option<Clock>,
    /// Test hooks; empty in a build without tests.
    pub hooks: faults::Hooks,
}

impl Options {
    /// The defaults for a database URL.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            max_connections: MAX_CONNECTIONS,
            pooler: false,
            statement_timeout: STATEMENT_TIMEOUT,
            lock_timeout: LOCK_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            clock: None,
            hooks: faults::Hooks::default(),
        }
    }

    /// The file that a SQLite URL names, whether it exists or not; `None` for PostgreSQL.
    pub fn sqlite_file(&self) -> Result<Option<PathBuf>, StoreError> {
        match Dialect::of(self)? {
            Dialect::Sqlite => sqlite::file(self).map(Some),
            Dialect::Postgres => Ok(None),
        }
    }
}

/// A handle on the event log. Clones share connections.
#[derive(Clone)]
pub enum Store {
    /// One file, served by one process.
    Sqlite(SqliteStore),
    /// A PostgreSQL database, served by any number of processes.
    Postgres(PostgresStore),
}

impl Store {
    /// Opens the database for reading and appending. A SQLite file (and its folder) is made if
    /// missing, readable by its owner only, and locked against other processes.
    pub async fn open(options: &Options) -> Result<Self, StoreError> {
        match Dialect::of(options)? {
            Dialect::Sqlite => SqliteStore::open(options).await.map(Self::Sqlite),
            Dialect::Postgres => PostgresStore::open(options, false).await.map(Self::Postgres),
        }
    }

    /// Opens the database for reading only; works beside a running server.
    pub async fn open_read_only(options: &Options) -> Result<Self, StoreError> {
        match Dialect::of(options)? {
            Dialect::Sqlite => SqliteStore::open_read_only(options).await.map(Self::Sqlite),
            Dialect::Postgres => PostgresStore::open(options, true).await.map(Self::Postgres),
        }
    }

    /// Brings the tables to this version. On PostgreSQL use a direct URL, without a pooler.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.migrate().await,
            Self::Postgres(store) => store.migrate().await,
        }
    }

    /// Removes deleted rows from SQLite's write-ahead log: without it an erasure would leave them
    /// there until the log is reused. PostgreSQL's log belongs to its operator.
    pub async fn truncate_wal(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.truncate_wal().await,
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Closes all connections, and gives a SQLite file free for other processes.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }

    /// The file of a SQLite database, absolute.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(store) => Some(store.path()),
            Self::Postgres(_) => None,
        }
    }

    /// The pools of connections, by name.
    pub fn pools(&self) -> Vec<(&'static str, PoolUse)> {
        match self {
            Self::Sqlite(store) => store.pools(),
            Self::Postgres(store) => vec![("postgres", store.pool())],
        }
    }

    /// Whether this process alone may write the log: SQLite's file is locked against others.
    pub const fn has_one_owner(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// The time as far as this process knows it without asking the database: good enough to see
    /// what may be due; the log's clock has the last word.
    pub fn local_time(&self) -> Micros {
        match self {
            Self::Sqlite(store) => store.clock()(),
            Self::Postgres(store) => store.clock().map_or_else(crate::clock::now_micros, |c| c()),
        }
    }

    const fn hooks(&self) -> &faults::Hooks {
        match self {
            Self::Sqlite(store) => &store.hooks,
            Self::Postgres(store) => &store.hooks,
        }
    }

    /// How long its connections take.
    pub const fn metrics(&self) -> &StoreMetrics {
        match self {
            Self::Sqlite(store) => &store.metrics,
            Self::Postgres(store) => &store.metrics,
        }
    }

    /// A connection for one read. [`Reader::done`] hands it back.
    async fn reader(&self) -> Result<Reader, StoreError> {
        let began = Instant::now();
        let reader = match self {
            Self::Sqlite(store) => store.reader().await,
            Self::Postgres(store) => store.reader().await,
        };
        self.metrics().connection_wait.observe_time(began.elapsed());
        reader
    }
}

/// Connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// Those that nobody holds.
    pub idle: usize,
    /// Those that somebody holds.
    pub used: usize,
    /// Most there may be.
    pub max: usize,
}

impl PoolUse {
    fn of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Self {
        let (size, idle) = (pool.size() as usize, pool.num_idle());
        let max = pool.options().get_max_connections() as usize;
        Self { idle, used: size.saturating_sub(idle), max }
    }
}

enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    fn of(options: &Options) -> Result<Self, StoreError> {
        let url = options.url.expose_secret();
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(StoreError::Url("it begins with neither sqlite: nor postgres:".to_owned())),
        }
    }
}

/// A borrowed connection; for PostgreSQL with whether its statements may be named.
enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection, bool),
}

/// A connection out of the pool.
enum Reader {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    /// Behind PgBouncer prepare and execute of one statement may reach two servers, unless a
    /// transaction holds them together.
    Pooled(Transaction<'static, Postgres>),
}

impl Reader {
    fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn) => Conn::Sqlite(conn),
            Self::Postgres(conn) => Conn::Postgres(conn, true),
            Self::Pooled(transaction) => Conn::Postgres(transaction, false),
        }
    }

    async fn done(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => Ok(()),
            Self::Pooled(transaction) => transaction.commit().await.map_err(error::classify),
        }
    }
}
