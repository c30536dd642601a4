//! The writer's queue: its messages, the number of commands that wait, and the backlog.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

use super::proposal::{Outcome, Proposal, WriteError};

/// Bounds of a writer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands that may wait in the queue; a further one is refused with [`WriteError::QueueFull`].
    /// Commands that are decided already do not count.
    pub queue: usize,
    /// Events of one batch; further commands wait for the next batch.
    pub batch_events: usize,
    /// Bytes of content of one batch; a command with more is a batch alone.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queue: 1_024, batch_events: 256, batch_bytes: 1 << 20 }
    }
}

/// A message in the writer's queue.
#[derive(Debug)]
pub(super) enum Message {
    Propose(Box<QueuedCommand>),
    /// Fold events that other replicas wrote, and compare the log's head.
    CatchUp,
}

/// A submitted command, with the channel to its caller.
#[derive(Debug)]
pub(super) struct QueuedCommand {
    pub(super) proposal: Proposal,
    /// `None` if the command is the writer's own.
    reply: Option<oneshot::Sender<Result<Outcome, WriteError>>>,
    /// `None` once its batch is dispatched.
    slot: Option<Slot>,
}

impl QueuedCommand {
    pub(super) fn new(
        proposal: Proposal,
        depth: &Depth,
    ) -> (Self, oneshot::Receiver<Result<Outcome, WriteError>>) {
        let (reply, result) = oneshot::channel();
        (Self { proposal, reply: Some(reply), slot: Some(depth.slot()) }, result)
    }

    /// A command of the writer itself: nobody waits for its result, and it does not count as waiting.
    pub(super) const fn of_writer(proposal: Proposal) -> Self {
        Self { proposal, reply: None, slot: None }
    }

    /// Answers the caller. It may have gone: the events are in the log all the same.
    pub(super) fn respond(self, result: Result<Outcome, WriteError>) {
        if let Some(reply) = self.reply {
            drop(reply.send(result));
        }
    }

    /// Counts it as waiting.
    pub(super) fn enter_queue(&mut self, depth: &Depth) {
        if self.reply.is_some() {
            self.slot.get_or_insert_with(|| depth.slot());
        }
    }

    /// Counts it as waiting no longer.
    pub(super) fn leave_queue(&mut self) {
        self.slot = None;
    }
}

/// The number of commands that wait. Each holds a [`Slot`], so that no place in the code has to count.
#[derive(Clone, Debug, Default)]
pub(super) struct Depth(Arc<AtomicUsize>);

/// One waiting command; it counts until it is dropped.
#[derive(Debug)]
struct Slot(Arc<AtomicUsize>);

impl Depth {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn slot(&self) -> Slot {
        self.0.fetch_add(1, Ordering::Relaxed);
        Slot(Arc::clone(&self.0))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Commands taken out of the queue that are the next to be decided.
///
/// A command counts as waiting while it is in the queue, in the backlog or in a batch that is not
/// dispatched yet.
pub(super) struct Backlog {
    commands: VecDeque<QueuedCommand>,
    depth: Depth,
}

impl Backlog {
    pub(super) const fn new(depth: Depth) -> Self {
        Self { commands: VecDeque::new(), depth }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn push(&mut self, command: QueuedCommand) {
        self.commands.push_back(command);
    }

    pub(super) fn pop_if(
        &mut self,
        accept: impl FnOnce(&QueuedCommand) -> bool,
    ) -> Option<QueuedCommand> {
        if self.commands.front().is_some_and(accept) { self.commands.pop_front() } else { None }
    }

    /// Puts back commands that came before those in the backlog.
    pub(super) fn restore(&mut self, commands: Vec<QueuedCommand>) {
        for mut command in commands.into_iter().rev() {
            command.enter_queue(&self.depth);
            self.commands.push_front(command);
        }
    }

    /// Takes all commands out.
    pub(super) fn take_all(&mut self) -> Vec<QueuedCommand> {
        self.commands.drain(..).collect()
    }

    /// Takes the commands of one batch out.
    pub(super) fn take_batch(&mut self, limits: &Limits) -> Vec<QueuedCommand> {
        let mut bytes = 0;
        let fit = self.commands.iter().take(limits.batch_events).take_while(|command| {
            bytes += command.proposal.size();
            bytes <= limits.batch_bytes
        });
        let count = fit.count().max(1).min(self.commands.len());
        let mut commands: Vec<QueuedCommand> = self.commands.drain(..count).collect();
        commands.iter_mut().for_each(QueuedCommand::leave_queue);
        commands
    }
}
