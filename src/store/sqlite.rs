//! Opens a SQLite file: locks, pragmas, one write connection and a pool of readers.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use secrecy::ExposeSecret;
use sqlx::{
    AssertSqlSafe, Connection as _, Row, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::timeout;

use super::{
    clock::StoreClock,
    connection::ReadConnection,
    disk::Disk,
    error::{StoreError, classify, classify_migration},
    faults::Hooks,
    fleet::SharedFleet,
    limits::{CallLimits, MAINTENANCE_MAX, within},
    mac::MacRing,
    metrics::StoreMetrics,
    migrations,
    options::{DatabaseKind, Options},
    pool_use::PoolUse,
};
use crate::domain::ids::ReplicaId;
use files::{Locks, OpenFiles, file_error};

mod copy;
mod files;

/// A handle to a SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    /// One connection, because SQLite allows one writer; `None` if opened read-only.
    writer: Option<WriteConnection>,
    readers: SqlitePool,
    path: Arc<Path>,
    clock: StoreClock,
    replica: ReplicaId,
    pub(super) limits: CallLimits,
    pub(super) fleet: SharedFleet,
    pub(super) metrics: StoreMetrics,
    pub(super) hooks: Hooks,
    pub(super) mac_ring: Arc<MacRing>,
    pub(super) disk: Disk,
}

#[derive(Clone)]
struct WriteConnection {
    pool: SqlitePool,
    files: Arc<OpenFiles>,
}

impl SqliteStore {
    pub(super) async fn open(options: &Options) -> Result<Self, StoreError> {
        let connect = connect_options(options)?;
        let locks = Locks::take(connect.get_filename())?;
        let connect = connect.filename(locks.path());
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.lock_timeout)
            .before_acquire(|conn, _| Box::pin(is_between_transactions(conn)))
            .connect_with(
                connect
                    .clone()
                    .journal_mode(SqliteJournalMode::Wal)
                    // NORMAL can lose the last commits in a power failure
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .pragma("secure_delete", "ON"),
            )
            .await
            .map_err(classify)?;
        let files = Arc::new(OpenFiles::open(locks, &connect).await?);
        Ok(Self {
            path: files.path().into(),
            writer: Some(WriteConnection { pool: writer, files }),
            readers: readers(options, connect),
            clock: StoreClock::system(options),
            replica: options.replica,
            limits: options.call_limits(),
            fleet: SharedFleet::default(),
            metrics: StoreMetrics::default(),
            hooks: options.hooks.clone(),
            mac_ring: Arc::default(),
            disk: Disk::default(),
        })
    }

    pub(super) async fn open_read_only(options: &Options) -> Result<Self, StoreError> {
        let connect = connect_options(options)?;
        let path = std::fs::canonicalize(connect.get_filename())
            .map_err(|error| file_error(connect.get_filename(), &error))?;
        let readers = readers(options, connect.filename(&path));
        // fails here, not at the first read, if the file is not a database
        drop(readers.acquire().await.map_err(classify)?);
        Ok(Self {
            writer: None,
            readers,
            path: path.into(),
            clock: StoreClock::system(options),
            replica: options.replica,
            limits: options.call_limits(),
            fleet: SharedFleet::default(),
            metrics: StoreMetrics::default(),
            hooks: options.hooks.clone(),
            mac_ring: Arc::default(),
            disk: Disk::default(),
        })
    }

    /// Fails if [`Self::migrate`] would refuse the tables; changes nothing.
    pub(super) async fn check_schema(&self) -> Result<(), StoreError> {
        let tables = ["_sqlx_migrations", "mlsdm_migrations"];
        let mut applied = [Vec::new(), Vec::new()];
        for (table, applied) in tables.into_iter().zip(&mut applied) {
            let text = format!("SELECT version, checksum FROM {table}");
            let query = sqlx::query(AssertSqlSafe(text)).fetch_all(&self.readers);
            // a table that is missing is made
            let Ok(rows) = within(self.limits.statement, query).await else { continue };
            for row in rows {
                let version = row.try_get(0).map_err(classify)?;
                applied.push((version, row.try_get(1).map_err(classify)?));
            }
        }
        let refusal = migrations::refusal(&migrators(), [&applied[0], &applied[1]]);
        refusal.map_or(Ok(()), |refusal| Err(StoreError::OtherSchema(refusal)))
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        for migrator in migrators() {
            let migration = migrator.run(&self.writer()?.pool);
            timeout(MAINTENANCE_MAX, migration)
                .await
                .unwrap_or(Err(MigrateError::Execute(sqlx::Error::PoolTimedOut)))
                .map_err(classify_migration)?;
        }
        Ok(())
    }

    pub(super) async fn truncate_wal(&self) -> Result<(), StoreError> {
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
        let done = checkpoint.fetch_one(&self.writer()?.pool);
        let done = within(MAINTENANCE_MAX, done).await.map_err(classify)?;
        match done.try_get(0).map_err(classify)? {
            0 => Ok(()),
            _busy => Err(StoreError::Timeout("a reader is using the write-ahead log".to_owned())),
        }
    }

    pub(super) async fn close(&self) {
        let closed = timeout(self.limits.statement, async {
            self.readers.close().await;
            if let Some(WriteConnection { pool, files }) = &self.writer {
                pool.close().await;
                files.close().await;
            }
        });
        if closed.await.is_err() {
            tracing::warn!("the database file did not close in time");
        }
    }

    /// Fails if a file of the database was removed or replaced since it was opened for writing.
    pub(super) fn check_files(&self) -> Result<(), StoreError> {
        self.writer.as_ref().map_or(Ok(()), |writer| writer.files.check())
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn reader(&self) -> Result<ReadConnection, StoreError> {
        let reader = self.readers.acquire().await.map_err(classify)?;
        Ok(ReadConnection::Sqlite(reader, self.limits.statement))
    }

    /// Begins a write transaction with IMMEDIATE: a transaction that starts with a read may be
    /// unable to upgrade to writing.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let WriteConnection { pool, files } = self.writer()?;
        files.check()?;
        let begun = pool.begin_with("BEGIN IMMEDIATE");
        within(self.limits.statement, begun).await.map_err(|error| {
            let busy = matches!(error, sqlx::Error::PoolTimedOut);
            // the write connection is in use, which corresponds to a lock timeout of PostgreSQL
            if busy { StoreError::Timeout(error.to_string()) } else { classify(error) }
        })
    }

    /// Begins a read transaction; its snapshot is taken at the first read.
    #[cfg(feature = "tools")]
    pub(super) async fn begin_snapshot(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().await.map_err(classify)
    }

    pub(super) fn pools(&self) -> Vec<(&'static str, PoolUse)> {
        let writer =
            self.writer.as_ref().map(|writer| ("sqlite_writer", PoolUse::of(&writer.pool)));
        writer.into_iter().chain([("sqlite_readers", PoolUse::of(&self.readers))]).collect()
    }

    pub(super) const fn replica(&self) -> ReplicaId {
        self.replica
    }

    pub(super) const fn clock(&self) -> &StoreClock {
        &self.clock
    }

    fn writer(&self) -> Result<&WriteConnection, StoreError> {
        self.writer.as_ref().ok_or_else(|| StoreError::ReadOnly("opened for reading".to_owned()))
    }
}

