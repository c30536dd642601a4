//! A batch on its way into the log, as a task of its own: the writer decides the next one meanwhile.
//!
//! The batch was decided before its lock was held, on the state that the batch before it will leave.
//! It names that batch's last event and is written only if the log, once locked, ends with that very
//! event (optimistic append by expected version): after a commit that failed, or an event of another
//! replica, it changes nothing. So it is sent while the batch before it is still being committed, and
//! waits in the database for the lock which that commit frees.
//!
//! It does not ask for a connection before that batch is inserted: SQLite has but one that writes, and
//! who came first there would wait for the other.

use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    batch::{Failed, give_up},
    claims::Claims,
    plan::Plan,
    proposal::Pending,
};
use crate::{
    domain::{
        ids::{EngineId, Micros, Position, Sha256},
        state::State,
    },
    store::{Append, Content, LogClock, Record, Rows, Store, StoreError, SubjectRow},
};

/// Batches of one engine under way at once: one that is committed and one that waits for its lock.
pub(super) const IN_FLIGHT_MAX: usize = 2;

/// Microseconds by which the time of a batch may differ from the log's clock under the lock; beyond
/// them (a long wait, a clock that was set) it is decided anew.
const TIME_OFF_MAX: u64 = 5_000_000;

/// A batch under way.
pub(super) struct InFlight {
    pub(super) batch: Vec<Pending>,
    /// What its callers are told when it is in the log; the rows have gone.
    pub(super) plan: Plan,
    /// State and chain hash before it.
    pub(super) before: (Option<State>, Sha256),
    /// And after it.
    pub(super) after: (Option<State>, Sha256),
    pub(super) sent: Instant,
    /// Whether its transaction was begun behind another one, for whose end it waited.
    pub(super) behind: bool,
    /// Told when its rows are inserted, or never will be.
    pub(super) inserted: CancellationToken,
    pub(super) ending: JoinHandle<Ending>,
}

/// How it ends.
pub(super) type Ending = Result<Written, Unwritten>;

/// A batch that is in the log.
pub(super) struct Written {
    pub(super) rows: OwnedRows,
    /// The log's clock, as told with it.
    pub(super) clock: LogClock,
}

/// Why a batch is not in the log, as far as is known.
pub(super) enum Unwritten {
    /// It does not follow the log's head, its time is too far off, a name or a key in it is taken, or
    /// it waited in vain for the batch before it. Nothing was written.
    Overtaken,
    /// The database did not take it.
    Failed(Failed),
}

/// What is sent.
pub(super) struct Decided {
    pub(super) rows: OwnedRows,
    pub(super) subjects: Vec<SubjectRow>,
    pub(super) claims: Claims,
    /// When all of it is recorded.
    pub(super) now: Micros,
}

/// The rows of a batch and the event that they must follow.
pub(super) struct OwnedRows {
    pub(super) expected: (Position, Sha256),
    pub(super) events: Vec<Record>,
    pub(super) contents: Vec<(Position, Content)>,
}

impl OwnedRows {
    fn borrowed(&self) -> Rows<'_> {
        Rows { expected: self.expected, events: &self.events, contents: &self.contents }
    }
}

/// A transaction that is begun ahead of its batch.
pub(super) struct Transaction {
    decided: oneshot::Sender<Decided>,
    pub(super) behind: bool,
    pub(super) inserted: CancellationToken,
    ending: JoinHandle<Ending>,
}

impl Transaction {
    /// Begins as soon as the batch before is inserted.
    #[expect(
        clippy::disallowed_methods,
        reason = "the writer waits for it, the shutdown for the writer"
    )]
    pub(super) fn open(store: Store, engine: EngineId, before: Option<CancellationToken>) -> Self {
        let (decided, coming) = oneshot::channel();
        let (behind, inserted) = (before.is_some(), CancellationToken::new());
        let told = inserted.clone();
        let ending = tokio::spawn(async move {
            let told = told.drop_guard();
            if let Some(before) = before {
                before.cancelled().await;
            }
            let (append, decided) = insert(store, engine, coming).await?;
            drop(told);
            commit(append, decided).await
        });
        Self { decided, behind, inserted, ending }
    }

    /// Sends a batch off.
    pub(super) fn send(self, decided: Decided) -> JoinHandle<Ending> {
        // a task that is gone says so when it is waited for
        drop(self.decided.send(decided));
        self.ending
    }
}

/// Inserts a batch if it follows the log's head.
async fn insert(
    store: Store,
    engine: EngineId,
    coming: oneshot::Receiver<Decided>,
) -> Result<(Append, Decided), Unwritten> {
    let begun = store.begin_unlocked(&engine).await;
    let Ok(decided) = coming.await else {
        if let Ok(begun) = begun {
            give_up(begun.rollback().await);
        }
        return Err(Unwritten::Overtaken);
    };
    let (mut append, follows) = begun?.append(decided.rows.borrowed()).await?;
    let Decided { rows, subjects, claims, now } = &decided;
    let holds = follows
        && *now >= append.head.recorded_at
        && append.now.abs_diff(*now) <= TIME_OFF_MAX
        && (rows.events.is_empty() || Plan::write_names(&mut append, subjects, claims).await?);
    if holds {
        return Ok((append, decided));
    }
    give_up(append.rollback().await);
    Err(Unwritten::Overtaken)
}

/// Makes it durable.
async fn commit(append: Append, decided: Decided) -> Ending {
    let clock = append.clock().clone();
    if decided.rows.events.is_empty() {
        give_up(append.rollback().await);
    } else {
        append.commit().await.map_err(|error| Unwritten::Failed(error.into()))?;
    }
    Ok(Written { rows: decided.rows, clock })
}

impl From<StoreError> for Unwritten {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}
