//! The append transaction: the only way into the log.
//!
//! [`Store::begin`] locks the engine's row, *then* reads the head and the clock in a statement of
//! its own (within one call): a statement that waited for the lock would see the log as it was before
//! the wait. [`UnlockedAppend::append`] does the same and inserts, in one round trip, if the head is the
//! expected one. A failed statement aborts the transaction: it can no longer be committed, and dropping
//! it rolls it back.

pub(super) mod insert;
mod rows;
mod transaction;

use std::{collections::BTreeMap, time::Instant};

use uuid::Uuid;

use super::{
    CommitError, Conn, Content, EngineRow, Head, Hmac, IdempotencyKey, IdempotencyRow, Record,
    Store, StoreError, SubjectRow,
    bind::{json, signed},
    clock::LogClock,
    error::classify,
    faults::Hooks,
    read,
    records::{self, Columns},
    sql,
    tx::Tx,
};
use crate::{
    domain::ids::{EngineId, Micros, Position, StepNumber, SubjectRef},
    metrics::Histogram,
};
pub use rows::Rows;
pub use transaction::UnlockedAppend;

/// A transaction that holds one engine's row.
pub struct Append {
    engine: EngineId,
    tx: Tx,
    aborted: bool,
    commits: Histogram,
    /// The newest event, read under the lock.
    pub head: Head,
    /// The log's clock, never before the head's `recorded_at`.
    pub now: Micros,
    clock: LogClock,
    /// The time of the newest event inserted here.
    newest: Option<Micros>,
    hooks: Hooks,
}

impl Store {
    /// Creates an engine together with its first event. If the outcome of a commit is unknown, the
    /// transaction is repeated: its INSERT waits for the earlier one to end, then finds the engine or creates
    /// it.
    pub async fn create_engine(
        &self,
        row: &EngineRow,
        first: &Record,
        content: Option<Content>,
    ) -> Result<(), CommitError> {
        let mut unknown = None;
        for _ in 0..CREATIONS_MAX {
            match self.insert_engine(row, first, content.clone()).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Failed(error)) if unknown.is_none() => return Err(error.into()),
                Err(CommitError::Failed(error @ StoreError::EngineExists(_))) => {
                    let made = self.record(&row.engine_id, first.position).await;
                    let made = made.map_err(CommitError::Unknown)?;
                    let is_own = made.is_some_and(|made| made.chain_hash == first.chain_hash);
                    return if is_own { Ok(()) } else { Err(error.into()) };
                }
                Err(CommitError::Failed(error) | CommitError::Unknown(error)) => {
                    unknown = Some(error);
                }
            }
        }
        unknown.map_or(Ok(()), |error| Err(CommitError::Unknown(error)))
    }

    async fn insert_engine(
        &self,
        row: &EngineRow,
        first: &Record,
        content: Option<Content>,
    ) -> Result<(), CommitError> {
        let mut tx = self.begin_tx().await?;
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
        tx.commit().await
    }
}

/// Attempts to make an engine while the outcome of the attempts before is unknown.
const CREATIONS_MAX: u32 = 3;

/// A step number that no step has.
const NO_STEP: StepNumber = 0;

/// Most expired idempotent requests that one call removes.
pub const PURGE_ROWS: i64 = 1_000;

impl Store {
    /// Begins a write transaction and rolls it back: checks that the database is reachable and accepts
    /// writes from this process. After a write that found the disk full, it writes.
    pub async fn ping(&self) -> Result<(), StoreError> {
        if self.disk().is_full() {
            self.write_nothing().await?;
            self.disk().set_full(false);
        }
        self.begin_tx().await?.rollback().await
    }

    /// Notes the error of a write.
    pub(super) fn write_failed(&self, error: &StoreError) {
        if matches!(error, StoreError::DiskFull(_)) {
            self.disk().set_full(true);
        }
    }

    /// Commits a row that the same transaction removes.
    async fn write_nothing(&self) -> Result<(), StoreError> {
        let (engine, mut tx) = (EngineId::system(), self.begin_tx().await?);
        let row = IdempotencyRow {
            id: IdempotencyKey { name_hmac: [0; 32], route: String::new(), key: String::new() },
            body_hmac: [0; 32],
            step: NO_STEP,
            position: 0,
            ended_position: None,
            expires_at: 0,
        };
        insert::idempotency(tx.conn(), &engine, &[row]).await?;
        let removed = execute!(
            tx.conn(),
            sql::FREE_IDEMPOTENCY,
            sqlite [engine.as_str(), json([NO_STEP].into_iter())],
            postgres [engine.as_str(), signed(&[NO_STEP])]
        );
        removed.map_err(classify)?;
        tx.commit_repeatable().await
    }

