//! The writer: one task per engine per process, the only one that appends to the engine's log.
//!
//! It takes what waits, locks the engine's row, folds what other replicas wrote, decides each command
//! in turn on the state so far, inserts all events at once, commits, publishes the new state and
//! answers. The state before the batch is kept beside it (clones share structure), so a failed commit
//! is undone by putting it back; after a commit of unknown outcome the next attempt finds the batch's
//! commands in the tail, or not. A dropped request cannot cancel a batch: the task owns it.
//!
//! What the processor can do while the database works is done then: JSON and hashes while contents
//! are inserted, letting go of the batch before while events are. If more waits by then, the next
//! transaction is begun beside it and waits for the lock that the commit frees; during the commit what
//! waits is decided ahead, for the case that nobody else writes before.

mod ahead;
mod batch;
mod claims;
mod plan;
mod proposal;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{domain::ids::EngineId, telemetry::metrics::EngineMetrics};

use super::{
    Store,
    fold::Folder,
    subject::Directory,
    texts::{TEXTS_BYTES, Texts},
};
use ahead::{Ahead, Begun};
use batch::Spent;
use proposal::Pending;
pub use proposal::{
    Actor, Claim, Committed, Earlier, Outcome, Proposal, Sealed, View, WriteError, prompt_hmac,
};

/// Bounds of a writer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands that may wait beside those of the next batch; one more is refused with
    /// [`WriteError::QueueFull`].
    pub queue: usize,
    /// Events of one batch; the commands beyond wait for the next.
    pub batch_events: usize,
    /// Bytes of content of one batch; a command larger than that is a batch alone.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queue: 1_024, batch_events: 256, batch_bytes: 1 << 20 }
    }
}

/// How to reach an engine's writer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
    waiting: Arc<AtomicUsize>,
    views: watch::Receiver<Arc<View>>,
    texts: Arc<Texts>,
}

#[derive(Debug)]
enum Message {
    Propose(Box<Pending>),
    CatchUp,
}

impl Writer {
    /// The newest published state. It is at or after every event whose writer has answered.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// The sealed texts written lately.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Commands that wait.
    pub fn depth(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Notified of each newly published state.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Hands a command over and waits until it is recorded or refused.
    pub async fn propose(&self, proposal: Proposal) -> Result<Outcome, WriteError> {
        self.submit(proposal)?.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Hands a command over; its answer comes later. Commands are decided in the order in which they
    /// were handed over.
    pub fn submit(
        &self,
        proposal: Proposal,
    ) -> Result<oneshot::Receiver<Result<Outcome, WriteError>>, WriteError> {
        let (answer, answered) = oneshot::channel();
        let pending = Box::new(Pending { proposal, answer });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(Message::Propose(pending)).map_err(|refused| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => WriteError::QueueFull,
                mpsc::error::TrySendError::Closed(_) => WriteError::Closed,
            }
        })?;
        Ok(answered)
    }

    /// Asks for the log's tail to be folded; when the queue is full a batch will do it anyway.
    pub fn catch_up(&self) {
        // a full or closed queue needs no reminder
        drop(self.queue.try_send(Message::CatchUp));
    }
}

/// The task's own side.
pub struct Task {
    engine: EngineId,
    store: Store,
    directory: Arc<Directory>,
    limits: Limits,
    folder: Folder,
    queue: mpsc::Receiver<Message>,
    /// Commands in the queue and carried.
    waiting: Arc<AtomicUsize>,
    /// Commands taken out of the queue that are the next to be written: as many as a batch has
    /// events, and those that a batch had no room for.
    carried: VecDeque<Pending>,
    /// The first of them, decided already.
    ahead: Option<Ahead>,
    /// The next batch's transaction, begun while the batch before is written: it waits for the lock
    /// that this one frees.
    begun: Option<Begun>,
    spent: Spent,
    texts: Arc<Texts>,
    views: watch::Sender<Arc<View>>,
    /// What is counted; none in a program that does not look.
    metrics: Option<Arc<EngineMetrics>>,
}

/// A writer over a folded log, and the task that must be run for it; `None` for an empty log.
pub fn writer(
    engine: EngineId,
    store: Store,
    directory: Arc<Directory>,
    folder: Folder,
    limits: Limits,
) -> Option<(Writer, Task)> {
    let view = View { state: folder.state.clone()?, chain_hash: folder.chain_hash };
    let (views, watching) = watch::channel(Arc::new(view));
    let (queue, messages) = mpsc::channel(limits.queue);
    let waiting = Arc::default();
    let texts = Arc::new(Texts::new(TEXTS_BYTES));
    let task = Task {
        engine,
        store,
        directory,
        limits,
        folder,
        queue: messages,
        waiting: Arc::clone(&waiting),
        carried: VecDeque::new(),
        ahead: None,
        begun: None,
        spent: Spent::default(),
        texts: Arc::clone(&texts),
        views,
        metrics: None,
    };
    Some((Writer { queue, waiting, views: watching, texts }, task))
}

impl Task {
    /// Counts what it commits.
    #[must_use]
    pub fn counted(self, metrics: Arc<EngineMetrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Writes until every [`Writer`] is dropped and nothing waits any more.
    pub async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            if batch.is_empty() {
                self.follow().await;
            } else {
                self.write(batch).await;
            }
        }
    }

    /// All that waits, within the limits; empty when only the tail is to be folded.
    async fn next_batch(&mut self) -> Option<Vec<Pending>> {
        if self.carried.is_empty() {
            if self.queue.is_empty() {
                std::mem::take(&mut self.spent).leave(&self.texts);
            }
            match self.queue.recv().await? {
                Message::Propose(pending) => self.carried.push_back(*pending),
                Message::CatchUp => {}
            }
        }
        self.take_in();
        let count = self.fitting();
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        Some(self.carried.drain(..count).collect())
    }

    /// Takes what waits out of the queue, at most as many commands as a batch has events.
    fn take_in(&mut self) {
        while self.carried.len() < self.limits.batch_events {
            match self.queue.try_recv() {
                Ok(Message::Propose(pending)) => self.carried.push_back(*pending),
                // every batch folds the tail
                Ok(Message::CatchUp) => {}
                Err(_) => return,
            }
        }
    }

    /// How many of the carried commands make a batch.
    fn fitting(&self) -> usize {
        let mut bytes = 0;
        let fit = self.carried.iter().take(self.limits.batch_events).take_while(|pending| {
            bytes += pending.proposal.size();
            bytes <= self.limits.batch_bytes
        });
        fit.count().max(1).min(self.carried.len())
    }

    /// Puts back what a batch had no room for: it came before those that wait already.
    fn carry_over(&mut self, beyond: impl DoubleEndedIterator<Item = Pending>) {
        let before = self.carried.len();
        for pending in beyond.rev() {
            self.carried.push_front(pending);
        }
        self.waiting.fetch_add(self.carried.len() - before, Ordering::Relaxed);
    }

    fn publish(&self) {
        if let Some(state) = self.folder.state.clone() {
            let view = View { state, chain_hash: self.folder.chain_hash };
            self.views.send_replace(Arc::new(view));
        }
    }
}
