//! The append transaction: the only way into the log.
//!
//! [`Store::begin`] locks the engine's row, *then* reads the head and the clock in a statement of
//! its own (within one call): one that waited for the lock would see what was before the wait.
//! [`Begun::append`] does that and inserts, in one round trip, if the head is the one expected.
//! Whatever fails inside spoils the transaction; a spoiled one cannot be committed, dropping it rolls
//! it back.

mod begun;
pub(super) mod insert;

#[cfg(any(test, feature = "testkit"))]
use std::sync::Arc;
use std::time::Instant;

use sqlx::{Postgres, Sqlite, Transaction};
use uuid::Uuid;

use super::{
    CommitError, Conn, Content, EngineRow, Head, Hmac, IdempotencyKey, IdempotencyRow, Record,
    Store, StoreError, SubjectRow,
    error::{classify, classify_commit},
    read, records, sql,
};
use crate::{
    domain::ids::{EngineId, Micros, Position, StepNumber, SubjectRef},
    telemetry::metrics::Histogram,
};
pub use begun::{Begun, LogClock, Rows};

/// A transaction that holds one engine's row.
pub struct Append {
    engine: EngineId,
    transaction: Tx,
    spoiled: bool,
    commits: Histogram,
    /// The newest event, read under the lock.
    pub head: Head,
    /// The log's clock, never before the head's `recorded_at`.
    pub now: Micros,
    clock: LogClock,
    #[cfg(any(test, feature = "testkit"))]
    faults: Option<(u64, Arc<super::faults::Faults>)>,
}

pub(super) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    /// With whether statements may be named.
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

impl Store {
    /// Makes an engine together with its first event.
    pub async fn create_engine(
        &self,
        row: &EngineRow,
        first: &Record,
        content: Option<Content>,
    ) -> Result<(), StoreError> {
        let mut tx = Tx::begin(self).await?;
        let (name, key) = (row.engine_id.as_str(), row.index_key.as_slice());
        let (created_at, format) = (row.created_at, i64::from(row.log_format));
        let inserted = execute!(tx.conn(), sql::INSERT_ENGINE, [name, created_at, format, key]);
        inserted.map_err(|error| match error.as_database_error() {
            Some(refusal) if refusal.is_unique_violation() => {
                StoreError::EngineExists(row.engine_id.clone())
            }
            _ => classify(error),
        })?;
        let contents: Vec<_> =
            content.map(|content| (first.position, content)).into_iter().collect();
        insert::contents(tx.conn(), &row.engine_id, &contents).await?;
        insert::events(tx.conn(), &row.engine_id, std::slice::from_ref(first)).await?;
        tx.commit().await.map_err(classify)
    }
}

/// Expired idempotent requests removed at once; more wait for the next call.
pub const PURGE_ROWS: i64 = 1_000;

impl Store {
    /// Begins a write transaction and gives it up: the database is there and takes writes from us.
    /// What only a write itself shows, such as a full disk, it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Tx::begin(self).await?.rollback().await
    }

    /// Removes some idempotent requests that expired, at most [`PURGE_ROWS`]; answers how many.
    pub async fn purge_idempotency(&self, now: Micros) -> Result<u64, StoreError> {
        let mut tx = Tx::begin(self).await?;
        let purged = execute!(tx.conn(), sql::PURGE_IDEMPOTENCY, [now, PURGE_ROWS]);
        let purged = purged.map_err(classify)?;
        tx.commit().await.map_err(classify)?;
        Ok(purged)
    }
}

/// A list for SQLite.
pub(super) fn json(values: impl IntoIterator<Item = impl Into<serde_json::Value>>) -> String {
    values.into_iter().map(Into::into).collect::<serde_json::Value>().to_string()
}

/// Positions and step numbers as the databases store them.
pub(super) fn signed(numbers: &[u64]) -> Vec<i64> {
    numbers.iter().map(|n| *n as i64).collect()
}

impl Append {
    /// The log's clock.
    pub const fn clock(&self) -> &LogClock {
        &self.clock
    }

    /// The engine whose row is held.
    pub const fn engine(&self) -> &EngineId {
        &self.engine
    }

    /// Events after a position with their sealed vectors, as [`Store::read_for_fold`].
    pub async fn tail(
        &mut self,
        after: Position,
        limit: u32,
    ) -> Result<Vec<(Record, Option<Vec<u8>>)>, StoreError> {
        let rows = fetch!(
            self.transaction.conn(),
            sql::READ_FOR_FOLD,
            records::record_and_vector,
            [self.engine.as_str(), after as i64, i64::from(limit)]
        );
        self.checked(rows)
    }

    /// The data subjects with these names, those that exist.
    pub async fn subjects(&mut self, names: &[Hmac]) -> Result<Vec<SubjectRow>, StoreError> {
        let rows = fetch!(
            self.transaction.conn(),
            sql::SUBJECTS_BY_NAME,
            records::subject,
            sqlite [self.engine.as_str(), json(names.iter().map(hex::encode))],
            postgres [self.engine.as_str(), names]
        );
        self.checked(rows)
    }

