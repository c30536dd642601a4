//! The seam for a simulated database.
//!
//! A simulation of the writer must be deterministic, which no real database is: sqlx runs SQLite on a
//! thread of its own, whose answers arrive at any moment, also while time is paused. So a test may put a
//! log in memory in place of the append transactions ([`Hooks`](super::faults::Hooks)). It covers the
//! statements of the writer. Reads outside a transaction, data subjects and deletions are not simulated.

use futures_util::future::BoxFuture;

use super::{
    CommitError, Head, IdempotencyKey, IdempotencyRow, Record, Rows, StoreError,
    state_fold::RecordWithVector,
};
use crate::domain::ids::{Position, StepNumber};

/// The error of a statement that a simulation does not cover.
pub(super) fn unsupported() -> StoreError {
    StoreError::Other("not part of a simulation".to_owned())
}

/// A database that begins simulated transactions.
pub trait SimulatedDatabase: std::fmt::Debug + Send + Sync {
    /// Begins a transaction.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SimulatedTx>, StoreError>>;
}

/// A transaction of a simulated database; dropped, it is rolled back.
pub trait SimulatedTx: Send {
    /// Waits for the lock of the log; returns the head.
    fn lock(&mut self) -> BoxFuture<'_, Result<Head, StoreError>>;

    /// As [`Self::lock`], and inserts the rows if the head is the expected one.
    fn append<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<Head, StoreError>>;

    /// Events after a position.
    fn tail(&mut self, after: Position, limit: u32) -> Result<Vec<RecordWithVector>, StoreError>;

    /// Inserts events.
    fn insert<'a>(&'a mut self, events: &'a [Record]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The stored idempotent requests with these keys.
    fn idempotency(&mut self, keys: &[IdempotencyKey]) -> Vec<IdempotencyRow>;

    /// Adds idempotent requests; false if a key was taken.
    fn insert_idempotency(&mut self, rows: &[IdempotencyRow]) -> bool;

    /// Records the positions at which steps ended; returns the number of changed rows.
    fn end_idempotency(&mut self, endings: &[(StepNumber, Position)]) -> u64;

    /// Releases the keys of steps; returns the number of deleted rows.
    fn free_idempotency(&mut self, steps: &[StepNumber]) -> u64;

    /// Commits.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>>;
}