    /// Removes expired idempotent requests, at most [`PURGE_ROWS`]; returns their number.
    pub async fn purge_idempotency(&self, now: Micros) -> Result<u64, StoreError> {
        let mut tx = self.begin_tx().await?;
        let expired =
            fetch!(tx.conn(), sql::EXPIRED_IDEMPOTENCY, engine_and_step, [now, PURGE_ROWS])?;
        // in one order, so that two replicas do not wait for each other
        let mut engines = BTreeMap::<String, Vec<StepNumber>>::new();
        for (engine, step) in expired {
            engines.entry(engine).or_default().push(step);
        }
        let mut purged = 0;
        for (engine, steps) in &engines {
            let deleted = execute!(
                tx.conn(),
                sql::PURGE_IDEMPOTENCY,
                sqlite [engine.as_str(), json(steps.iter().copied()), now],
                postgres [engine.as_str(), signed(steps), now]
            );
            purged += deleted.map_err(classify)?;
        }
        tx.commit_repeatable().await?;
        Ok(purged)
    }
}

fn engine_and_step(row: &impl Columns) -> Result<(String, StepNumber), StoreError> {
    let step = row.int(1).map_err(classify)?;
    Ok((row.text(0).map_err(classify)?, step as StepNumber))
}

impl Append {
    /// The log's clock.
    pub const fn clock(&self) -> &LogClock {
        &self.clock
    }

    /// The engine whose row this transaction holds.
    pub const fn engine(&self) -> &EngineId {
        &self.engine
    }

    /// Events after a position with their sealed vectors, like [`Store::read_for_fold`], inside this
    /// transaction.
    pub async fn tail(
        &mut self,
        after: Position,
        limit: u32,
    ) -> Result<Vec<(Record, Option<Vec<u8>>)>, StoreError> {
        let rows = if let Conn::Simulated(tx) = self.tx.conn() {
            tx.tail(after, limit)
        } else {
            let conn = self.tx.conn();
            fetch!(
                conn,
                sql::READ_FOR_FOLD,
                records::record_and_vector,
                [self.engine.as_str(), after as i64, i64::from(limit)]
            )
        };
        self.checked(rows)
    }

    /// The existing data subjects with these names.
    pub async fn subjects(&mut self, names: &[Hmac]) -> Result<Vec<SubjectRow>, StoreError> {
        let rows = fetch!(
            self.tx.conn(),
            sql::SUBJECTS_BY_NAME,
            records::subject,
            sqlite [self.engine.as_str(), json(names.iter().map(hex::encode))],
            postgres [self.engine.as_str(), names]
        );
        self.checked(rows)
    }

    /// The existing data subjects with these pseudonyms.
    pub async fn subjects_by_ref(
        &mut self,
        refs: &[SubjectRef],
    ) -> Result<Vec<SubjectRow>, StoreError> {
        let rows = read::subjects_by_ref(self.tx.conn(), &self.engine, refs).await;
        self.checked(rows)
    }

    /// Adds data subjects; false if a name was taken, whose row stays unchanged.
    pub async fn insert_subjects(&mut self, rows: &[SubjectRow]) -> Result<bool, StoreError> {
        let done = insert::subjects(self.tx.conn(), &self.engine, rows).await;
        self.checked(done)
    }

    /// Destroys a data subject's key: nothing sealed by it can be opened again.
    pub async fn delete_subject(&mut self, subject: SubjectRef) -> Result<bool, StoreError> {
        let done = execute!(
            self.tx.conn(),
            sql::DELETE_SUBJECT,
            [self.engine.as_str(), Uuid::from_u128(subject.get())]
        );
        self.checked(done.map(|rows| rows > 0).map_err(classify))
    }

    /// The stored idempotent requests with these keys, including expired ones.
    pub async fn idempotency(
        &mut self,
        keys: &[IdempotencyKey],
    ) -> Result<Vec<IdempotencyRow>, StoreError> {
        let rows = if let Conn::Simulated(tx) = self.tx.conn() {
            Ok(tx.idempotency(keys))
        } else {
            let conn = self.tx.conn();
            read::idempotency(conn, &self.engine, keys).await
        };
        self.checked(rows)
    }

