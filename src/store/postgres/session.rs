//! Connections to PostgreSQL with a limit on every call.
//!
//! A [`Session`] is lent by the pool and returns to it only if its connection is known to work. After an
//! error of the connection, or a call without an answer, the connection is dropped, and so are the idle
//! connections of the pool: most probably they end at the same dead server. The next call opens a new
//! one, which finds the present primary.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{runtime::Handle, time::timeout};
use tokio_util::context::TokioContext;

use super::server_address::ServerAddress;
use crate::store::{
    CommitError, StoreError,
    error::{classify, classify_commit, classify_connect, is_lost, is_server_lost},
    limits::{CallLimits, PING_MAX, within},
    pool_use::PoolUse,
};

/// With synchronous replication COMMIT waits for a standby. A timeout of the server that ends this wait
/// makes it report a commit that no standby has, with a mere warning, and a failover would lose it. So only
/// our own limit ends the wait: its outcome is unknown.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// The pool that lends sessions. Clones share it.
#[derive(Clone)]
pub(super) struct Lender(Arc<Lending>);

struct Lending {
    pool: PgPool,
    address: ServerAddress,
    /// The runtime that opened the store. All connections belong to it: one that belonged to the runtime
    /// of a worker thread would break when that thread ends, in the hands of another user.
    runtime: Handle,
    /// False behind a pooler, which may give each statement to another server.
    named: bool,
    limits: CallLimits,
    /// Set when an idle connection did not answer a ping.
    found_dead: Arc<AtomicBool>,
}

/// A connection that is in use by one caller.
pub(in crate::store) struct Session {
    /// `None` once it is dropped or returned.
    conn: Option<PoolConnection<Postgres>>,
    lender: Lender,
    limit: Duration,
    in_transaction: bool,
    /// True during a call: its future may be dropped before the answer.
    in_call: bool,
}

impl Lender {
    /// Opens the pool with one connection. `named` allows named statements; a connection that was idle for
    /// longer than `trusted_idle` is pinged before use.
    pub(super) async fn open(
        pool: PgPoolOptions,
        connect: PgConnectOptions,
        named: bool,
        limits: CallLimits,
        trusted_idle: Duration,
    ) -> Result<Self, StoreError> {
        let found_dead = Arc::new(AtomicBool::new(false));
        let dead = Arc::clone(&found_dead);
        let address = ServerAddress::new(connect.clone());
        let opened = pool
            .test_before_acquire(false)
            .before_acquire(move |conn, meta| {
                let dead = Arc::clone(&dead);
                Box::pin(async move {
                    if meta.idle_for > trusted_idle {
                        if dead.load(Ordering::Relaxed) {
                            return Err(sqlx::Error::PoolClosed);
                        }
                        let answered = within(PING_MAX, conn.ping()).await;
                        dead.fetch_or(answered.is_err(), Ordering::Relaxed);
                        answered?;
                    }
                    Ok(true)
                })
            })
            .connect_with(connect)
            .await;
        let pool = match opened {
            Ok(pool) => pool,
            Err(error) => return Err(address.opening_error(error).await),
        };
        let runtime = Handle::current();
        Ok(Self(Arc::new(Lending { pool, address, runtime, named, limits, found_dead })))
    }

    /// Lends a connection, which is opened on the store's runtime if it is a new one.
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        let acquired = TokioContext::new(self.0.pool.acquire(), self.0.runtime.clone()).await;
        // the time for a connection may end within a ping; a pool that is in use has no idle connection
        let is_late = matches!(acquired, Err(sqlx::Error::PoolTimedOut));
        if self.0.found_dead.swap(false, Ordering::Relaxed) || is_late {
            self.drop_idle();
        }
        match acquired {
            Ok(conn) => Ok(self.lend(conn)),
            Err(error) => Err(self.0.address.connect_error(error).await),
        }
    }

    fn lend(&self, conn: PoolConnection<Postgres>) -> Session {
        let limit = self.0.limits.statement;
        let (conn, lender) = (Some(conn), self.clone());
        Session { conn, lender, limit, in_transaction: false, in_call: false }
    }

    /// Drops the idle connections.
    fn drop_idle(&self) {
        while let Some(conn) = self.0.pool.try_acquire() {
            drop(conn.detach());
        }
    }

    /// Pings the idle connections; after one that does not answer, drops the others.
    pub(super) async fn check_idle(&self) {
        for _ in 0..self.0.pool.num_idle() {
            let Some(conn) = self.0.pool.try_acquire() else { return };
            if self.lend(conn).ping().await.is_err() {
                return;
            }
        }
    }

    /// Closes all connections; waits for those in use, but not for dead ones.
    pub(super) async fn close(&self) {
        if timeout(self.0.limits.short, self.0.pool.close()).await.is_err() {
            tracing::warn!("connections to the database did not close in time");
        }
    }

    pub(super) fn limits(&self) -> &CallLimits {
        &self.0.limits
    }

    pub(super) fn pool(&self) -> PoolUse {
        PoolUse::of(&self.0.pool)
    }
}

