//! One batch: lock, fold the tail, decide, insert, commit.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt as _, join};

use tokio::time::Instant;

use super::{
    Committed, Outcome, Proposal, Task, WriteError, ahead::beside, plan::Plan, proposal::Pending,
};
use crate::{
    domain::{
        ids::{CommandId, Position},
        state::State,
    },
    store::{
        Append, CommitError, Content, Record, StoreError, codec,
        fold::{self, Cause, Damage, PAGE, Row},
        replay,
        subject::Subject,
        texts::Texts,
    },
};

/// Attempts at one batch; after that its callers are told that the log is unavailable.
const ATTEMPTS_MAX: u32 = 4;

/// Positions that are folded under the lock; a longer tail is folded before it is taken.
const TAIL_MAX: u64 = PAGE as u64;

/// How an attempt ended that wrote nothing, as far as is known.
pub(super) enum Failed {
    /// The whole batch again: the database asks for it, or the outcome is unknown.
    Again(WriteError),
    /// No use.
    For(WriteError),
}

impl From<WriteError> for Failed {
    fn from(error: WriteError) -> Self {
        if matches!(error, WriteError::Store(StoreError::Serialization(_))) {
            Self::Again(error)
        } else {
            Self::For(error)
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        WriteError::from(error).into()
    }
}

impl Task {
    /// Folds what other replicas wrote; a damaged log shows at the next command.
    pub(super) async fn follow(&mut self) {
        let before = self.folder.position();
        let end = Position::MAX;
        let result =
            replay::advance(&self.store, &mut self.folder, &self.engine, end, &mut |_| {}).await;
        if let Err(error) = result {
            tracing::warn!(engine = %self.engine, %error, "the log's tail could not be folded");
        }
        if self.folder.position() != before {
            self.publish();
        }
    }

    /// Writes a batch and answers everybody in it. One command that the database will not take must
    /// not fail its neighbours: then each is written by itself.
    pub(super) async fn write(&mut self, batch: Vec<Pending>) {
        let Some((batch, spoiled)) = self.write_together(batch).await else { return };
        if batch.len() == 1 || !spoiled.is_certain || !may_be_one_commands(&spoiled.error) {
            return refuse(batch, &spoiled.error);
        }
        for pending in batch {
            if let Some((alone, spoiled)) = self.write_together(vec![pending]).await {
                refuse(alone, &spoiled.error);
            }
        }
    }

    /// Writes a batch and answers everybody in it, or gives it back unanswered.
    async fn write_together(&mut self, mut batch: Vec<Pending>) -> Option<(Vec<Pending>, Spoiled)> {
        let began = Instant::now();
        let mut found = Found::default();
        let mut attempt = 1;
        let outcome = loop {
            match self.attempt(&mut batch, &mut found).await {
                Ok(outcomes) => break Ok(outcomes),
                Err(Failed::Again(cause)) if attempt < ATTEMPTS_MAX => {
                    self.count_conflict(&cause);
                    attempt += 1;
                    found.in_doubt = true;
                }
                Err(Failed::Again(error) | Failed::For(error)) => break Err(error),
            }
        };
        self.publish();
        match outcome {
            Ok(outcomes) => {
                self.count(&outcomes, began);
                for (pending, outcome) in batch.into_iter().zip(outcomes) {
                    // the caller may have gone; the log has it all the same
                    drop(pending.answer.send(outcome));
                    self.spent.proposals.push(pending.proposal);
                }
                None
            }
            Err(error) => Some((batch, Spoiled { error, is_certain: !found.in_doubt })),
        }
    }

