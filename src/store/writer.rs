//! The writer: one task per engine per process, the only one that appends to the engine's log.
//!
//! Most batches are decided ahead (`draft`): each command at once on the state that the batches under
//! way will leave, while the database works at those. A batch is sent with the event that it must
//! follow, and written only if that is still the newest of the log (`in_flight`); states are published
//! and callers answered in the order of the log, after the commit.
//!
//! What misses, and everything while other replicas write, is decided under the lock (`batch`): it
//! locks the engine's row, folds what others wrote, looks for names and idempotency keys, decides on
//! the state so far, inserts, commits. The state before a batch is kept (clones share structure), so
//! one that failed is undone by putting it back; after a commit of unknown outcome the next attempt
//! finds the batch's commands in the tail, or not. A dropped request cannot cancel a batch: the task
//! owns it.

mod batch;
mod claims;
mod draft;
mod in_flight;
mod plan;
mod proposal;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinError,
};

use crate::domain::{
    ids::{EngineId, Micros, Sha256},
    state::State,
};

use super::{
    LogClock, Store,
    content_cache::{CONTENT_CACHE_BYTES, ContentCache},
    metrics::EventMetrics,
    state_fold::StateFold,
    subject::Directory,
};
use batch::Found;
use draft::Draft;
use in_flight::{Ending, InFlight};
use proposal::Pending;
pub use proposal::{
    Actor, Claim, Committed, Earlier, Outcome, Proposal, Sealed, View, WriteError, prompt_hmac,
};

/// Bounds of a writer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands that may wait beside those decided already; one more is refused with
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
    content_cache: Arc<ContentCache>,
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

    /// The sealed contents that were written or read recently.
    pub fn content_cache(&self) -> &ContentCache {
        &self.content_cache
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
    folder: StateFold,
    queue: mpsc::Receiver<Message>,
    /// Commands handed over and not sent off yet.
    waiting: Arc<AtomicUsize>,
    /// Commands taken out of the queue that are the next to be decided.
    carried: VecDeque<Pending>,
    /// The log's clock; none before the first batch, and while others may be writing.
    clock: Option<LogClock>,
    /// When the newest batch is recorded that was decided.
    recorded_at: Micros,
    draft: Option<Draft>,
    in_flight: VecDeque<InFlight>,
    content_cache: Arc<ContentCache>,
    views: watch::Sender<Arc<View>>,
    /// What is counted; none in a program that does not look.
    metrics: Option<Arc<EventMetrics>>,
}

/// A writer over a folded log, and the task that must be run for it; `None` for an empty log.
pub fn writer(
    engine: EngineId,
    store: Store,
    directory: Arc<Directory>,
    folder: StateFold,
    limits: Limits,
) -> Option<(Writer, Task)> {
    let view = View { state: folder.state.clone()?, chain_hash: folder.chain_hash };
    let (views, watching) = watch::channel(Arc::new(view));
    let (queue, messages) = mpsc::channel(limits.queue);
    let waiting = Arc::default();
    let content_cache = Arc::new(ContentCache::new(CONTENT_CACHE_BYTES));
    let task = Task {
        engine,
        store,
        directory,
        limits,
        folder,
        queue: messages,
        waiting: Arc::clone(&waiting),
        carried: VecDeque::new(),
        clock: None,
        recorded_at: Micros::MIN,
        draft: None,
        in_flight: VecDeque::new(),
        content_cache: Arc::clone(&content_cache),
        views,
        metrics: None,
    };
    Some((Writer { queue, waiting, views: watching, content_cache }, task))
}

impl Task {
    /// Counts what it commits.
    #[must_use]
    pub fn counted(self, metrics: Arc<EventMetrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Writes until every [`Writer`] is dropped and nothing waits any more.
    pub async fn run(mut self) {
        loop {
            self.decide_ahead();
            self.send_off();
            if self.is_quiet() && !self.carried.is_empty() {
                // boxed: this task is there for each engine, mostly idle
                Box::pin(self.write_carried()).await;
                continue;
            }
            match self.next().await {
                Next::Ended(ending) => self.ended(ending).await,
                Next::Message(Message::Propose(pending)) => self.carried.push_back(*pending),
                // what is under way finds out by itself
                Next::Message(Message::CatchUp) if self.is_quiet() => Box::pin(self.follow()).await,
                Next::Message(Message::CatchUp) => {}
                Next::Closed => return,
            }
        }
    }

    async fn next(&mut self) -> Next {
        let takes = !self.is_sated();
        match self.in_flight.front_mut() {
            Some(first) => tokio::select! {
                biased;
                ending = &mut first.ending => Next::Ended(ending),
                Some(message) = self.queue.recv(), if takes => Next::Message(message),
            },
            None => self.queue.recv().await.map_or(Next::Closed, Next::Message),
        }
    }

    /// Whether nothing is under way, nor decided to be.
    fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.draft.is_none()
    }

    /// Decides and writes under the lock all that waits, within the limits.
    async fn write_carried(&mut self) {
        while self.carried.len() < self.limits.batch_events {
            match self.queue.try_recv() {
                Ok(Message::Propose(pending)) => self.carried.push_back(*pending),
                // the batch folds the tail
                Ok(Message::CatchUp) => {}
                Err(_) => break,
            }
        }
        let count = self.fitting();
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let batch = self.carried.drain(..count).collect();
        let beyond = self.write(batch, &mut Found::default(), 0).await;
        self.waiting.fetch_add(beyond.len(), Ordering::Relaxed);
        self.carry(beyond);
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

    /// Takes commands back that came before those that are carried already.
    fn carry(&mut self, before: Vec<Pending>) {
        for pending in before.into_iter().rev() {
            self.carried.push_front(pending);
        }
    }

    fn publish(&self, state: Option<State>, chain_hash: Sha256) {
        if let Some(state) = state {
            self.views.send_replace(Arc::new(View { state, chain_hash }));
        }
    }
}

/// What the task goes on with.
enum Next {
    Ended(Result<Ending, JoinError>),
    Message(Message),
    Closed,
}
