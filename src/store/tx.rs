//! A write transaction of either database.

use sqlx::{Postgres, Sqlite, Transaction};

use super::{
    CommitError, Conn, StoreError,
    error::{classify, classify_commit},
    simulated::SimulatedTx,
};

pub(super) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    /// The flag says whether statements may be named.
    Postgres(Transaction<'static, Postgres>, bool),
    Simulated(Box<dyn SimulatedTx>),
}

impl Tx {
    pub(super) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(transaction) => Conn::Sqlite(transaction),
            Self::Postgres(transaction, named) => Conn::Postgres(transaction, *named),
            Self::Simulated(transaction) => Conn::Simulated(transaction.as_mut()),
        }
    }

    pub(super) async fn commit(self) -> Result<(), CommitError> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await.map_err(classify_commit),
            Self::Postgres(transaction, _) => transaction.commit().await.map_err(classify_commit),
            Self::Simulated(transaction) => transaction.commit().await,
        }
    }

    /// Commits a write that can be repeated, whether it was committed or not.
    pub(super) async fn commit_repeatable(self) -> Result<(), StoreError> {
        self.commit().await.map_err(|error| match error {
            CommitError::Failed(error) | CommitError::Unknown(error) => error,
        })
    }

    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => transaction.rollback().await,
            Self::Postgres(transaction, _) => transaction.rollback().await,
            Self::Simulated(_) => Ok(()),
        }
        .map_err(classify)
    }
}
