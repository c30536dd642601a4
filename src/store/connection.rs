//! Connections for reading and appending, and the macros that run one statement in either dialect.

use std::time::Duration;

use sqlx::{
    Postgres, Sqlite, SqliteConnection,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    error::{StoreError, classify},
    limits::within,
    postgres::Session,
    simulated::SimulatedTx,
};

/// Runs a query in either dialect and decodes its rows: `Result<Vec<_>, StoreError>`.
macro_rules! fetch {
    ($conn:expr, $sql:expr, $decode:expr, [$($bind:expr),*]) => {
        fetch!($conn, $sql, $decode, sqlite [$($bind),*], postgres [$($bind),*])
    };
    ($conn:expr, $sql:expr, $decode:expr,
     sqlite [$($lite:expr),*], postgres [$($pg:expr),*]) => {
        match $conn {
            $crate::store::connection::Conn::Sqlite(conn, limit) => {
                let query = sqlx::query($sql.sqlite)$(.bind($lite))*.fetch_all(conn);
                $crate::store::limits::within(limit, query)
                    .await
                    .map_err($crate::store::error::classify)
                    .and_then(|rows| rows.iter().map($decode).collect::<Result<Vec<_>, _>>())
            }
            $crate::store::connection::Conn::Postgres(session) => {
                let query = sqlx::query($sql.postgres)$(.bind($pg))*;
                $crate::store::connection::fetch_all(session, query)
                    .await
                    .and_then(|rows| rows.iter().map($decode).collect::<Result<Vec<_>, _>>())
            }
            $crate::store::connection::Conn::Simulated(_) => {
                Err($crate::store::simulated::unsupported())
            }
        }
    };
}

/// Runs a statement in either dialect; returns the number of affected rows.
macro_rules! execute {
    ($conn:expr, $sql:expr, [$($bind:expr),*]) => {
        execute!($conn, $sql, sqlite [$($bind),*], postgres [$($bind),*])
    };
    ($conn:expr, $sql:expr, sqlite [$($lite:expr),*], postgres [$($pg:expr),*]) => {
        match $conn {
            $crate::store::connection::Conn::Sqlite(conn, limit) => {
                let query = sqlx::query($sql.sqlite)$(.bind($lite))*.execute(conn);
                let done = $crate::store::limits::within(limit, query).await;
                done.map(|done| done.rows_affected())
            }
            $crate::store::connection::Conn::Postgres(session) => {
                let query = sqlx::query($sql.postgres)$(.bind($pg))*;
                $crate::store::connection::execute(session, query).await
            }
            $crate::store::connection::Conn::Simulated(_) => {
                Err(sqlx::Error::Protocol("not part of a simulation".to_owned()))
            }
        }
    };
}

/// A query with its parameters.
pub(super) type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

/// Runs a query within the limit of the session.
pub(super) async fn fetch_all(
    session: &mut Session,
    query: PgQuery<'_>,
) -> Result<Vec<PgRow>, StoreError> {
    let (limit, query) = (session.limit(), query.persistent(session.named()));
    let rows = within(limit, query.fetch_all(session.conn().map_err(classify)?)).await;
    session.noted(rows).map_err(classify)
}

/// Runs a statement within the limit of the session; returns the number of affected rows.
pub(super) async fn execute(session: &mut Session, query: PgQuery<'_>) -> Result<u64, sqlx::Error> {
    let (limit, query) = (session.limit(), query.persistent(session.named()));
    let done = within(limit, query.execute(session.conn()?)).await;
    session.noted(done).map(|done| done.rows_affected())
}

/// A borrowed connection; for SQLite with the limit of a call.
pub(super) enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection, Duration),
    Postgres(&'c mut Session),
    Simulated(&'c mut dyn SimulatedTx),
}

impl Conn<'_> {
    /// The same connection for a further statement.
    pub(super) fn again(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn, limit) => Conn::Sqlite(conn, *limit),
            Self::Postgres(session) => Conn::Postgres(session),
            Self::Simulated(tx) => Conn::Simulated(*tx),
        }
    }
}

/// A connection for reading.
pub(super) enum ReadConnection {
    Sqlite(PoolConnection<Sqlite>, Duration),
    Postgres(Session),
    /// Behind PgBouncer, the prepare and the execute of one statement may reach different servers
    /// unless they are in one transaction.
    Pooled(Session),
}

impl ReadConnection {
    pub(super) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn, limit) => Conn::Sqlite(conn, *limit),
            Self::Postgres(session) | Self::Pooled(session) => Conn::Postgres(session),
        }
    }

    /// The same connection for calls that do next to nothing.
    pub(super) fn short(self) -> Self {
        match self {
            Self::Sqlite(..) => self,
            Self::Postgres(session) => Self::Postgres(session.short()),
            Self::Pooled(session) => Self::Pooled(session.short()),
        }
    }

    pub(super) async fn done(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(..) | Self::Postgres(_) => Ok(()),
            // it has written nothing
            Self::Pooled(session) => session.rollback().await,
        }
    }
}
