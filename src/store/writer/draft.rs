//! The next batch, decided while those before it are on their way.
//!
//! It is decided on the state that they will leave, command by command as they come, and sent off when
//! nothing stands before it, or as soon as it is full (see [`super::in_flight`]). A batch that misses
//! takes with it what was decided on it: those commands are decided again, under the lock.
//!
//! A name or an idempotency key that is new here is taken to be new: nearly all are. One that the
//! database knows already makes the batch miss, and is looked for then. Where that could not show, since
//! the command writes nothing or a key changes hands within the batch, it is decided under the lock.

use std::sync::atomic::Ordering;

use tokio::{task::JoinError, time::Instant};

use super::{
    Outcome, Task, WriteError,
    batch::{Failed, Found, answer, may_be_one_commands, refuse},
    in_flight::{
        Decided, Ending, IN_FLIGHT_MAX, InFlight, OwnedRows, Transaction, Unwritten, Written,
    },
    plan::Plan,
    proposal::Pending,
};
use crate::{
    domain::{ids::Sha256, state::State},
    store::{LogClock, StoreError},
};

/// Commands decided before the thread looks whether another one waits for its core: that may be the
/// database itself, with the batch before, on a machine that it shares with us. Schedulers let a
/// thread that has just woken wait for one that runs, for longer than a batch takes.
const GIVE_WAY_AFTER: usize = 8;

/// A batch that is still being decided.
pub(super) struct Draft {
    batch: Vec<Pending>,
    bytes: usize,
    plan: Plan,
    /// State and chain hash before it.
    before: (Option<State>, Sha256),
    /// Its transaction, once there is a place for it.
    transaction: Option<Transaction>,
}

impl Task {
    /// Decides the commands taken out of the queue, as far as the next batch has room for them.
    pub(super) fn decide_ahead(&mut self) {
        while let Some(pending) = self.carried.pop_front() {
            if !self.draft_has_room(&pending) {
                return self.carried.push_front(pending);
            }
            self.decide_into_draft(pending);
        }
    }

    fn draft_has_room(&self, pending: &Pending) -> bool {
        let size = pending.proposal.size();
        let fits =
            |draft: &Draft| !self.is_full(draft) && draft.bytes + size <= self.limits.batch_bytes;
        // without a clock somebody else may be writing, and it would be in vain
        self.clock.is_some() && self.draft.as_ref().is_none_or(fits)
    }

    fn is_full(&self, draft: &Draft) -> bool {
        draft.batch.len().max(draft.plan.records.len()) >= self.limits.batch_events
            || draft.bytes >= self.limits.batch_bytes
    }

    fn decide_into_draft(&mut self, mut pending: Pending) {
        let mut draft = self.draft.take().unwrap_or_else(|| self.begin_draft());
        let decided = match draft.plan.introduce(&mut pending.proposal) {
            Ok(()) => self.decide_one(&pending.proposal, &mut draft.plan),
            Err(error) => Err(error.into()),
        };
        // a refusal inserts nothing by which a name or a key that is taken would show
        let shows = |outcome: &Result<Outcome, WriteError>| match outcome {
            Ok(Outcome::Committed(committed)) => !committed.events.is_empty(),
            Ok(Outcome::Duplicate(_)) => true,
            Err(_) => false,
        };
        let is_sure = decided.as_ref().is_ok_and(shows) || !pending.proposal.takes_names();
        draft.bytes += pending.proposal.size();
        draft.batch.push(pending);
        if draft.batch.len().is_multiple_of(GIVE_WAY_AFTER) {
            std::thread::yield_now();
        }
        let is_decided = decided.map(|outcome| draft.plan.outcomes.push(outcome)).is_ok();
        let is_sure = is_sure && !draft.plan.claims.frees_after_taking;
        self.draft = Some(draft);
        if !is_decided || !is_sure {
            // a defect shows again under the lock, and is answered then
            self.give_up_draft();
        }
    }

    fn begin_draft(&mut self) -> Draft {
        // the clock may have been set back
        let now = self.clock.as_ref().map_or(self.recorded_at, LogClock::now);
        self.recorded_at = self.recorded_at.max(now);
        Draft {
            batch: Vec::new(),
            bytes: 0,
            plan: Plan::at(self.recorded_at),
            before: (self.folder.state.clone(), self.folder.chain_hash),
            transaction: None,
        }
    }

    /// Puts its commands back, to be decided under the lock.
    fn give_up_draft(&mut self) {
        if let Some(draft) = self.draft.take() {
            (self.folder.state, self.folder.chain_hash) = draft.before;
            self.carry(draft.batch);
            self.clock = None;
        }
    }

    /// Whether the queue is to be left alone: the next batch is full, or a command waits to be decided
    /// after it or under the lock.
    pub(super) fn is_sated(&self) -> bool {
        !self.carried.is_empty() || self.draft.as_ref().is_some_and(|draft| self.is_full(draft))
    }

