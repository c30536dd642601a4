//! Opens a PostgreSQL database: pool, timeouts, PgBouncer, migrations.

use std::{future::Future, str::FromStr, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

use super::{
    clock::StoreClock,
    connection::{PoolUse, ReadConnection},
    error::{StoreError, classify, classify_migration},
    faults::Hooks,
    fleet::SharedFleet,
    mac::MacRing,
    metrics::StoreMetrics,
    migrations::{self, VERSION},
    options::Options,
};
use crate::domain::ids::ReplicaId;

/// The application name of version 0.1; later versions append a slash and the id of the process.
pub(super) const APPLICATION: &str = "mlsdm";

/// A connection that was idle for longer is pinged before use, because its server may be gone.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// A handle to a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    connecting: Arc<Connecting>,
    pooler: bool,
    read_only: bool,
    begin_append: Arc<str>,
    begin_read: Arc<str>,
    clock: StoreClock,
    replica: ReplicaId,
    pub(super) fleet: SharedFleet,
    pub(super) metrics: StoreMetrics,
    pub(super) hooks: Hooks,
    pub(super) mac_ring: Arc<MacRing>,
}

/// The options with which connections are opened.
struct Connecting {
    /// For migrations, which run without the pool's timeouts.
    direct: PgConnectOptions,
    /// The runtime that opened the store. All connections belong to it: one that belonged to the runtime
    /// of a worker thread would break when that thread ends, in the hands of another user.
    runtime: Handle,
}

impl PostgresStore {
    pub(super) async fn open(options: &Options, read_only: bool) -> Result<Self, StoreError> {
        let connect = PgConnectOptions::from_str(options.url.expose_secret())
            .map_err(classify)?
            .application_name(&format!("{APPLICATION}/{}", options.replica));
        let statement = options.statement_timeout.as_millis();
        let lock = options.lock_timeout.as_millis();
        let idle = options.idle_timeout.as_millis();
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.connect_timeout)
            .test_before_acquire(false)
            .before_acquire(|conn, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE {
                        conn.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(if options.pooler {
                // PgBouncer refuses unknown start-up parameters
                connect.clone().statement_cache_capacity(0).extra_float_digits(None)
            } else {
                connect.clone().options([
                    ("statement_timeout", statement.to_string()),
                    ("idle_in_transaction_session_timeout", idle.to_string()),
                ])
            })
            .await
            .map_err(classify)?;
        Ok(Self {
            pool,
            connecting: Connecting { direct: connect, runtime: Handle::current() }.into(),
            pooler: options.pooler,
            read_only,
            // one round trip; the isolation level is explicit because the server's default may
            // differ
            begin_append: format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
                 SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; \
                 SET LOCAL idle_in_transaction_session_timeout = {idle}"
            )
            .into(),
            begin_read: format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {statement}")
                .into(),
            clock: StoreClock::database(options),
            replica: options.replica,
            fleet: SharedFleet::default(),
            metrics: StoreMetrics::default(),
            hooks: options.hooks.clone(),
            mac_ring: Arc::default(),
        })
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let checked = self.check_migrated().await;
        // the role of a server may not create tables, so it must not try without need
        if self.pooler || checked.is_ok() {
            return checked;
        }
        let mut conn = self.connecting.direct.connect().await.map_err(classify)?;
        let migrators = migrations::migrators(
            include_str!("../../migrations/postgres/0001_event_log.sql"),
            include_str!("../../migrations/postgres/0002_log_format_2.sql"),
        );
        for migrator in migrators {
            migrator.run_direct(None, &mut conn, false).await.map_err(classify_migration)?;
        }
        conn.close().await.map_err(classify)
    }

    /// Checks the version of the tables. A pooler in transaction mode cannot hold the migrator's
    /// session lock, so the migration must already be done.
    async fn check_migrated(&self) -> Result<(), StoreError> {
        const DONE: &str = "SELECT max(version) FROM mlsdm_migrations WHERE success";
        let mut reader = self.connected(self.pool.begin()).await.map_err(classify)?;
        let done = sqlx::query_scalar(DONE).persistent(false).fetch_one(&mut *reader).await;
        let done: Option<i64> = done.map_err(classify)?;
        if done >= Some(VERSION) {
            return Ok(());
        }
        Err(StoreError::Unmigrated(format!("version {VERSION} expected, found {done:?}")))
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) fn pool(&self) -> PoolUse {
        PoolUse::of(&self.pool)
    }

    pub(super) async fn reader(&self) -> Result<ReadConnection, StoreError> {
        if self.pooler {
            let begin = AssertSqlSafe(Arc::clone(&self.begin_read));
            let transaction = self.connected(self.pool.begin_with(begin)).await;
            transaction.map(ReadConnection::Pooled).map_err(classify)
        } else {
            let acquired = self.connected(self.pool.acquire()).await;
            acquired.map(ReadConnection::Postgres).map_err(classify)
        }
    }

    /// Waits for a connection, which is opened on the store's runtime if it is a new one.
    fn connected<T>(&self, connection: impl Future<Output = T>) -> impl Future<Output = T> {
        TokioContext::new(connection, self.connecting.runtime.clone())
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly("opened for reading".to_owned()));
        }
        let begin = AssertSqlSafe(Arc::clone(&self.begin_append));
        self.connected(self.pool.begin_with(begin)).await.map_err(classify)
    }

    /// Begins a transaction with a snapshot of the log that lasts until it ends.
    #[cfg(feature = "tools")]
    pub(super) async fn begin_snapshot(
        &self,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                     SET LOCAL idle_in_transaction_session_timeout = 0";
        self.pool.begin_with(begin).await.map_err(classify)
    }

    /// True if statements may be named.
    pub(super) const fn named(&self) -> bool {
        !self.pooler
    }

    pub(super) const fn replica(&self) -> ReplicaId {
        self.replica
    }

    pub(super) const fn clock(&self) -> &StoreClock {
        &self.clock
    }
}
