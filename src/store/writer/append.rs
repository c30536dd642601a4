//! Appends one batch: inserts its rows if the log is as expected, and commits.

use std::sync::Arc;

use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;

use super::{batch::Batch, proposal::WriteError};
use crate::{
    domain::ids::EngineId,
    store::{Append, CommitError, LogClock, Store, StoreError, UnlockedAppend},
};

/// Largest difference in microseconds between a batch's time and the log's clock under the lock. A batch
/// beyond it (a long wait, a clock that was set) is decided anew.
const TIME_OFF_MAX: u64 = 5_000_000;

/// Why a batch was not committed.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Nothing was written: the log's head is not the expected one, the batch's time is too far off, or
    /// a name or a key in it is taken.
    WrongExpectedVersion,
    /// Nothing was written; the database asks for the transaction again.
    Retryable(WriteError),
    /// The outcome of the commit is unknown: before the next attempt, search the log's tail for the
    /// commands.
    InDoubt(WriteError),
    /// Nothing was written, and the same attempt would fail again.
    Fatal(WriteError),
}

impl AppendError {
    pub(super) const fn is_in_doubt(&self) -> bool {
        matches!(self, Self::InDoubt(_))
    }
}

impl From<WriteError> for AppendError {
    fn from(error: WriteError) -> Self {
        if matches!(error, WriteError::Store(StoreError::Serialization(_))) {
            Self::Retryable(error)
        } else {
            Self::Fatal(error)
        }
    }
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        WriteError::from(error).into()
    }
}

impl From<CommitError> for AppendError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Failed(error) => error.into(),
            CommitError::Unknown(error) => Self::InDoubt(error.into()),
        }
    }
}

/// The log position that a batch expects, with the transaction that checks it.
pub(super) enum Expect {
    /// The head that the batch was decided on, checked as the lock is taken.
    Version(UnlockedAppend),
    /// Nothing more: the batch was decided under the lock that this transaction holds.
    Lock(Append),
}

/// Inserts a batch and commits it; returns the log's clock.
pub(super) async fn append(expect: Expect, batch: &Batch) -> Result<LogClock, AppendError> {
    let append = stage(expect, batch).await?;
    make_durable(append, batch).await
}

/// Inserts a batch and leaves its transaction open.
async fn stage(expect: Expect, batch: &Batch) -> Result<Append, AppendError> {
    match expect {
        Expect::Version(unlocked) => stage_expected(unlocked, batch).await,
        Expect::Lock(append) if batch.records.is_empty() => Ok(append),
        Expect::Lock(mut append) => match stage_locked(&mut append, batch).await {
            Ok(()) => Ok(append),
            Err(error) => {
                log_rollback(append.rollback().await);
                Err(error.into())
            }
        },
    }
}

async fn stage_expected(unlocked: UnlockedAppend, batch: &Batch) -> Result<Append, AppendError> {
    let (mut append, is_expected) = unlocked.append(batch.rows()).await?;
    let holds = is_expected
        && batch.recorded_at >= append.head.recorded_at
        && append.now.abs_diff(batch.recorded_at) <= TIME_OFF_MAX
        && (batch.records.is_empty() || write_names(&mut append, batch).await?);
    if holds {
        return Ok(append);
    }
    log_rollback(append.rollback().await);
    Err(AppendError::WrongExpectedVersion)
}

async fn stage_locked(append: &mut Append, batch: &Batch) -> Result<(), StoreError> {
    if !write_names(append, batch).await? {
        let reason = "a name or a key was taken under the lock".to_owned();
        return Err(StoreError::Serialization(reason));
    }
    append.insert_contents(&batch.contents).await?;
    append.insert_events(&batch.records).await
}

