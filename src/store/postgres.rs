//! Opens a PostgreSQL database: pool, timeouts, PgBouncer, migrations.

mod server_address;
mod session;

use std::{str::FromStr, sync::Arc};

use secrecy::ExposeSecret;
use sqlx::{
    ConnectOptions, Connection, Row,
    migrate::MigrateError,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use super::{
    clock::StoreClock,
    connection::{ReadConnection, fetch_all},
    disk::Disk,
    error::{StoreError, classify, classify_migration},
    faults::Hooks,
    fleet::SharedFleet,
    limits::{MAINTENANCE_MAX, within},
    mac::MacRing,
    metrics::StoreMetrics,
    migrations::{self, Source},
    options::Options,
    pool_use::PoolUse,
};
use crate::domain::ids::ReplicaId;
use session::Lender;
pub(super) use session::Session;

/// The application name of version 0.1; later versions append a slash and the id of the process.
pub(super) const APPLICATION: &str = "mlsdm";

const FIRST: Source =
    (1, "event log", include_str!("../../migrations/postgres/0001_event_log.sql"));
const SINCE: [Source; 2] = [
    (2, "log format 2", include_str!("../../migrations/postgres/0002_log_format_2.sql")),
    (3, "functions", include_str!("../../migrations/postgres/0003_functions.sql")),
];
/// The version of the newest migration.
const VERSION: i64 = SINCE[SINCE.len() - 1].0;

/// A handle to a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    lender: Lender,
    /// For migrations, which run without the pool's timeouts.
    direct: Arc<PgConnectOptions>,
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
    pub(super) disk: Disk,
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
            .acquire_timeout(options.connect_timeout);
        let pooled = if options.pooler {
            // PgBouncer refuses unknown start-up parameters
            connect.clone().statement_cache_capacity(0).extra_float_digits(None)
        } else {
            connect.clone().options([
                ("statement_timeout", statement.to_string()),
                ("idle_in_transaction_session_timeout", idle.to_string()),
                // the server frees what a client that is gone held; the driver cannot do the same for
                // its side
                ("tcp_keepalives_idle", "10".to_owned()),
                ("tcp_keepalives_interval", "5".to_owned()),
                ("tcp_keepalives_count", "3".to_owned()),
            ])
        };
        let (named, limits) = (!options.pooler, options.call_limits());
        Ok(Self {
            lender: Lender::open(pool, pooled, named, limits, options.trusted_idle).await?,
            direct: Arc::new(connect),
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
            disk: Disk::default(),
        })
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let checked = self.check_migrated().await;
        // the role of a server may not create tables, so it must not try without need
        if self.pooler || checked.is_ok() {
            return checked;
        }
        let limits = self.lender.limits();
        let mut conn = within(limits.short, self.direct.connect()).await.map_err(classify)?;
        for migrator in migrations::migrators(FIRST, &SINCE) {
            let migration = migrator.run_direct(None, &mut conn, false);
            timeout(MAINTENANCE_MAX, migration)
                .await
                .unwrap_or(Err(MigrateError::Execute(sqlx::Error::PoolTimedOut)))
                .map_err(classify_migration)?;
        }
        within(limits.short, conn.close()).await.map_err(classify)
    }

    /// Checks the version of the tables. A pooler in transaction mode cannot hold the migrator's
    /// session lock, so the migration must already be done.
    async fn check_migrated(&self) -> Result<(), StoreError> {
        const DONE: &str = "SELECT max(version) FROM mlsdm_migrations WHERE success";
        let mut session = self.lender.session().await?.begin(&"BEGIN READ ONLY".into()).await?;
        let rows = fetch_all(&mut session, sqlx::query(DONE)).await?;
        session.rollback().await?;
        let done: Option<i64> = match rows.first() {
            Some(row) => row.try_get(0).map_err(classify)?,
            None => None,
        };
        if done >= Some(VERSION) {
            return Ok(());
        }
        Err(StoreError::Unmigrated(format!("version {VERSION} expected, found {done:?}")))
    }

    pub(super) async fn close(&self) {
        self.lender.close().await;
    }

    pub(super) fn pool(&self) -> PoolUse {
        self.lender.pool()
    }

    pub(super) async fn check_idle(&self) {
        self.lender.check_idle().await;
    }

    pub(super) async fn reader(&self) -> Result<ReadConnection, StoreError> {
        let session = self.lender.session().await?;
        if self.pooler {
            session.begin(&self.begin_read).await.map(ReadConnection::Pooled)
        } else {
            Ok(ReadConnection::Postgres(session))
        }
    }

    pub(super) async fn begin(&self) -> Result<Session, StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly("opened for reading".to_owned()));
        }
        self.lender.session().await?.begin(&self.begin_append).await
    }

    /// Begins a transaction with a snapshot of the log that lasts until it ends.
    #[cfg(feature = "tools")]
    pub(super) async fn begin_snapshot(&self) -> Result<Session, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                     SET LOCAL idle_in_transaction_session_timeout = 0";
        self.lender.session().await?.begin(&begin.into()).await
    }

    pub(super) const fn replica(&self) -> ReplicaId {
        self.replica
    }

    pub(super) const fn clock(&self) -> &StoreClock {
        &self.clock
    }
}
