//! One batch: lock, fold the tail, decide, insert, commit.

use std::{collections::HashMap, sync::Arc};

use tokio::time::Instant;

use super::{Committed, Outcome, Task, WriteError, plan::Plan, proposal::Pending};
use crate::{
    domain::ids::{CommandId, Position},
    store::{
        Append, CommitError, StoreError, codec, replay,
        state_fold::{DamageCause, LogDamage, PAGE, RecordWithVector},
        subject::Subject,
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

impl From<CommitError> for Failed {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Failed(error) => error.into(),
            CommitError::Unknown(error) => Self::Again(error.into()),
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
            // somebody else writes, by a clock that may be ahead of ours
            self.clock = None;
            self.publish(self.folder.state.clone(), self.folder.chain_hash);
        }
    }

    /// Writes a batch and answers everybody in it; `tried` times it failed already. Gives back what it
    /// had no room for. One command that the database will not take must not fail its neighbours:
    /// then each is written by itself.
    pub(super) async fn write(
        &mut self,
        batch: Vec<Pending>,
        found: &mut Found,
        tried: u32,
    ) -> Vec<Pending> {
        let Spoiled { batch, error, is_certain } =
            match self.write_together(batch, found, tried).await {
                Ok(beyond) => return beyond,
                Err(spoiled) => spoiled,
            };
        if batch.len() == 1 || !is_certain || !may_be_one_commands(&error) {
            refuse(batch, &error);
            return Vec::new();
        }
        for pending in batch {
            let alone = self.write_together(vec![pending], &mut Found::default(), 0).await;
            if let Err(Spoiled { batch: alone, error, .. }) = alone {
                refuse(alone, &error);
            }
        }
        Vec::new()
    }

    /// Writes a batch and answers everybody in it but those it had no room for.
    async fn write_together(
        &mut self,
        mut batch: Vec<Pending>,
        found: &mut Found,
        mut tried: u32,
    ) -> Result<Vec<Pending>, Spoiled> {
        let began = Instant::now();
        let outcome = loop {
            tried += 1;
            match self.attempt(&mut batch, found).await {
                Ok(plan) => break Ok(plan),
                Err(Failed::Again(cause)) if tried < ATTEMPTS_MAX => {
                    self.count_conflict(&cause);
                    found.in_doubt = true;
                }
                Err(Failed::Again(error) | Failed::For(error)) => break Err(error),
            }
        };
        self.publish(self.folder.state.clone(), self.folder.chain_hash);
        let plan = match outcome {
            Ok(plan) => plan,
            Err(error) => return Err(Spoiled { batch, error, is_certain: !found.in_doubt }),
        };
        let beyond = batch.split_off(plan.outcomes.len());
        self.count(&plan, began);
        answer(batch, plan.outcomes);
        self.content_cache.insert_committed(&plan.records, plan.contents);
        Ok(beyond)
    }

    /// One transaction: an outcome for each command it has room for, in order.
    async fn attempt(&mut self, batch: &mut [Pending], found: &mut Found) -> Result<Plan, Failed> {
        self.clock = None;
        let mut append = self.begin(found).await?;
        let alone = append.head.is_at((self.folder.position(), self.folder.chain_hash));
        self.fold_tail(&mut append, found).await?;
        let clock = append.clock().clone();
        let before = (self.folder.state.clone(), self.folder.chain_hash);
        let written = match self.decide_all(&mut append, batch, found).await {
            Ok(plan) => commit(append, plan).await,
            Err(failed) => {
                give_up(append.rollback().await);
                Err(failed)
            }
        };
        match written {
            Ok(mut plan) => {
                self.settled(&mut plan);
                self.recorded_at = plan.now;
                self.clock = alone.then_some(clock);
                Ok(plan)
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
        let append = self.store.begin(&self.engine).await?;
        let tail = append.head.position.saturating_sub(self.folder.position());
        if tail <= TAIL_MAX || found.in_doubt {
            return Ok(append);
        }
        give_up(append.rollback().await);
        self.follow().await;
        Ok(self.store.begin(&self.engine).await?)
    }

    /// Folds what was written since, and picks out commands of ours whose commit was in doubt.
    async fn fold_tail(&mut self, append: &mut Append, found: &mut Found) -> Result<(), Failed> {
        let head = append.head;
        while self.folder.position() < head.position {
            let rows = append.tail(self.folder.position(), PAGE).await?;
            if rows.is_empty() {
                return Err(self.damage(DamageCause::Gap { found: head.position }).into());
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
                .apply(rows, Position::MAX)
                .map_err(|damage| WriteError::Damage(Arc::new(*damage)))?;
        }
        if self.folder.position() != head.position || self.folder.chain_hash != head.chain_hash {
            return Err(self.damage(DamageCause::Chain).into());
        }
        Ok(())
    }

    fn damage(&self, cause: DamageCause) -> WriteError {
        let engine = self.engine.clone();
        WriteError::Damage(Arc::new(LogDamage { engine, position: self.folder.position(), cause }))
    }

    /// Counts an attempt that the database undid, not one whose outcome is unknown.
    pub(super) fn count_conflict(&self, cause: &WriteError) {
        if let WriteError::Store(StoreError::Serialization(_)) = cause {
            self.store.metrics().conflicts.inc();
        }
    }

    /// Counts a written batch; what an earlier attempt brought into the log is in its outcomes too.
    pub(super) fn count(&self, plan: &Plan, began: Instant) {
        let outcomes = plan.outcomes.iter().chain(&plan.attested);
        let events: usize = outcomes.map(|outcome| self.count_events(outcome)).sum();
        if events == 0 {
            return;
        }
        self.store.metrics().append.observe_time(began.elapsed());
        self.store.metrics().batch_events.observe(events as f64);
        if let Some(metrics) = &self.metrics {
            metrics.threshold_is(self.views.borrow().state.threshold(None));
        }
    }

    /// Counts the events of one command; gives how many.
    fn count_events(&self, outcome: &Result<Outcome, WriteError>) -> usize {
        let Ok(Outcome::Committed(committed)) = outcome else { return 0 };
        let events = || committed.events.iter().map(|(_, event)| event);
        self.store.metrics().committed(events());
        if let Some(metrics) = &self.metrics {
            metrics.committed(events());
        }
        committed.events.len()
    }

    /// The subjects inserted with this batch are known from now on.
    pub(super) fn settled(&self, plan: &mut Plan) {
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

/// A batch that could not be written.
struct Spoiled {
    batch: Vec<Pending>,
    error: WriteError,
    /// Whether nothing of it is in the log for sure.
    is_certain: bool,
}

/// Sends all rows and makes them durable; gives the plan back.
async fn commit(mut append: Append, mut plan: Plan) -> Result<Plan, Failed> {
    if plan.records.is_empty() {
        give_up(append.rollback().await);
        plan.subjects.clear();
        return Ok(plan);
    }
    if let Err(error) = insert(&mut append, &plan).await {
        give_up(append.rollback().await);
        return Err(error.into());
    }
    append.commit().await.map_err(Failed::from)?;
    Ok(plan)
}

async fn insert(append: &mut Append, plan: &Plan) -> Result<(), StoreError> {
    if !Plan::write_names(append, &plan.subjects, &plan.claims).await? {
        let why = "a name or a key was taken under the lock".to_owned();
        return Err(StoreError::Serialization(why));
    }
    append.insert_contents(&plan.contents).await?;
    append.insert_events(&plan.records).await
}

/// Tells everybody in a batch what became of it. A caller may have gone; the log has it all the same.
pub(super) fn answer(batch: Vec<Pending>, outcomes: Vec<Result<Outcome, WriteError>>) {
    for (pending, outcome) in batch.into_iter().zip(outcomes) {
        drop(pending.answer.send(outcome));
    }
}

/// Whether an error may be caused by one command of a batch alone.
pub(super) fn may_be_one_commands(error: &WriteError) -> bool {
    matches!(error, WriteError::Store(StoreError::Other(_)) | WriteError::Defect(_))
}

/// Tells everybody in a batch why nothing of it is recorded.
pub(super) fn refuse(batch: Vec<Pending>, error: &WriteError) {
    for pending in batch {
        drop(pending.answer.send(Err(error.clone())));
    }
}

/// A connection that cannot even roll back has lost its transaction anyway.
pub(super) fn give_up(rolled_back: Result<(), StoreError>) {
    if let Err(error) = rolled_back {
        tracing::debug!(%error, "a transaction could not be rolled back");
    }
}

/// What the tail holds of commands whose commit had an unknown outcome.
#[derive(Default)]
pub(super) struct Found {
    pub(super) in_doubt: bool,
    pub(super) commands: HashMap<CommandId, Committed>,
}

impl Found {
    fn collect(&mut self, rows: &[RecordWithVector]) {
        for (record, _) in rows {
            let Ok(event) = codec::decode(&record.kind, record.schema_version, &record.payload)
            else {
                continue;
            };
            let committed = self.commands.entry(record.command_id).or_default();
            if committed.events.is_empty() {
                committed.chain_hash = record.chain_hash;
            }
            committed.events.push((record.envelope(), event));
        }
    }
}
