//! A write transaction of either database.

use sqlx::{Postgres, Sqlite, Transaction};

use super::{Conn, Store, StoreError, error::classify};

pub(super) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    /// The flag says whether statements may be named.
    Postgres(Transaction<'static, Postgres>, bool),
}

impl Tx {
    pub(super) async fn begin(store: &Store) -> Result<Self, StoreError> {
        match store {
            Store::Sqlite(store) => store.begin().await.map(Self::Sqlite),
            Store::Postgres(store) => {
                store.begin().await.map(|transaction| Self::Postgres(transaction, store.named()))
            }
        }
    }

    pub(super) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(transaction) => Conn::Sqlite(transaction),
            Self::Postgres(transaction, named) => Conn::Postgres(transaction, *named),
        }
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Postgres(transaction, _) => transaction.commit().await,
        }
    }

    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => transaction.rollback().await,
            Self::Postgres(transaction, _) => transaction.rollback().await,
        }
        .map_err(classify)
    }
}
