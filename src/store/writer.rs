//! The writer: one task per engine per process, the only one that appends to the engine's log.
//!
//! Most batches are decided ahead of the engine's lock (`pipeline`): each command at once, on the state
//! that the batches in flight will leave, while the database still works at those. A batch is sent with
//! the head that it was decided on (its expected version) and is written only if that is still the head
//! of the log. States are published and callers answered in the order of the log, after the commit.
//!
//! A batch that fails, and every batch while other replicas write, is decided under the lock
//! (`locked`): lock the engine's row, fold the events that others wrote, look up names and idempotency
//! keys, decide, insert, commit. The state before a batch is retained (clones share structure), so a
//! batch that failed is undone by putting that state back. After a commit whose outcome is unknown the
//! next attempt searches the log's tail for the batch's commands. The task owns the batch, so a caller
//! that goes away cancels nothing. While the database is down, endings of steps are kept and repeated
//! until their time is over; other commands are answered with the error.
//!
//! A log that cannot be folded, or that lost events, makes the engine untrusted (`trust`): it keeps its
//! state and refuses commands until the log folds on.
//!
//! Each module imports only modules below it:
//!
//! ```text
//! task                the loop: ahead of the lock, or under it
//! pipeline   locked   the two ways of a batch
//! append              one batch's transaction
//! decider  context    commands to events, without a database; publication, answers, metrics
//! batch               the commands, events and outcomes of one transaction
//! claims              idempotency keys of a batch
//! doubt               commands whose outcome is unknown
//! trust               the damage of the log, if any
//! stall               the time without progress
//! queue               messages, the backlog, the number of waiting commands
//! proposal            what callers hand in and get back
//! ```

mod append;
mod batch;
mod claims;
mod context;
mod decider;
mod doubt;
mod locked;
mod pipeline;
mod proposal;
mod queue;
mod stall;
mod task;
mod trust;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Store,
    content_cache::{CONTENT_CACHE_BYTES, ContentCache},
    state_fold::{LogDamage, StateFold},
    subject::Directory,
};
use crate::domain::ids::EngineId;
use context::Context;
use decider::Decider;
pub use proposal::{
    Actor, Claim, Committed, Earlier, Outcome, Proposal, Sealed, View, WriteError, prompt_hmac,
};
pub use queue::Limits;
use queue::{Backlog, Depth, Message, QueuedCommand};
use stall::Stall;
pub use task::Task;
use trust::Trust;

/// A handle on an engine's writer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
    depth: Depth,
    views: watch::Receiver<Arc<View>>,
    trust: Arc<Trust>,
    stall: Stall,
    /// True while a reminder waits: at most one takes a place in the queue.
    reminded: Arc<AtomicBool>,
    content_cache: Arc<ContentCache>,
}

impl Writer {
    /// The newest published state. It includes every event whose caller has been answered.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// Why the engine is untrusted; `None` if it is trusted.
    pub fn damage(&self) -> Option<Arc<LogDamage>> {
        self.trust.damage()
    }

    /// Records the result of the newest audit of the events up to the writer's head.
    pub fn audited(&self, damage: Option<Box<LogDamage>>) {
        self.trust.audited(damage);
    }

    /// The sealed contents written lately.
    pub fn content_cache(&self) -> &ContentCache {
        &self.content_cache
    }

    /// The number of commands that wait.
    pub fn depth(&self) -> usize {
        self.depth.get()
    }

    /// The time for which it has had work without any progress.
    pub fn stalled_for(&self) -> Duration {
        self.stall.time()
    }

    /// Receives each newly published state.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Submits a command and waits until it is recorded or refused. A command that is to be repeated
    /// waits for a place in a full queue.
    pub async fn propose(&self, proposal: Proposal) -> Result<Outcome, WriteError> {
        let result = match proposal.retry_until {
            None => self.submit(proposal)?,
            Some(until) => {
                let place = tokio::time::timeout_at(until, self.queue.reserve()).await;
                let place = place.map_err(|_| WriteError::QueueFull)?;
                let (command, result) = QueuedCommand::new(proposal, &self.depth);
                place.map_err(|_| WriteError::Closed)?.send(Message::Propose(Box::new(command)));
                result
            }
        };
        result.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Submits a command; its result arrives later. Commands are decided in the order of submission.
    pub fn submit(
        &self,
        proposal: Proposal,
    ) -> Result<oneshot::Receiver<Result<Outcome, WriteError>>, WriteError> {
        let (command, result) = QueuedCommand::new(proposal, &self.depth);
        self.queue.try_send(Message::Propose(Box::new(command))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => WriteError::Closed,
        })?;
        Ok(result)
    }

    /// Asks the writer to fold events that other replicas wrote and to compare the log's head with its
    /// own. Dropped if the queue is full: a batch does that anyway.
    pub fn catch_up(&self) {
        let waits = self.reminded.swap(true, Ordering::AcqRel);
        if !waits && self.queue.try_send(Message::CatchUp).is_err() {
            self.reminded.store(false, Ordering::Release);
        }
    }
}

/// Makes a writer that continues a folded log, and the task that must run for it; `None` if the log is
/// empty. `damage` says why the fold stopped before the end of the log.
pub fn writer(
    engine: EngineId,
    store: Store,
    directory: Arc<Directory>,
    (fold, damage): (StateFold, Option<Box<LogDamage>>),
    limits: Limits,
) -> Option<(Writer, Task)> {
    let view = View { state: fold.state.clone()?, chain_hash: fold.chain_hash };
    store.folded(&engine, view.state.recorded_at);
    if let Some(id) = view.state.mac_key {
        store.mac_ring().select(id);
    }
    let (views, watching) = watch::channel(Arc::new(view));
    let (queue, messages) = mpsc::channel(limits.queue);
    let (depth, trust) = (Depth::default(), Arc::new(Trust::default()));
    let reminded = Arc::new(AtomicBool::new(false));
    if let Some(damage) = damage {
        trust.fold_failed(damage);
    }
    let stall = Stall::default();
    let content_cache = Arc::new(ContentCache::new(CONTENT_CACHE_BYTES));
    let decider = Decider::new(engine.clone(), fold, directory, store.shared_fleet().clone());
    let context = Context {
        engine,
        store,
        limits,
        content_cache: Arc::clone(&content_cache),
        views,
        trust: Arc::clone(&trust),
        stall: stall.clone(),
        reminded: Arc::clone(&reminded),
        metrics: None,
    };
    let task = Task::new(context, decider, messages, Backlog::new(depth.clone()));
    let views = watching;
    Some((Writer { queue, depth, views, trust, stall, reminded, content_cache }, task))
}