    /// The data subjects with these pseudonyms, those that exist.
    pub async fn subjects_by_ref(
        &mut self,
        refs: &[SubjectRef],
    ) -> Result<Vec<SubjectRow>, StoreError> {
        let rows = read::subjects_by_ref(self.transaction.conn(), &self.engine, refs).await;
        self.checked(rows)
    }

    /// Adds data subjects; false if the name of one was taken, which is left as it is then.
    pub async fn insert_subjects(&mut self, rows: &[SubjectRow]) -> Result<bool, StoreError> {
        let done = insert::subjects(self.transaction.conn(), &self.engine, rows).await;
        self.checked(done)
    }

    /// Destroys a data subject's key: nothing sealed by it can be opened again.
    pub async fn delete_subject(&mut self, subject: SubjectRef) -> Result<bool, StoreError> {
        let done = execute!(
            self.transaction.conn(),
            sql::DELETE_SUBJECT,
            [self.engine.as_str(), Uuid::from_u128(subject.get())]
        );
        self.checked(done.map(|rows| rows > 0).map_err(classify))
    }

    /// The idempotent requests with these keys, those that exist, expired ones too.
    pub async fn idempotency(
        &mut self,
        keys: &[IdempotencyKey],
    ) -> Result<Vec<IdempotencyRow>, StoreError> {
        let conn = self.transaction.conn();
        let rows = read::idempotency(conn, &self.engine, keys).await;
        self.checked(rows)
    }

    /// Adds idempotent requests; false if the key of one was held, which is left as it is then.
    pub async fn insert_idempotency(
        &mut self,
        rows: &[IdempotencyRow],
    ) -> Result<bool, StoreError> {
        let done = insert::idempotency(self.transaction.conn(), &self.engine, rows).await;
        self.checked(done)
    }

    /// Notes where steps ended; steps without a key are no error.
    pub async fn end_idempotency(
        &mut self,
        endings: &[(StepNumber, Position)],
    ) -> Result<(), StoreError> {
        let (steps, positions): (Vec<u64>, Vec<u64>) = endings.iter().copied().unzip();
        let done = execute!(
            self.transaction.conn(),
            sql::END_IDEMPOTENCY,
            sqlite [
                self.engine.as_str(),
                json(endings.iter().map(|(step, position)| vec![*step, *position]))
            ],
            postgres [self.engine.as_str(), signed(&steps), signed(&positions)]
        );
        self.checked(done.map(drop).map_err(classify))
    }

    /// Frees the keys of steps; steps without a key are no error.
    pub async fn free_idempotency(&mut self, steps: &[StepNumber]) -> Result<(), StoreError> {
        let done = execute!(
            self.transaction.conn(),
            sql::FREE_IDEMPOTENCY,
            sqlite [self.engine.as_str(), json(steps.iter().copied())],
            postgres [self.engine.as_str(), signed(steps)]
        );
        self.checked(done.map(drop).map_err(classify))
    }

    /// Adds the contents of events, in one statement (SQLite: in groups). They may come before their
    /// events, whose hashes are made meanwhile; the caller bounds the batch.
    pub async fn insert_contents(
        &mut self,
        contents: &[(Position, Content)],
    ) -> Result<(), StoreError> {
        let done = insert::contents(self.transaction.conn(), &self.engine, contents).await;
        self.checked(done)
    }

    /// Appends events, in one statement (SQLite: in groups). The caller bounds the batch and has
    /// filled in positions and hashes.
    pub async fn insert(&mut self, events: &[Record]) -> Result<(), StoreError> {
        let done = insert::events(self.transaction.conn(), &self.engine, events).await;
        #[cfg(any(test, feature = "testkit"))]
        let done = done.and_then(|()| self.faults.as_ref().map_or(Ok(()), |(_, f)| f.at_insert()));
        self.checked(done)
    }

    /// Removes the contents of events; positions without contents are no error.
    pub async fn delete_contents(&mut self, positions: &[Position]) -> Result<u64, StoreError> {
        let done = execute!(
            self.transaction.conn(),
            sql::DELETE_CONTENTS,
            sqlite [self.engine.as_str(), json(positions.iter().copied())],
            postgres [self.engine.as_str(), signed(positions)]
        );
        self.checked(done.map_err(classify))
    }

    /// Makes everything durable and frees the engine's row.
    pub async fn commit(self) -> Result<(), CommitError> {
        if self.spoiled {
            // PostgreSQL would answer COMMIT with a quiet ROLLBACK
            let why = "a statement of this transaction failed before".to_owned();
            return Err(CommitError::Failed(StoreError::Other(why)));
        }
        let transaction = self.transaction;
        #[cfg(any(test, feature = "testkit"))]
        let transaction = match self.faults {
            Some((number, faults)) => faults.at_commit(transaction, number).await?,
            None => transaction,
        };
        let began = Instant::now();
        transaction.commit().await.map_err(classify_commit)?;
        self.commits.observe_time(began.elapsed());
        Ok(())
    }

    /// Gives everything up and frees the engine's row.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.transaction.rollback().await
    }

    fn checked<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.spoiled |= result.is_err();
        result
    }
}