/// Writes new subjects, a raised log format and the changes to idempotency keys; false if a name or a key
/// is taken.
async fn write_names(append: &mut Append, batch: &Batch) -> Result<bool, StoreError> {
    if let Some((log_format, index_key)) = &batch.raised {
        append.raise_format(*log_format, index_key).await?;
    }
    if !batch.subjects.is_empty() && !append.insert_subjects(&batch.subjects).await? {
        return Ok(false);
    }
    if !batch.claims.ended().is_empty() {
        append.end_idempotency(batch.claims.ended()).await?;
    }
    if !batch.claims.released().is_empty() {
        append.free_idempotency(batch.claims.released()).await?;
    }
    let claimed = batch.claims.claimed();
    Ok(claimed.is_empty() || append.insert_idempotency(&claimed).await?)
}

/// Commits; a batch without events has nothing to commit.
async fn make_durable(append: Append, batch: &Batch) -> Result<LogClock, AppendError> {
    let clock = append.clock().clone();
    if batch.records.is_empty() {
        log_rollback(append.rollback().await);
    } else {
        append.commit().await?;
    }
    Ok(clock)
}

/// Logs a rollback that failed: the connection is lost, and its transaction with it.
pub(super) fn log_rollback(rolled_back: Result<(), StoreError>) {
    if let Err(error) = rolled_back {
        tracing::debug!(%error, "a transaction could not be rolled back");
    }
}

/// A task with a transaction that begins ahead of its batch.
///
/// It does not ask for a connection before the previous batch is inserted: SQLite has one connection
/// that writes, and a transaction that took it first would make the previous batch wait for its
/// successor.
pub(super) struct AppendTask {
    batch: oneshot::Sender<Arc<Batch>>,
    /// True if it waits for a previous batch.
    pub(super) is_behind: bool,
    /// Cancelled when the batch is inserted, or never will be.
    pub(super) inserted: CancellationToken,
    handle: JoinHandle<Result<LogClock, AppendError>>,
}

impl AppendTask {
    /// Starts a task that begins its transaction as soon as the previous batch is inserted.
    #[expect(
        clippy::disallowed_methods,
        reason = "the writer waits for it, the shutdown for the writer"
    )]
    pub(super) fn spawn(
        store: Store,
        engine: EngineId,
        previous: Option<CancellationToken>,
    ) -> Self {
        let (batch, receiver) = oneshot::channel();
        let (is_behind, inserted) = (previous.is_some(), CancellationToken::new());
        let done = inserted.clone().drop_guard();
        let handle = tokio::spawn(async move {
            if let Some(previous) = previous {
                previous.cancelled().await;
            }
            let (append, batch) = stage_next(&store, &engine, receiver).await?;
            drop(done);
            make_durable(append, &batch).await
        });
        Self { batch, is_behind, inserted, handle }
    }

    /// Hands the batch over; the handle resolves with the result of its append.
    pub(super) fn send(self, batch: Arc<Batch>) -> JoinHandle<Result<LogClock, AppendError>> {
        // the handle reports a task that is gone
        drop(self.batch.send(batch));
        self.handle
    }
}

/// Begins, then inserts the batch once it is there.
async fn stage_next(
    store: &Store,
    engine: &EngineId,
    batch: oneshot::Receiver<Arc<Batch>>,
) -> Result<(Append, Arc<Batch>), AppendError> {
    let begun = store.begin_unlocked(engine).await;
    let Ok(batch) = batch.await else {
        if let Ok(unlocked) = begun {
            log_rollback(unlocked.rollback().await);
        }
        // the batch was given up
        return Err(AppendError::WrongExpectedVersion);
    };
    let append = stage(Expect::Version(begun?), &batch).await?;
    Ok((append, batch))
}

/// The result of an [`AppendTask`]. A task that did not end may have committed or not.
pub(super) fn append_result(
    ended: Result<Result<LogClock, AppendError>, JoinError>,
) -> Result<LogClock, AppendError> {
    ended.unwrap_or_else(|error| {
        let reason = format!("the task that appends a batch did not end: {error}");
        Err(AppendError::InDoubt(StoreError::Other(reason).into()))
    })
}