    /// One transaction. Gives an outcome for each command it got to, in order; those beyond the
    /// bounds of a batch are carried over.
    async fn attempt(
        &mut self,
        batch: &mut Vec<Pending>,
        found: &mut Found,
    ) -> Result<Vec<Result<Outcome, WriteError>>, Failed> {
        let ahead = self.ahead.take();
        let mut append = self.begin(found).await?;
        self.fold_tail(&mut append, found).await?;
        let before = (self.folder.state.clone(), self.folder.chain_hash);
        let plan = self.adopt(ahead, &append, batch);
        let result = match self.decide_all(&mut append, batch, found, plan).await {
            Ok(plan) if plan.records.is_empty() => {
                give_up(append).await;
                std::mem::take(&mut self.spent).leave(&self.texts);
                return Ok(plan.outcomes);
            }
            Ok(mut plan) => {
                self.carry_over(batch.drain(plan.outcomes.len()..));
                self.commit(append, &mut plan).await.map(|()| plan)
            }
            Err(failed) => {
                give_up(append).await;
                Err(failed)
            }
        };
        match result {
            Ok(mut plan) => {
                self.settled(&mut plan);
                if let Some(attested) = &plan.attested {
                    self.count_events(attested);
                }
                self.spent.before = before.0;
                self.spent.records = plan.records;
                self.spent.contents = plan.contents;
                Ok(plan.outcomes)
            }
            Err(failed) => {
                (self.folder.state, self.folder.chain_hash) = before;
                Err(failed)
            }
        }
    }

    /// Takes the engine's row. A long tail is folded before, unless commands of ours are to be
    /// found in it.
    async fn begin(&mut self, found: &Found) -> Result<Append, Failed> {
        let append = self.begin_or_begun().await?;
        let tail = append.head.position.saturating_sub(self.folder.position());
        if tail <= TAIL_MAX || found.in_doubt {
            return Ok(append);
        }
        give_up(append).await;
        self.follow().await;
        Ok(self.store.begin(&self.engine).await?)
    }

    /// Folds what was written since, and picks out commands of ours whose commit was in doubt.
    async fn fold_tail(&mut self, append: &mut Append, found: &mut Found) -> Result<(), Failed> {
        let head = append.head;
        while self.folder.position() < head.position {
            let rows = append.tail(self.folder.position(), PAGE).await?;
            if rows.is_empty() {
                return Err(self.damage(Cause::Gap { found: head.position }).into());
            }
            let asked = self.folder.missing_keys(&rows);
            if !asked.is_empty() {
                let keys = append.subjects_by_ref(&asked).await?;
                self.folder.add_keys(&asked, &keys).map_err(WriteError::from)?;
            }
            if found.in_doubt {
                found.collect(&rows);
            }
            self.folder
                .fold(rows, Position::MAX)
                .map_err(|damage| WriteError::Damage(Arc::new(*damage)))?;
        }
        if self.folder.position() != head.position || self.folder.chain_hash != head.chain_hash {
            return Err(self.damage(Cause::Chain).into());
        }
        Ok(())
    }

    fn damage(&self, cause: Cause) -> WriteError {
        let engine = self.engine.clone();
        WriteError::Damage(Arc::new(Damage { engine, position: self.folder.position(), cause }))
    }

    async fn commit(&mut self, mut append: Append, plan: &mut Plan) -> Result<(), Failed> {
        if let Err(error) = self.insert(&mut append, plan).await {
            give_up(append).await;
            return Err(error.into());
        }
        let now = append.later().max(plan.now);
        let mut begun = self.begun.take();
        let durable = AtomicBool::new(false);
        let commit = async {
            let committed = append.commit().await;
            durable.store(true, Ordering::Relaxed);
            committed
        };
        let commit = async { join!(commit, self.decide_ahead(now, &durable)).0 };
        let committed = beside(commit.boxed(), &mut begun).await;
        self.begun = begun;
        committed.map_err(|error| match error {
            CommitError::Failed(error) => Failed::from(error),
            CommitError::Unknown(error) => Failed::Again(error.into()),
        })
    }

    /// Sends all rows. What the processor has left to do is done while the database works.
    async fn insert(&mut self, append: &mut Append, plan: &mut Plan) -> Result<(), WriteError> {
        if !plan.subjects.is_empty() {
            append.insert_subjects(&plan.subjects).await?;
        }
        plan.claims.write(append).await?;
        let Plan { records, contents, outcomes, attested, .. } = plan;
        let outcomes = outcomes.iter_mut().chain(attested);
        let (chained, inserted) = {
            let finish =
                async { Plan::finish(records, outcomes, &self.engine, self.folder.chain_hash) };
            let (inserted, chained) = join!(append.insert_contents(contents), finish);
            (chained, inserted)
        };
        inserted?;
        self.folder.chain_hash = chained?;
        self.begin_next();
        let spent = std::mem::take(&mut self.spent);
        let insert = async { join!(append.insert(records), async { spent.leave(&self.texts) }).0 };
        Ok(beside(insert.boxed(), &mut self.begun).await?)
    }