    /// Adds idempotent requests; false if a key was taken, whose row stays unchanged.
    pub async fn insert_idempotency(
        &mut self,
        rows: &[IdempotencyRow],
    ) -> Result<bool, StoreError> {
        let done = insert::idempotency(self.tx.conn(), &self.engine, rows).await;
        self.checked(done)
    }

    /// Raises the log format of the engine's row; the index key is wrapped for that format.
    pub async fn raise_format(
        &mut self,
        log_format: u32,
        index_key: &[u8],
    ) -> Result<(), StoreError> {
        let (name, format) = (self.engine.as_str(), i64::from(log_format));
        let done = execute!(self.tx.conn(), sql::RAISE_FORMAT, [name, format, index_key]);
        self.checked(done.map(drop).map_err(classify))
    }

    /// Records the positions at which steps ended; steps without a key are ignored.
    pub async fn end_idempotency(
        &mut self,
        endings: &[(StepNumber, Position)],
    ) -> Result<(), StoreError> {
        let (steps, positions): (Vec<u64>, Vec<u64>) = endings.iter().copied().unzip();
        let done = if let Conn::Simulated(tx) = self.tx.conn() {
            Ok(tx.end_idempotency(endings))
        } else {
            let conn = self.tx.conn();
            execute!(
                conn,
                sql::END_IDEMPOTENCY,
                sqlite [
                    self.engine.as_str(),
                    json(endings.iter().map(|(step, position)| vec![*step, *position]))
                ],
                postgres [self.engine.as_str(), signed(&steps), signed(&positions)]
            )
        };
        self.checked(done.map(drop).map_err(classify))
    }

    /// Releases the keys of steps; steps without a key are ignored.
    pub async fn free_idempotency(&mut self, steps: &[StepNumber]) -> Result<(), StoreError> {
        let done = if let Conn::Simulated(tx) = self.tx.conn() {
            Ok(tx.free_idempotency(steps))
        } else {
            let conn = self.tx.conn();
            execute!(
                conn,
                sql::FREE_IDEMPOTENCY,
                sqlite [self.engine.as_str(), json(steps.iter().copied())],
                postgres [self.engine.as_str(), signed(steps)]
            )
        };
        self.checked(done.map(drop).map_err(classify))
    }

    /// Adds the contents of events, in one statement (SQLite: in groups). The caller bounds the batch.
    pub async fn insert_contents(
        &mut self,
        contents: &[(Position, Content)],
    ) -> Result<(), StoreError> {
        let done = insert::contents(self.tx.conn(), &self.engine, contents).await;
        self.checked(done)
    }

    /// Appends events, in one statement (SQLite: in groups). The caller bounds the batch and fills in
    /// positions and hashes.
    pub async fn insert_events(&mut self, events: &[Record]) -> Result<(), StoreError> {
        let done = insert::events(self.tx.conn(), &self.engine, events).await;
        let done = done.and_then(|()| self.hooks.at_insert());
        self.newest = events.last().map(|event| event.recorded_at).or(self.newest);
        self.checked(done)
    }

    /// Removes the contents of events; positions without contents are ignored.
    pub async fn delete_contents(&mut self, positions: &[Position]) -> Result<u64, StoreError> {
        let done = execute!(
            self.tx.conn(),
            sql::DELETE_CONTENTS,
            sqlite [self.engine.as_str(), json(positions.iter().copied())],
            postgres [self.engine.as_str(), signed(positions)]
        );
        self.checked(done.map_err(classify))
    }

    /// Commits, which releases the engine's row.
    pub async fn commit(self) -> Result<(), CommitError> {
        if self.aborted {
            // PostgreSQL would answer COMMIT with a quiet ROLLBACK
            let why = "a statement of this transaction failed before".to_owned();
            return Err(CommitError::Failed(StoreError::Other(why)));
        }
        let tx = self.hooks.at_commit(self.tx).await?;
        let began = Instant::now();
        tx.commit().await?;
        self.commits.observe_time(began.elapsed());
        if let Some(newest) = self.newest {
            self.clock.saw(&self.engine, newest);
        }
        Ok(())
    }

    /// Rolls back, which releases the engine's row.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.tx.rollback().await
    }

    /// The connection of the transaction.
    pub(super) fn conn(&mut self) -> Conn<'_> {
        self.tx.conn()
    }

    pub(super) fn checked<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.aborted |= result.is_err();
        result
    }
}