fn migrators() -> [Migrator; 2] {
    migrations::migrators(
        (1, "event log", include_str!("../../migrations/sqlite/0001_event_log.sql")),
        &[(2, "log format 2", include_str!("../../migrations/sqlite/0002_log_format_2.sql"))],
    )
}

impl Options {
    /// The file of a SQLite URL, existing or not; `None` for PostgreSQL.
    pub fn sqlite_file(&self) -> Result<Option<PathBuf>, StoreError> {
        match self.database()? {
            DatabaseKind::Sqlite => {
                connect_options(self).map(|connect| Some(connect.get_filename().to_owned()))
            }
            DatabaseKind::Postgres => Ok(None),
        }
    }
}

/// True if a connection is outside of a transaction; otherwise the pool replaces it.
///
/// SQLite rolls back by itself on a full disk. The driver's own ROLLBACK then fails, and the driver
/// considers the connection inside a transaction forever.
async fn is_between_transactions(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if conn.is_in_transaction() {
        // the driver may not have run its ROLLBACK yet
        conn.ping().await?;
    }
    Ok(!conn.is_in_transaction())
}

fn connect_options(options: &Options) -> Result<SqliteConnectOptions, StoreError> {
    let url = options.url.expose_secret();
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(StoreError::Url("an in-memory log would not survive its process".to_owned()));
    }
    let connect = SqliteConnectOptions::from_str(url).map_err(classify)?;
    if connect.get_filename().as_os_str().is_empty() {
        return Err(StoreError::Url("it names no file".to_owned()));
    }
    Ok(connect.busy_timeout(options.lock_timeout))
}

fn readers(options: &Options, connect: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.connect_timeout)
        .connect_lazy_with(connect.read_only(true).create_if_missing(false))
}
