//! Decides and appends a batch under the engine's lock.
//!
//! The way of a batch while other replicas write, and of commands that failed ahead of the lock. An
//! attempt locks the engine's row, folds the events that others wrote, looks up the names and idempotency
//! keys of the commands, decides them, inserts, commits. A batch that the database refuses because of
//! one command is written again command by command, so that one poison command does not fail the others.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{
    append::{AppendError, Expect, append, log_rollback},
    batch::{Batch, refuse},
    claims,
    context::Context,
    decider::Decider,
    doubt::Doubt,
    proposal::WriteError,
    queue::QueuedCommand,
};
use crate::{
    domain::ids::{Micros, Position},
    store::{
        Append, IdempotencyKey, LogClock, StoreError, replay,
        state_fold::{DamageCause, LogDamage, PAGE, ReplayError, check_head},
    },
};

/// Attempts at one batch; its callers then get the error of the last one.
const ATTEMPTS_MAX: u32 = 4;

/// Positions that are folded under the lock; a longer tail is folded before the lock is taken.
const TAIL_MAX: u64 = PAGE as u64;

/// Appends batches under the lock.
pub(super) struct Locked<'a> {
    context: &'a Context,
    decider: &'a mut Decider,
    doubt: &'a mut Doubt,
    /// See [`Self::time`].
    time: (Option<LogClock>, Option<Micros>),
}

/// Commands that were not appended.
struct Failure {
    commands: Vec<QueuedCommand>,
    error: WriteError,
}

/// The commands that a write left over.
#[derive(Default)]
pub(super) struct Left {
    pub(super) commands: Vec<QueuedCommand>,
    /// True if the database failed: the next attempt should wait.
    pub(super) is_down: bool,
}

impl Left {
    fn add(&mut self, other: Self) {
        self.commands.extend(other.commands);
        self.is_down |= other.is_down;
    }
}

impl<'a> Locked<'a> {
    pub(super) fn new(
        context: &'a Context,
        decider: &'a mut Decider,
        doubt: &'a mut Doubt,
    ) -> Self {
        Self { context, decider, doubt, time: (None, None) }
    }

    /// The log's clock, if the newest batch found the log as this process had left it, and the time at
    /// which the newest batch is recorded.
    pub(super) fn time(self) -> (Option<LogClock>, Option<Micros>) {
        self.time
    }

    /// Appends the commands of batches that failed ahead of the lock, oldest first.
    pub(super) async fn write_failed(
        &mut self,
        batches: Vec<(Vec<QueuedCommand>, AppendError)>,
    ) -> Left {
        for (batch, error) in &batches {
            if error.is_in_doubt() {
                self.doubt.begin(batch);
            }
        }
        let mut left = Left::default();
        for (mut batch, error) in batches {
            let attempts = match error {
                AppendError::WrongExpectedVersion => 0,
                AppendError::Retryable(cause) | AppendError::InDoubt(cause) => {
                    self.context.count_conflict(&cause);
                    1
                }
                AppendError::Fatal(error) if may_be_one_commands(&error) => 1,
                AppendError::Fatal(error) => {
                    left.add(self.give_up(batch, error));
                    continue;
                }
            };
            left.commands.append(&mut batch);
            left = self.write(left.commands, attempts).await;
        }
        left
    }

    /// Appends commands that failed `attempts` times before, and answers their callers. Left are the
    /// commands for which the batch had no room, and those that are to be repeated.
    pub(super) async fn write(&mut self, commands: Vec<QueuedCommand>, attempts: u32) -> Left {
        let Failure { commands, error } = match self.write_batch(commands, attempts).await {
            Ok(commands) => return Left { commands, is_down: false },
            Err(failure) => failure,
        };
        if commands.len() <= 1 || self.doubt.searches() || !may_be_one_commands(&error) {
            return self.give_up(commands, error);
        }
        let (mut left, mut commands) = (Left::default(), commands.into_iter());
        while let Some(command) = commands.next() {
            match self.write_batch(vec![command], 0).await {
                Ok(commands) => left.commands.extend(commands),
                Err(Failure { commands: mut failed, error }) => {
                    if error.may_pass() {
                        // the others would wait for the same database, one after the other
                        failed.extend(commands.by_ref());
                    }
                    left.add(self.give_up(failed, error));
                }
            }
        }
        left
    }

