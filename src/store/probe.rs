//! What the database does without us: the limits that benchmarks put beside our own figures.
//!
//! Used by `mlsdm bench` only. Nothing here takes the engine's row, decides or hashes.

use sqlx::{Postgres, Sqlite, Transaction};

use super::{
    Content, IdempotencyKey, IdempotencyRow, Record, Store, StoreError, append, error::classify,
    sql, tx::Tx,
};
use crate::domain::ids::{EngineId, Position};

/// A view of the log held open; ends when dropped.
pub enum Snapshot {
    /// Of SQLite.
    Sqlite(Transaction<'static, Sqlite>),
    /// Of PostgreSQL.
    Postgres(Transaction<'static, Postgres>),
}

impl Store {
    /// Commits one small row: the price of durability.
    pub async fn probe_commit(&self, engine: &EngineId, n: u64) -> Result<(), StoreError> {
        let mut tx = Tx::begin(self).await?;
        let row = IdempotencyRow {
            id: IdempotencyKey {
                name_hmac: [0; 32],
                route: "/bench".to_owned(),
                key: n.to_string(),
            },
            body_hmac: [0; 32],
            step: 0,
            position: 0,
            ended_position: None,
            expires_at: 0,
        };
        append::insert::idempotency(tx.conn(), engine, &[row]).await?;
        tx.commit().await.map_err(classify)
    }

    /// Inserts a batch of finished rows under another engine's name and commits.
    pub async fn probe_insert(
        &self,
        engine: &EngineId,
        records: &[Record],
        contents: &[(Position, Content)],
    ) -> Result<(), StoreError> {
        let mut tx = Tx::begin(self).await?;
        append::insert::contents(tx.conn(), engine, contents).await?;
        append::insert::events(tx.conn(), engine, records).await?;
        tx.commit().await.map_err(classify)
    }

    /// Holds on to a view of the log as it is now, as a long report or a backup does.
    pub async fn probe_snapshot(&self) -> Result<Snapshot, StoreError> {
        const FIRST: &str = "SELECT position FROM events LIMIT 1";
        match self {
            Self::Sqlite(store) => {
                let mut transaction = store.begin_snapshot().await?;
                sqlx::query(FIRST).fetch_optional(&mut *transaction).await.map_err(classify)?;
                Ok(Snapshot::Sqlite(transaction))
            }
            Self::Postgres(store) => {
                let mut transaction = store.begin_snapshot().await?;
                sqlx::query(FIRST).fetch_optional(&mut *transaction).await.map_err(classify)?;
                Ok(Snapshot::Postgres(transaction))
            }
        }
    }

    /// Fetches a page as replay does and looks at nothing but how many rows came.
    pub async fn probe_read(
        &self,
        engine: &EngineId,
        after: Position,
        limit: u32,
    ) -> Result<usize, StoreError> {
        let mut reader = self.reader().await?;
        let rows = fetch!(
            reader.conn(),
            sql::READ_FOR_FOLD,
            |_| Ok(()),
            [engine.as_str(), after as i64, i64::from(limit)]
        )?;
        reader.done().await?;
        Ok(rows.len())
    }
}
