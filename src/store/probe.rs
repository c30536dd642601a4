//! Measurements of the database alone, which benchmarks report as the limit of the server's own
//! figures.
//!
//! Used by `mlsdm-dev bench` only. The probes neither lock an engine's row nor decide nor hash.

use sqlx::{Sqlite, Transaction};

use super::{
    Content, IdempotencyKey, IdempotencyRow, Record, Store, StoreError, append,
    connection::fetch_all, error::classify, postgres::Session, sql,
};
use crate::domain::ids::{EngineId, Position};

/// A snapshot of PostgreSQL; it ends when dropped.
pub struct PostgresSnapshot(#[expect(dead_code, reason = "held until it is dropped")] Session);

/// A database snapshot; it ends when dropped.
pub enum Snapshot {
    /// A SQLite read transaction.
    Sqlite(Transaction<'static, Sqlite>),
    /// A PostgreSQL read transaction.
    Postgres(PostgresSnapshot),
}

impl Store {
    /// Commits one small row: the cost of durability.
    pub async fn probe_commit(&self, engine: &EngineId, n: u64) -> Result<(), StoreError> {
        let mut tx = self.begin_tx().await?;
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
        tx.commit_repeatable().await
    }

    /// Inserts prepared rows under another engine's name and commits.
    pub async fn probe_insert(
        &self,
        engine: &EngineId,
        records: &[Record],
        contents: &[(Position, Content)],
    ) -> Result<(), StoreError> {
        let mut tx = self.begin_tx().await?;
        append::insert::contents(tx.conn(), engine, contents).await?;
        append::insert::events(tx.conn(), engine, records).await?;
        tx.commit_repeatable().await
    }

    /// Holds a snapshot of the log, as a long report or a backup does.
    pub async fn probe_snapshot(&self) -> Result<Snapshot, StoreError> {
        const FIRST: &str = "SELECT position FROM events LIMIT 1";
        match self {
            Self::Sqlite(store) => {
                let mut transaction = store.begin_snapshot().await?;
                sqlx::query(FIRST).fetch_optional(&mut *transaction).await.map_err(classify)?;
                Ok(Snapshot::Sqlite(transaction))
            }
            Self::Postgres(store) => {
                let mut session = store.begin_snapshot().await?;
                fetch_all(&mut session, sqlx::query(FIRST)).await?;
                Ok(Snapshot::Postgres(PostgresSnapshot(session)))
            }
        }
    }

    /// Fetches a page as replay does, and counts its rows.
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
