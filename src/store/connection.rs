//! Connections for reading and appending, and the macros that run one statement in either dialect.

use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction, pool::PoolConnection};

use super::{
    error::{self, StoreError},
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
            $crate::store::connection::Conn::Sqlite(conn) => sqlx::query($sql.sqlite)
                $(.bind($lite))*
                .fetch_all(conn)
                .await
                .map_err($crate::store::error::classify)
                .and_then(|rows| rows.iter().map($decode).collect::<Result<Vec<_>, _>>()),
            $crate::store::connection::Conn::Postgres(conn, named) => sqlx::query($sql.postgres)
                $(.bind($pg))*
                .persistent(named)
                .fetch_all(conn)
                .await
                .map_err($crate::store::error::classify)
                .and_then(|rows| rows.iter().map($decode).collect::<Result<Vec<_>, _>>()),
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
            $crate::store::connection::Conn::Sqlite(conn) => sqlx::query($sql.sqlite)
                $(.bind($lite))*
                .execute(conn)
                .await
                .map(|done| done.rows_affected()),
            $crate::store::connection::Conn::Postgres(conn, named) => sqlx::query($sql.postgres)
                $(.bind($pg))*
                .persistent(named)
                .execute(conn)
                .await
                .map(|done| done.rows_affected()),
            $crate::store::connection::Conn::Simulated(_) => {
                Err(sqlx::Error::Protocol("not part of a simulation".to_owned()))
            }
        }
    };
}

/// The number of connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// Idle connections.
    pub idle: usize,
    /// Connections in use.
    pub used: usize,
    /// The maximum number of connections.
    pub max: usize,
}

impl PoolUse {
    pub(super) fn of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Self {
        let (size, idle) = (pool.size() as usize, pool.num_idle());
        let max = pool.options().get_max_connections() as usize;
        Self { idle, used: size.saturating_sub(idle), max }
    }
}

/// A borrowed connection; for PostgreSQL with a flag that allows named statements.
pub(super) enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection, bool),
    Simulated(&'c mut dyn SimulatedTx),
}

impl Conn<'_> {
    /// The same connection for a further statement.
    pub(super) fn again(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn) => Conn::Sqlite(conn),
            Self::Postgres(conn, named) => Conn::Postgres(conn, *named),
            Self::Simulated(tx) => Conn::Simulated(*tx),
        }
    }
}

/// A pooled connection for reading.
pub(super) enum ReadConnection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    /// Behind PgBouncer, the prepare and the execute of one statement may reach different servers
    /// unless they are in one transaction.
    Pooled(Transaction<'static, Postgres>),
}

impl ReadConnection {
    pub(super) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn) => Conn::Sqlite(conn),
            Self::Postgres(conn) => Conn::Postgres(conn, true),
            Self::Pooled(transaction) => Conn::Postgres(transaction, false),
        }
    }

    pub(super) async fn done(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => Ok(()),
            Self::Pooled(transaction) => transaction.commit().await.map_err(error::classify),
        }
    }
}
