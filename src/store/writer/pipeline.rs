//! Decides batches ahead of the engine's lock and sends them with their expected version.
//!
//! A batch is decided on the state that the batches in flight will leave, command by command as they
//! come. It is dispatched when no batch is before it, or as soon as it is full. It is written only if the
//! log, once locked, still ends with the event that the batch was decided on (optimistic concurrency):
//! after a commit that failed, or an event of another replica, it changes nothing. So it is sent while
//! the batch before it is still being committed, and waits in the database for the lock that this commit
//! releases.
//!
//! A name or an idempotency key that is new here is taken to be new in the log: nearly all are. If the
//! log has it, the append fails with the wrong expected version, and the key is looked up under the lock.
//! A batch in which that could go unnoticed ([`Batch::shows_conflicts`]) is given up at once.
//!
//! Deliberately not here: any retry. The commands of a batch that failed, and of those decided on it, go
//! to [`locked`](super::locked).

use std::{collections::VecDeque, sync::Arc};

use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    append::{AppendError, AppendTask, append_result},
    batch::{Batch, Checkpoint},
    context::Context,
    decider::Decider,
    proposal::{Proposal, WriteError},
    queue::QueuedCommand,
};
use crate::{domain::ids::Micros, store::LogClock};

/// Batches of one engine in flight: one that is being committed and one that waits for its lock.
const IN_FLIGHT_MAX: usize = 2;

/// Commands decided before the thread yields to the operating system. Another thread may wait for this
/// core: the database itself, with the previous batch, on a machine that it shares with this process.
/// Schedulers let a thread that has just woken wait for a running one for longer than a batch takes.
const YIELD_AFTER: usize = 8;

pub(super) struct Pipeline {
    /// The next batch, into which commands are still decided.
    next: Option<Batch>,
    /// Its transaction, once fewer than [`IN_FLIGHT_MAX`] batches are in flight.
    transaction: Option<AppendTask>,
    /// Oldest first.
    in_flight: VecDeque<InFlight>,
    /// Time of the newest batch that was decided.
    recorded_at: Micros,
}

/// A dispatched batch.
pub(super) struct InFlight {
    /// Shared with its task, which may panic: the commands are still here then.
    batch: Arc<Batch>,
    after: Checkpoint,
    dispatched: Instant,
    is_behind: bool,
    inserted: CancellationToken,
    handle: JoinHandle<Result<LogClock, AppendError>>,
}

/// The end of the batches in flight after one of them failed.
pub(super) enum Resolution {
    /// A batch behind the failed one is in the log; so is the failed one, if it has events.
    Committed {
        /// In the order of the log.
        batches: Vec<InFlight>,
        clock: LogClock,
        /// Commands of a failed batch without events, of which the log holds no trace.
        undecided: Vec<QueuedCommand>,
    },
    /// No batch is known to be in the log; oldest first.
    Failed { before: Box<Checkpoint>, batches: Vec<(Vec<QueuedCommand>, AppendError)> },
}

impl Pipeline {
    pub(super) const fn new() -> Self {
        Self { next: None, transaction: None, in_flight: VecDeque::new(), recorded_at: Micros::MIN }
    }

    /// True if no batch is in flight or being decided.
    pub(super) fn is_idle(&self) -> bool {
        self.next.is_none() && self.in_flight.is_empty()
    }

    pub(super) fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// True if the next batch has no room for any further command.
    pub(super) fn is_full(&self, context: &Context) -> bool {
        self.next.as_ref().is_some_and(|batch| batch.is_full(&context.limits))
    }

    /// True if the next batch has room for this command.
    pub(super) fn has_room(&self, proposal: &Proposal, context: &Context) -> bool {
        self.next.as_ref().is_none_or(|batch| batch.has_room(proposal, &context.limits))
    }

    /// Sets the time of the newest batch, after one was written under the lock.
    pub(super) const fn set_time(&mut self, recorded_at: Micros) {
        self.recorded_at = recorded_at;
    }

    /// Decides a command into the next batch. The error gives back all commands of that batch: they must
    /// be decided under the lock.
    pub(super) fn decide(
        &mut self,
        command: QueuedCommand,
        clock: &LogClock,
        decider: &mut Decider,
    ) -> Result<(), Vec<QueuedCommand>> {
        let mut batch = self.next.take().unwrap_or_else(|| {
            // the clock may have been set back
            self.recorded_at = self.recorded_at.max(clock.now());
            Batch::new(decider.checkpoint(), self.recorded_at)
        });
        // a defect shows again under the lock, and is answered there
        let is_decided = decider.decide(command, &mut batch).is_ok();
        if batch.commands.len().is_multiple_of(YIELD_AFTER) {
            std::thread::yield_now();
        }
        let is_sure = is_decided && batch.shows_conflicts();
        self.next = Some(batch);
        if is_sure { Ok(()) } else { Err(self.give_up_next(decider).unwrap_or_default()) }
    }