    /// Answers commands with an error. Left are those that are to be repeated.
    pub(super) fn give_up(&mut self, commands: Vec<QueuedCommand>, error: WriteError) -> Left {
        if let WriteError::Store(error) = &error {
            self.context.store.write_failed(error);
        }
        let now = Instant::now();
        let is_down = error.may_pass();
        // the log may be repaired while there is time, as the database may come back
        let may_pass = is_down || matches!(error, WriteError::Untrusted(_));
        let is_kept = |command: &QueuedCommand| {
            let is_in_time = command.proposal.retry_until.is_some_and(|until| until > now);
            is_in_time && (may_pass || self.doubt.concerns(command))
        };
        let (kept, refused): (Vec<_>, Vec<_>) = commands.into_iter().partition(is_kept);
        let (in_doubt, refused): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|command| self.doubt.concerns(command));
        // first: whatever was found is forgotten once no command waits for it
        for command in &in_doubt {
            self.doubt.orphan(&command.proposal);
        }
        self.doubt.answered(&in_doubt);
        refuse(refused, &error);
        refuse(in_doubt, &error.in_doubt());
        Left { commands: kept, is_down }
    }

    /// Appends a batch and answers its callers; returns the commands for which it had no room.
    async fn write_batch(
        &mut self,
        commands: Vec<QueuedCommand>,
        mut attempts: u32,
    ) -> Result<Vec<QueuedCommand>, Failure> {
        let began = Instant::now();
        let mut commands = VecDeque::from(commands);
        let result = loop {
            attempts += 1;
            let cause = match self.attempt(&mut commands).await {
                Ok(batch) => break Ok(batch),
                Err(AppendError::Fatal(error)) => break Err(error),
                Err(AppendError::Retryable(cause) | AppendError::InDoubt(cause)) => cause,
                Err(AppendError::WrongExpectedVersion) => {
                    let reason = "the log's head changed under the lock".to_owned();
                    StoreError::Serialization(reason).into()
                }
            };
            if attempts >= ATTEMPTS_MAX {
                break Err(cause);
            }
            self.context.count_conflict(&cause);
        };
        // after a failure too: the tail is folded
        self.context.publish(self.decider.checkpoint());
        let commands = Vec::from(commands);
        match result {
            Ok(batch) => {
                self.doubt.answered(&batch.commands);
                self.context.complete(batch, began);
                Ok(commands)
            }
            Err(error) => Err(Failure { commands, error }),
        }
    }

    /// One transaction: decides and appends as many of the commands as it has room for, and takes them
    /// from the front. A failed attempt puts them back, and the state.
    async fn attempt(
        &mut self,
        commands: &mut VecDeque<QueuedCommand>,
    ) -> Result<Batch, AppendError> {
        self.time.0 = None;
        let mut transaction = self.lock().await?;
        let is_alone = transaction.head.is_at(self.decider.head());
        self.fold_tail(&mut transaction).await?;
        if self.doubt.searches() {
            commands.extend(self.doubt.searched());
        }
        let mut batch = Batch::new(self.decider.checkpoint(), transaction.now);
        let result = match self.decide(&mut transaction, commands, &mut batch).await {
            Ok(()) => append(Expect::Lock(transaction), &batch).await,
            Err(error) => {
                log_rollback(transaction.rollback().await);
                Err(error)
            }
        };
        match result {
            Ok(clock) => {
                self.decider.learn_subjects(&mut batch);
                self.time = (is_alone.then_some(clock), Some(batch.recorded_at));
                Ok(batch)
            }
            Err(error) => {
                self.decider.rollback(batch.before);
                if error.is_in_doubt() {
                    self.doubt.begin(&batch.commands);
                }
                for command in batch.commands.into_iter().rev() {
                    commands.push_front(command);
                }
                Err(error)
            }
        }
    }

    /// Takes the engine's row. A long tail is folded before, unless commands are to be found in it.
    async fn lock(&mut self) -> Result<Append, AppendError> {
        let transaction = self.context.store.begin(&self.context.engine).await?;
        let tail = transaction.head.position.saturating_sub(self.decider.head().0);
        if tail <= TAIL_MAX || self.doubt.searches() {
            return Ok(transaction);
        }
        log_rollback(transaction.rollback().await);
        catch_up(self.context, self.decider).await;
        Ok(self.context.store.begin(&self.context.engine).await?)
    }

    /// Folds events that other replicas wrote after our head, and collects those that belong to commands
    /// in doubt. A damaged log makes the engine untrusted.
    async fn fold_tail(&mut self, transaction: &mut Append) -> Result<(), AppendError> {
        match self.fold_rows(transaction).await {
            Ok(()) => {
                self.context.trust.fold_succeeded();
                Ok(())
            }
            Err(ReplayError::Store(error)) => Err(error.into()),
            Err(ReplayError::Damage(damage)) => {
                Err(WriteError::Untrusted(self.context.trust.fold_failed(damage)).into())
            }
        }
    }

    async fn fold_rows(&mut self, transaction: &mut Append) -> Result<(), ReplayError> {
        let (engine, head) = (&self.context.engine, transaction.head);
        let fold = &mut self.decider.fold;
        while fold.position() < head.position {
            let position = fold.position() + 1;
            let damaged = |position, cause| LogDamage { engine: engine.clone(), position, cause };
            let rows = match transaction.tail(fold.position(), PAGE).await {
                Ok(rows) if rows.is_empty() => {
                    let cause = DamageCause::Gap { found: head.position };
                    return Err(Box::new(damaged(position, cause)).into());
                }
                Err(StoreError::Corrupt { position, what }) if position > 0 => {
                    return Err(Box::new(damaged(position, DamageCause::Unreadable(what))).into());
                }
                read => read?,
            };
            let unknown = fold.missing_mac_keys(&rows);
            if !unknown.is_empty() {
                fold.add_mac_keys(&transaction.mac_key_rows(&unknown).await?);
            }
            let missing = fold.missing_keys(&rows);
            if !missing.is_empty() {
                let keys = transaction.subjects_by_ref(&missing).await?;
                fold.add_keys(&missing, &keys);
            }
            self.doubt.collect(&rows);
            fold.apply(rows, Position::MAX)?;
        }
        Ok(check_head(engine, self.decider.head(), &head)?)
    }

    /// Decides commands within the limits.
    async fn decide(
        &mut self,
        transaction: &mut Append,
        commands: &mut VecDeque<QueuedCommand>,
        batch: &mut Batch,
    ) -> Result<(), AppendError> {
        self.look_up(transaction, commands, batch).await?;
        let is_found =
            |command: &QueuedCommand| self.doubt.committed(command.proposal.command_id).is_some();
        // commands that are in the log already must not be left for another batch
        let mut found = commands.iter().rposition(is_found).map_or(0, |last| last + 1);
        while found > 0 || !batch.is_full(&self.context.limits) {
            let Some(command) = commands.pop_front() else { break };
            found = found.saturating_sub(1);
            // not removed: a further attempt must find it again
            if let Some(committed) = self.doubt.committed(command.proposal.command_id) {
                batch.add_committed(command, committed.clone())?;
            } else if let Some(damage) = self.context.trust.damage() {
                // found by the audit, before the tail
                commands.push_front(command);
                return Err(WriteError::Untrusted(damage).into());
            } else {
                self.decider.decide(command, batch)?;
            }
        }
        Ok(self.decider.attest(batch)?)
    }

    /// Looks up the names that are new to their commands, and the idempotency keys.
    async fn look_up(
        &self,
        transaction: &mut Append,
        commands: &VecDeque<QueuedCommand>,
        batch: &mut Batch,
    ) -> Result<(), AppendError> {
        let subjects = commands.iter().flat_map(|command| command.proposal.subjects());
        let fresh = subjects.filter(|subject| subject.fresh.is_some());
        let names: Vec<[u8; 32]> = fresh.map(|subject| subject.name_hmac).collect();
        if !names.is_empty() {
            for row in transaction.subjects(&names).await? {
                batch.add_owner(self.decider.open_subject(&row).map_err(WriteError::from)?);
            }
        }
        let keys: Vec<IdempotencyKey> =
            commands.iter().filter_map(|command| claims::key(&command.proposal)).collect();
        if !keys.is_empty() {
            batch.claims.load(transaction.idempotency(&keys).await?);
        }
        Ok(())
    }
}