impl Session {
    /// The same session with the limit of short calls.
    pub(in crate::store) fn short(mut self) -> Self {
        self.limit = self.lender.0.limits.short;
        self
    }

    /// The limit of a call.
    pub(in crate::store) const fn limit(&self) -> Duration {
        self.limit
    }

    /// True if statements may be named.
    pub(in crate::store) fn named(&self) -> bool {
        self.lender.0.named
    }

    /// The connection, for a call that ends [within](crate::store::limits::within) the limit and whose
    /// result is [noted](Self::noted).
    pub(in crate::store) fn conn(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.in_call = true;
        self.conn.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Notes the result of a call: a connection that is lost is dropped.
    pub(in crate::store) fn noted<T>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        self.in_call = false;
        if let Err(error) = &result
            && is_lost(error)
        {
            self.drop_conn(is_server_lost(error));
        }
        result
    }

    fn drop_conn(&mut self, with_idle: bool) {
        // not closed in an orderly way: that waits for the other side
        drop(self.conn.take().map(PoolConnection::detach));
        if with_idle {
            self.lender.drop_idle();
        }
    }

    async fn run(&mut self, limit: Duration, sql: Arc<str>) -> Result<(), sqlx::Error> {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql));
        let done = within(limit, statement.execute(self.conn()?)).await;
        self.noted(done.map(drop))
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        let answered = within(PING_MAX, self.conn()?.ping()).await;
        self.noted(answered)
    }

    /// Begins a transaction. A server that refuses it will refuse the next one too, so the connection is
    /// dropped.
    pub(super) async fn begin(mut self, sql: &Arc<str>) -> Result<Self, StoreError> {
        let limit = self.lender.0.limits.short;
        // whatever happens to this future
        self.in_transaction = true;
        if let Err(error) = self.run(limit, Arc::clone(sql)).await {
            self.drop_conn(true);
            return Err(classify_connect(error));
        }
        Ok(self)
    }

    /// Commits. Without an answer the outcome is unknown.
    pub(in crate::store) async fn commit(mut self) -> Result<(), CommitError> {
        let limit = self.lender.0.limits.commit;
        let committed = self.run(limit, COMMIT.into()).await;
        self.in_transaction = committed.is_err();
        committed.map_err(classify_commit)
    }

    /// Rolls back.
    pub(in crate::store) async fn rollback(mut self) -> Result<(), StoreError> {
        let limit = self.lender.0.limits.short;
        let rolled_back = self.run(limit, "ROLLBACK".into()).await;
        self.in_transaction = rolled_back.is_err();
        rolled_back.map_err(classify)
    }

    /// Rolls back an open transaction and returns the connection to the pool, if it still works.
    ///
    /// The server may still be busy with a call whose caller left. A late answer is then no sign that other
    /// connections are dead.
    fn give_back(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut conn = self.conn.take()?;
        let in_transaction = self.in_transaction;
        let lender = (!self.in_call).then(|| self.lender.clone());
        let limit = self.lender.0.limits.short;
        let drop_idle = move || lender.iter().for_each(Lender::drop_idle);
        Some(async move {
            if in_transaction {
                let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut *conn);
                match timeout(limit, rollback).await {
                    Ok(Ok(_)) => {}
                    // the error of a statement whose future was dropped: ROLLBACK was not sent
                    Ok(Err(_)) => return drop(conn.detach()),
                    Err(_) => {
                        drop(conn.detach());
                        return drop_idle();
                    }
                }
            }
            // unbounded in the driver, which pings: a silent connection would hold its place for ever
            if timeout(limit, conn.return_to_pool()).await.is_err() {
                drop_idle();
            }
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let runtime = self.lender.0.runtime.clone();
        if let Some(returning) = self.give_back() {
            runtime.spawn(returning);
        }
    }
}
