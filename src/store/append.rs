//! The append transaction: the only way into the log.
//!
//! [`Store::begin`] locks the engine's row, *then* reads the head and the clock in a statement of
//! its own (within one call): one that waited for the lock would see what was before the wait.
//! Whatever fails inside spoils the transaction; a spoiled one cannot be committed, dropping it rolls
//! it back.

pub(super) mod insert;

use std::{sync::Arc, time::Instant};

use sqlx::{Postgres, Sqlite, Transaction};
use uuid::Uuid;

use super::{
    Clock, CommitError, Conn, Content, EngineRow, Head, Hmac, IdempotencyKey, IdempotencyRow,
    Record, Store, StoreError, SubjectRow,
    error::{classify, classify_commit},
    read,
    records::{self, Columns},
    sql,
};
use crate::{
    domain::ids::{EngineId, Micros, Position, StepNumber, SubjectRef},
    telemetry::metrics::Histogram,
};

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
    faults: Option<std::sync::Arc<super::faults::Faults>>,
}

/// What the log's time is told by.
enum LogClock {
    /// A clock of this process.
    Own(Clock),
    /// What the database's clock showed, and when that was known here.
    Database(Micros, Instant),
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
    /// Starts an append: waits for the engine's row, at most the lock timeout.
    pub async fn begin(&self, engine: &EngineId) -> Result<Append, StoreError> {
        #[cfg(any(test, feature = "testkit"))]
        if let Some(faults) = self.faults() {
            faults.at_begin().await?;
        }
        let mut tx = Tx::begin(self).await?;
        // not together with BEGIN: failing with it leaves the driver's connection in an aborted
        // transaction
        let rows = fetch!(tx.conn(), sql::LOCKED_HEAD, now_and_head, [engine.as_str()])?;
        let (database_time, head) = rows.into_iter().next().unwrap_or_default();
        let own = match self {
            Self::Sqlite(store) => Some(store.clock()),
            Self::Postgres(store) => store.clock(),
        };
        let clock = match own {
            Some(own) => LogClock::Own(Arc::clone(own)),
            None => LogClock::Database(database_time.unwrap_or_default(), Instant::now()),
        };
        // an engine is made together with its first event
        let head = head.ok_or_else(|| StoreError::EngineMissing(engine.clone()))?;
        let now = clock.now().max(head.recorded_at);
        Ok(Append {
            engine: engine.clone(),
            transaction: tx,
            spoiled: false,
            commits: self.timings().commit.clone(),
            head,
            now,
            clock,
            #[cfg(any(test, feature = "testkit"))]
            faults: self.faults(),
        })
    }

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

fn now_and_head(row: &impl Columns) -> Result<(Option<Micros>, Option<Head>), StoreError> {
    let now = row.maybe_int(0).map_err(classify)?;
    let position = row.maybe_int(1).map_err(classify)?;
    Ok((now, position.map(|_| records::head(row, 1)).transpose()?))
}

/// A list for SQLite.
pub(super) fn json(values: impl IntoIterator<Item = impl Into<serde_json::Value>>) -> String {
    values.into_iter().map(Into::into).collect::<serde_json::Value>().to_string()
}

/// Positions and step numbers as the databases store them.
pub(super) fn signed(numbers: &[u64]) -> Vec<i64> {
    numbers.iter().map(|n| *n as i64).collect()
}

impl LogClock {
    fn now(&self) -> Micros {
        match self {
            Self::Own(clock) => clock(),
            Self::Database(shown, since) => {
                let passed = Micros::try_from(since.elapsed().as_micros()).unwrap_or(Micros::MAX);
                shown.saturating_add(passed)
            }
        }
    }
}

impl Append {
    /// The log's clock as it is by now, without asking the database again; never before
    /// [`Self::now`].
    pub fn later(&self) -> Micros {
        self.clock.now().max(self.now)
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

    /// Adds data subjects. Ask for their names first, under this lock.
    pub async fn insert_subjects(&mut self, rows: &[SubjectRow]) -> Result<(), StoreError> {
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

    /// Adds idempotent requests. Ask for their keys first, under this lock.
    pub async fn insert_idempotency(&mut self, rows: &[IdempotencyRow]) -> Result<(), StoreError> {
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
        let done = done.and_then(|()| self.faults.as_ref().map_or(Ok(()), |f| f.at_insert()));
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
            Some(faults) => faults.at_commit(transaction).await?,
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