/// Folds the events that other replicas wrote, compares the log's head and publishes the state; whether
/// there were any events. A damaged log makes the engine untrusted, a good one makes it trusted again.
pub(super) async fn catch_up(context: &Context, decider: &mut Decider) -> bool {
    let before = decider.head();
    match fold_on(context, decider).await {
        Ok(()) => context.trust.fold_succeeded(),
        Err(ReplayError::Damage(damage)) => drop(context.trust.fold_failed(damage)),
        Err(ReplayError::Store(error)) => {
            tracing::warn!(engine = %context.engine, %error, "the log's tail could not be read");
        }
    }
    let has_news = decider.head().0 != before.0;
    if has_news {
        context.publish(decider.checkpoint());
    }
    has_news
}

async fn fold_on(context: &Context, decider: &mut Decider) -> Result<(), ReplayError> {
    let (store, engine) = (&context.store, &context.engine);
    if context.trust.damage().is_some() {
        // most probably the same row again: do not read a page for it
        replay::advance_one(store, &mut decider.fold, engine).await?;
    }
    replay::advance(store, &mut decider.fold, engine, Position::MAX, &mut |_| {}).await?;
    let head = store.head(engine).await?;
    let Err(damage) = check_head(engine, decider.head(), &head) else { return Ok(()) };
    // a standby may lag behind; only the primary gives the lock
    match store.begin(engine).await {
        Ok(append) => {
            let head = append.head;
            log_rollback(append.rollback().await);
            Ok(check_head(engine, decider.head(), &head)?)
        }
        Err(StoreError::EngineMissing(_)) => Err(damage.into()),
        Err(error) => Err(error.into()),
    }
}

/// True if one command of a batch may have caused the error.
fn may_be_one_commands(error: &WriteError) -> bool {
    matches!(
        error,
        WriteError::Store(StoreError::Other(_) | StoreError::Denied(_)) | WriteError::Defect(_)
    )
}