    /// Begins the next batch's transaction once there is a place for it, and sends the batch off if its
    /// time has come: alone, when nothing more is there to be added; behind another one, when nothing
    /// more can be added.
    pub(super) fn send_off(&mut self) {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return;
        }
        let is_alone = self.in_flight.is_empty() && self.queue.is_empty();
        let is_due = is_alone || self.is_sated();
        let Some(mut draft) = self.draft.take() else { return };
        let transaction = draft.transaction.take().unwrap_or_else(|| {
            let before = self.in_flight.back().map(|flight| flight.inserted.clone());
            Transaction::open(self.store.clone(), self.engine.clone(), before)
        });
        if !is_due {
            draft.transaction = Some(transaction);
            self.draft = Some(draft);
        } else if self.attest(&mut draft.plan).is_ok() {
            self.send(draft, transaction);
        } else {
            self.draft = Some(draft);
            self.give_up_draft();
        }
    }

    fn send(&mut self, draft: Draft, transaction: Transaction) {
        let Draft { batch, mut plan, before, .. } = draft;
        let position = before.0.as_ref().map_or(0, |state| state.position);
        let rows = OwnedRows {
            expected: (position, before.1),
            events: std::mem::take(&mut plan.records),
            contents: std::mem::take(&mut plan.contents),
        };
        if rows.events.is_empty() {
            // nor is anybody introduced
            plan.subjects.clear();
        }
        let decided = Decided {
            rows,
            subjects: plan.subjects.clone(),
            claims: std::mem::take(&mut plan.claims),
            now: plan.now,
        };
        self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        self.in_flight.push_back(InFlight {
            batch,
            plan,
            before,
            after: (self.folder.state.clone(), self.folder.chain_hash),
            sent: Instant::now(),
            behind: transaction.behind,
            inserted: transaction.inserted.clone(),
            ending: transaction.send(decided),
        });
    }

    /// Goes on from the end of the batch sent first.
    pub(super) async fn ended(&mut self, ending: Result<Ending, JoinError>) {
        let Some(first) = self.in_flight.pop_front() else { return };
        match flatten(ending) {
            Ok(written) => {
                self.clock = Some(written.clock.clone());
                // the database first: it has nothing to do
                self.send_off();
                self.settle(first, Some(written));
            }
            Err(unwritten) => Box::pin(self.unwritten(first, unwritten)).await,
        }
    }

    /// Publishes a batch that is in the log and answers everybody in it.
    fn settle(&self, flight: InFlight, written: Option<Written>) {
        let InFlight { batch, mut plan, after: (state, chain_hash), sent, .. } = flight;
        self.settled(&mut plan);
        self.publish(state, chain_hash);
        self.count(&plan, sent);
        answer(batch, plan.outcomes);
        if let Some(Written { rows, .. }) = written {
            self.content_cache.insert_committed(&rows.events, rows.contents);
        }
    }

    /// Writes a batch that missed under the lock, and what was sent after it.
    async fn unwritten(&mut self, first: InFlight, why: Unwritten) {
        let why = first.why(why);
        let mut unwritten = vec![(first, why)];
        while let Some(mut next) = self.in_flight.pop_front() {
            match flatten((&mut next.ending).await) {
                Ok(written) => {
                    self.clock = Some(written.clock.clone());
                    let (sent, empty): (Vec<_>, Vec<_>) =
                        unwritten.into_iter().map(|(flight, _)| flight).partition(InFlight::writes);
                    // it follows what was sent before, which is in the log after all
                    for flight in sent {
                        self.settle(flight, None);
                    }
                    self.settle(next, Some(written));
                    return self.decide_again(empty);
                }
                Err(why) => {
                    let why = next.why(why);
                    unwritten.push((next, why));
                }
            }
        }
        self.give_up_draft();
        self.clock = None;
        if let Some((first, _)) = unwritten.first() {
            (self.folder.state, self.folder.chain_hash) = first.before.clone();
        }
        let in_doubt =
            |(_, why): &(_, Unwritten)| matches!(why, Unwritten::Failed(Failed::Again(_)));
        let mut found = Found { in_doubt: unwritten.iter().any(in_doubt), ..Found::default() };
        let mut beyond = Vec::new();
        for (flight, why) in unwritten {
            beyond.extend(flight.batch);
            beyond = self.write_again(beyond, why, &mut found).await;
        }
        self.waiting.fetch_add(beyond.len(), Ordering::Relaxed);
        self.carry(beyond);
    }

    /// Takes the commands back of batches that write nothing, of which nothing in the log tells.
    fn decide_again(&mut self, empty: Vec<InFlight>) {
        let batch: Vec<Pending> = empty.into_iter().flat_map(|flight| flight.batch).collect();
        if !batch.is_empty() {
            self.give_up_draft();
            self.waiting.fetch_add(batch.len(), Ordering::Relaxed);
            self.carry(batch);
        }
    }

    async fn write_again(
        &mut self,
        batch: Vec<Pending>,
        why: Unwritten,
        found: &mut Found,
    ) -> Vec<Pending> {
        match why {
            Unwritten::Overtaken => self.write(batch, found, 0).await,
            Unwritten::Failed(Failed::Again(cause)) => {
                self.count_conflict(&cause);
                self.write(batch, found, 1).await
            }
            Unwritten::Failed(Failed::For(error)) if may_be_one_commands(&error) => {
                self.write(batch, found, 1).await
            }
            Unwritten::Failed(Failed::For(error)) => {
                refuse(batch, &error);
                Vec::new()
            }
        }
    }
}

impl InFlight {
    /// Whether it has events.
    fn writes(&self) -> bool {
        self.before.1 != self.after.1
    }

    /// Why it is not written, if the task said so: what fails behind another batch may only have
    /// waited too long for it, or for a connection that it held.
    fn why(&self, said: Unwritten) -> Unwritten {
        let is_transient = matches!(
            &said,
            Unwritten::Failed(Failed::For(WriteError::Store(error))) if error.is_transient()
        );
        if self.behind && is_transient { Unwritten::Overtaken } else { said }
    }
}

/// A task that came to no end may have written or not.
fn flatten(ending: Result<Ending, JoinError>) -> Ending {
    ending.unwrap_or_else(|error| {
        let error = StoreError::Other(format!("the task that writes a batch is gone: {error}"));
        Err(Unwritten::Failed(Failed::Again(WriteError::Store(error))))
    })
}