    /// Counts an attempt that the database undid, not one whose outcome is unknown.
    fn count_conflict(&self, cause: &WriteError) {
        if let (WriteError::Store(StoreError::Serialization(_)), Some(metrics)) =
            (cause, &self.metrics)
        {
            metrics.steps.conflicts.inc();
        }
    }

    /// Counts a written batch; what an earlier attempt brought into the log is in its outcomes too.
    fn count(&self, outcomes: &[Result<Outcome, WriteError>], began: Instant) {
        let events: usize = outcomes.iter().map(|outcome| self.count_events(outcome)).sum();
        if let Some(metrics) = self.metrics.as_ref().filter(|_| events > 0) {
            metrics.steps.append.observe_time(began.elapsed());
            metrics.steps.batch.observe(events as f64);
            if let Some(state) = &self.folder.state {
                metrics.threshold_is(state.threshold(None));
            }
        }
    }

    /// Counts the events of one command; gives how many.
    fn count_events(&self, outcome: &Result<Outcome, WriteError>) -> usize {
        let Ok(Outcome::Committed(committed)) = outcome else { return 0 };
        if let Some(metrics) = &self.metrics {
            metrics.committed(committed.events.iter().map(|(_, event)| event));
        }
        committed.events.len()
    }

    /// The subjects inserted with this batch are known from now on.
    fn settled(&self, plan: &mut Plan) {
        let opened = plan.subjects.iter().filter_map(|row| self.directory.open(row).ok());
        let known: HashMap<[u8; 32], Arc<Subject>> =
            opened.map(|subject| (subject.name_hmac, Arc::new(subject))).collect();
        for subject in known.values() {
            self.directory.keep(subject);
        }
        for outcome in plan.outcomes.iter_mut().flatten() {
            if let Outcome::Committed(Committed { subject: Some(subject), .. }) = outcome
                && let Some(known) = known.get(&subject.name_hmac)
            {
                *subject = Arc::clone(known);
            }
        }
    }
}

/// What a written batch leaves behind. Letting thousands of small things go takes a while, which is
/// had for nothing while the database works at the next batch.
#[derive(Default)]
pub(super) struct Spent {
    before: Option<State>,
    proposals: Vec<Proposal>,
    records: Vec<Record>,
    contents: Vec<(Position, Content)>,
}

impl Spent {
    /// Keeps the texts and lets the rest go.
    pub(super) fn leave(self, texts: &Texts) {
        texts.keep_written(&self.records, self.contents);
    }
}

/// A batch that could not be written.
struct Spoiled {
    error: WriteError,
    /// Whether nothing of it is in the log for sure.
    is_certain: bool,
}

/// Whether an error may be caused by one command of a batch alone.
fn may_be_one_commands(error: &WriteError) -> bool {
    matches!(error, WriteError::Store(StoreError::Other(_)) | WriteError::Defect(_))
}

fn refuse(batch: Vec<Pending>, error: &WriteError) {
    for pending in batch {
        drop(pending.answer.send(Err(error.clone())));
    }
}

/// Frees the engine's row. A connection that cannot even roll back has lost it anyway.
async fn give_up(append: Append) {
    if let Err(error) = append.rollback().await {
        tracing::debug!(%error, "a transaction could not be rolled back");
    }
}

/// What the tail holds of commands whose commit had an unknown outcome.
#[derive(Default)]
pub(super) struct Found {
    in_doubt: bool,
    pub(super) commands: HashMap<CommandId, Committed>,
}

impl Found {
    fn collect(&mut self, rows: &[Row]) {
        for (record, _) in rows {
            let Ok(event) = codec::decode(&record.kind, record.schema_version, &record.clear)
            else {
                continue;
            };
            let committed = self.commands.entry(record.command_id).or_default();
            if committed.events.is_empty() {
                committed.chain_hash = record.chain_hash;
            }
            committed.events.push((fold::envelope(record), event));
        }
    }
}
