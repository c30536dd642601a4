//! A write transaction of either database.

use std::time::Duration;

use sqlx::{Sqlite, Transaction};

use super::{
    CommitError, Conn, StoreError,
    error::{classify, classify_commit},
    limits::within,
    postgres::Session,
    simulated::SimulatedTx,
};

pub(super) enum Tx {
    /// With the limit of a call.
    Sqlite(Transaction<'static, Sqlite>, Duration),
    Postgres(Session),
    Simulated(Box<dyn SimulatedTx>),
}

impl Tx {
    pub(super) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(transaction, limit) => Conn::Sqlite(transaction, *limit),
            Self::Postgres(session) => Conn::Postgres(session),
            Self::Simulated(transaction) => Conn::Simulated(transaction.as_mut()),
        }
    }

    /// The same transaction for statements that do next to nothing.
    pub(super) fn short(self) -> Self {
        match self {
            Self::Postgres(session) => Self::Postgres(session.short()),
            Self::Sqlite(..) | Self::Simulated(_) => self,
        }
    }

    pub(super) async fn commit(self) -> Result<(), CommitError> {
        match self {
            Self::Sqlite(transaction, limit) => {
                within(limit, transaction.commit()).await.map_err(classify_commit)
            }
            Self::Postgres(session) => session.commit().await,
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
            Self::Sqlite(transaction, limit) => {
                within(limit, transaction.rollback()).await.map_err(classify)
            }
            Self::Postgres(session) => session.rollback().await,
            Self::Simulated(_) => Ok(()),
        }
    }
}