    /// Gives up the next batch, and the state that it left; returns its commands.
    pub(super) fn give_up_next(&mut self, decider: &mut Decider) -> Option<Vec<QueuedCommand>> {
        self.transaction = None;
        let batch = self.next.take()?;
        decider.rollback(batch.before);
        Some(batch.commands)
    }

    /// Begins the next batch's transaction once a place in flight is free, and sends the batch if it
    /// `is_due`. The error gives its commands back: they must be decided under the lock.
    pub(super) fn dispatch(
        &mut self,
        is_due: bool,
        context: &Context,
        decider: &mut Decider,
    ) -> Result<(), Vec<QueuedCommand>> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return Ok(());
        }
        let Some(mut batch) = self.next.take() else { return Ok(()) };
        let transaction = self.transaction.take().unwrap_or_else(|| {
            let previous = self.in_flight.back().map(|flight| flight.inserted.clone());
            AppendTask::spawn(context.store.clone(), context.engine.clone(), previous)
        });
        if !is_due {
            (self.next, self.transaction) = (Some(batch), Some(transaction));
        } else if decider.attest(&mut batch).is_ok() {
            self.send(batch, transaction, decider.checkpoint());
        } else {
            self.next = Some(batch);
            return Err(self.give_up_next(decider).unwrap_or_default());
        }
        Ok(())
    }

    fn send(&mut self, mut batch: Batch, transaction: AppendTask, after: Checkpoint) {
        batch.commands.iter_mut().for_each(QueuedCommand::leave_queue);
        let batch = Arc::new(batch);
        self.in_flight.push_back(InFlight {
            batch: Arc::clone(&batch),
            after,
            dispatched: Instant::now(),
            is_behind: transaction.is_behind,
            inserted: transaction.inserted.clone(),
            handle: transaction.send(batch),
        });
    }

    /// The result of the oldest batch in flight, which is then to be [popped](Self::pop) or
    /// [resolved](Self::resolve). Never resolves if none is in flight.
    pub(super) async fn ended(&mut self) -> Result<LogClock, AppendError> {
        match self.in_flight.front_mut() {
            Some(first) => append_result((&mut first.handle).await),
            None => std::future::pending().await,
        }
    }

    pub(super) fn pop(&mut self) -> Option<InFlight> {
        self.in_flight.pop_front()
    }

    /// Waits for the batches behind the oldest one, which failed.
    pub(super) async fn resolve(&mut self, error: AppendError) -> Option<Resolution> {
        let first = self.in_flight.pop_front()?;
        let before = Box::new(first.batch.before.clone());
        let mut failed = vec![first.failed(error)];
        while let Some(mut next) = self.in_flight.pop_front() {
            match append_result((&mut next.handle).await) {
                Ok(clock) => return Some(Resolution::committed(failed, next, clock)),
                Err(error) => failed.push(next.failed(error)),
            }
        }
        let commands = |(flight, error): (InFlight, _)| (flight.into_commands(), error);
        let batches = failed.into_iter().map(commands).collect();
        Some(Resolution::Failed { before, batches })
    }
}

impl Resolution {
    /// A batch in the log follows the batches before it, so those with events are in the log too.
    fn committed(failed: Vec<(InFlight, AppendError)>, next: InFlight, clock: LogClock) -> Self {
        let (mut batches, empty): (Vec<_>, Vec<_>) =
            failed.into_iter().map(|(flight, _)| flight).partition(InFlight::has_events);
        batches.push(next);
        let undecided = empty.into_iter().flat_map(InFlight::into_commands).collect();
        Self::Committed { batches, clock, undecided }
    }
}

impl InFlight {
    fn has_events(&self) -> bool {
        !self.batch.records.is_empty()
    }

    /// A batch behind another one that fails with a transient error may only have waited too long for
    /// it, or for a connection that it held: then it is as good as never sent.
    fn failed(self, error: AppendError) -> (Self, AppendError) {
        let is_transient = matches!(
            &error,
            AppendError::Fatal(WriteError::Store(error)) if error.is_transient()
        );
        let error =
            if self.is_behind && is_transient { AppendError::WrongExpectedVersion } else { error };
        (self, error)
    }

    /// Publishes a batch that is in the log and answers its callers.
    pub(super) fn complete(self, context: &Context, decider: &Decider) {
        let Self { batch, after, dispatched, .. } = self;
        let mut batch = into_inner(batch);
        if let Some(batch) = &mut batch {
            decider.learn_subjects(batch);
        }
        context.publish(after);
        if let Some(batch) = batch {
            context.complete(batch, dispatched);
        }
    }

    fn into_commands(self) -> Vec<QueuedCommand> {
        into_inner(self.batch).map(|batch| batch.commands).unwrap_or_default()
    }
}

/// The task that shared a batch has ended, and its share with it. Otherwise the callers, whose
/// channels close with the batch, get [`WriteError::Closed`].
fn into_inner(batch: Arc<Batch>) -> Option<Batch> {
    let batch = Arc::into_inner(batch);
    if batch.is_none() {
        tracing::error!("an append has ended, but its batch is still in use");
    }
    batch
}
