//! Opening a SQLite file: who may, with which pragmas, one writer and many readers.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use secrecy::ExposeSecret;
use sqlx::{
    Connection as _, Row, SqlSafeStr, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Clock, Options, PoolUse, Reader, StoreError,
    error::{classify, classify_migration},
    faults::Hooks,
    metrics::StoreMetrics,
};
use crate::domain::ids::Micros;

/// A handle on a SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    /// One connection: SQLite has one writer anyway. `None` when opened for reading.
    writer: Option<Writer>,
    readers: SqlitePool,
    path: Arc<Path>,
    clock: Clock,
    pub(super) metrics: StoreMetrics,
    pub(super) hooks: Hooks,
}

#[derive(Clone)]
struct Writer {
    pool: SqlitePool,
    /// Held while the file is served.
    lock: Arc<File>,
}

impl SqliteStore {
    pub(super) async fn open(options: &Options) -> Result<Self, StoreError> {
        let connect = connect_options(options)?;
        let path = create(connect.get_filename())?;
        let lock = lock(&path)?;
        let connect = connect.filename(&path);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.lock_timeout)
            .before_acquire(|conn, _| Box::pin(is_between_transactions(conn)))
            .connect_with(
                connect
                    .clone()
                    .journal_mode(SqliteJournalMode::Wal)
                    // NORMAL may lose the last commits with the power
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .pragma("secure_delete", "ON"),
            )
            .await
            .map_err(classify)?;
        let writer = Some(Writer { pool: writer, lock: Arc::new(lock) });
        Ok(Self {
            writer,
            readers: readers(options, connect),
            path: path.into(),
            clock: clock(options),
            metrics: StoreMetrics::default(),
            hooks: options.hooks.clone(),
        })
    }

    pub(super) async fn open_read_only(options: &Options) -> Result<Self, StoreError> {
        let connect = connect_options(options)?;
        let path = std::fs::canonicalize(connect.get_filename())
            .map_err(|error| file_error(connect.get_filename(), &error))?;
        let readers = readers(options, connect.filename(&path));
        // a file that is no database is found here and not at the first read
        drop(readers.acquire().await.map_err(classify)?);
        Ok(Self {
            writer: None,
            readers,
            path: path.into(),
            clock: clock(options),
            metrics: StoreMetrics::default(),
            hooks: options.hooks.clone(),
        })
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let migrator = Migrator::with_migrations(vec![Migration::new(
            1,
            "event log".into(),
            MigrationType::Simple,
            include_str!("../../migrations/sqlite/0001_event_log.sql").into_sql_str(),
            false,
        )]);
        migrator.run(&self.writer()?.pool).await.map_err(classify_migration)
    }

    pub(super) async fn truncate_wal(&self) -> Result<(), StoreError> {
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
        let done = checkpoint.fetch_one(&self.writer()?.pool).await.map_err(classify)?;
        match done.try_get(0).map_err(classify)? {
            0 => Ok(()),
            _busy => Err(StoreError::Timeout("a reader holds the write-ahead log".to_owned())),
        }
    }

    pub(super) async fn close(&self) {
        // the writer last: it folds the write-ahead log into the file
        self.readers.close().await;
        if let Some(Writer { pool, lock }) = &self.writer {
            pool.close().await;
            // an unlock can only fail if the lock is gone already
            lock.unlock().ok();
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn reader(&self) -> Result<Reader, StoreError> {
        self.readers.acquire().await.map(Reader::Sqlite).map_err(classify)
    }

    /// A write transaction. IMMEDIATE: one that read first could not become a writer.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer()?.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| {
            let busy = matches!(error, sqlx::Error::PoolTimedOut);
            // the one write connection is taken: what PostgreSQL calls a lock timeout
            if busy { StoreError::Timeout(error.to_string()) } else { classify(error) }
        })
    }

    /// Begins a transaction that sees the log as it is at its first read.
    pub(super) async fn begin_snapshot(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().await.map_err(classify)
    }

    pub(super) fn pools(&self) -> Vec<(&'static str, PoolUse)> {
        let writer =
            self.writer.as_ref().map(|writer| ("sqlite_writer", PoolUse::of(&writer.pool)));
        writer.into_iter().chain([("sqlite_readers", PoolUse::of(&self.readers))]).collect()
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or_else(|| StoreError::ReadOnly("opened for reading".to_owned()))
    }
}

/// The file that a URL names.
pub(super) fn file(options: &Options) -> Result<PathBuf, StoreError> {
    connect_options(options).map(|connect| connect.get_filename().to_owned())
}

/// Whether a connection can begin a transaction; one that cannot is replaced.
///
/// A full disk makes SQLite roll back by itself; the driver's own ROLLBACK then fails, and it counts
/// itself inside a transaction for ever.
async fn is_between_transactions(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if conn.is_in_transaction() {
        // the driver may just not have come to its ROLLBACK yet
        conn.ping().await?;
    }
    Ok(!conn.is_in_transaction())
}

fn connect_options(options: &Options) -> Result<SqliteConnectOptions, StoreError> {
    let url = options.url.expose_secret();
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(StoreError::Url("a log in memory would not survive its process".to_owned()));
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

fn clock(options: &Options) -> Clock {
    options.clock.clone().unwrap_or_else(|| Arc::new(system_time))
}

/// Makes the file, readable by its owner only, and its folder; answers its absolute path.
fn create(path: &Path) -> Result<PathBuf, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| file_error(folder, &error))?;
    }
    owned_file(path)?;
    std::fs::canonicalize(path).map_err(|error| file_error(path, &error))
}

/// Takes the process lock of a database. SQLite's own locks would let a second server in between
/// two transactions of the first.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = owned_file(Path::new(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(file_error(Path::new(&name), &error)),
    }
}

fn owned_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| file_error(path, &error))
}

fn file_error(path: &Path, error: &io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), reason: error.to_string() }
}

#[expect(clippy::disallowed_methods, reason = "SQLite's log clock is the system's, read here")]
fn system_time() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as Micros)
}
