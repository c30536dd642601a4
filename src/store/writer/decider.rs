//! Decides commands: each one on the state that those before it left, its events made into rows.
//!
//! Deliberately without a database and synchronous. The rows may or may not reach the log: a
//! [`Checkpoint`] puts the state back.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use super::{
    batch::{Batch, Checkpoint},
    proposal::{Actor, Committed, Outcome, Proposal, WriteError},
    queue::QueuedCommand,
};
use crate::{
    domain::{
        command::Command,
        decide::{Decision, decide},
        event::{Envelope, Event},
        evolve::evolve,
        ids::{EngineId, Position, Sha256},
        rules::Rules,
    },
    store::{
        Record, SubjectRow, chain, codec,
        fleet::SharedFleet,
        seal::SealError,
        state_fold::{MAC_FORMAT, StateFold, begun_mac_key},
        subject::{Directory, Subject},
    },
};

/// Events between two attestations of the state.
const ATTEST_EVERY: u64 = 10_000;

pub(super) struct Decider {
    engine: EngineId,
    /// The state that the newest decided event leaves.
    pub(super) fold: StateFold,
    directory: Arc<Directory>,
    /// The abilities of all replicas, which the rules of each decision depend on.
    fleet: SharedFleet,
    rules: Rules,
}

impl Decider {
    pub(super) fn new(
        engine: EngineId,
        fold: StateFold,
        directory: Arc<Directory>,
        fleet: SharedFleet,
    ) -> Self {
        Self { engine, fold, directory, rules: fleet.rules(), fleet }
    }

    /// Position and chain hash of the newest decided event.
    pub(super) fn head(&self) -> (Position, Sha256) {
        (self.fold.position(), self.fold.chain_hash)
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let fold = &self.fold;
        Checkpoint {
            state: fold.state.clone(),
            chain_hash: fold.chain_hash,
            least_mac_key: fold.least_mac_key,
        }
    }

    /// Forgets all that was decided since a checkpoint.
    pub(super) fn rollback(&mut self, before: Checkpoint) {
        let Checkpoint { state, chain_hash, least_mac_key } = before;
        (self.fold.state, self.fold.chain_hash) = (state, chain_hash);
        self.fold.least_mac_key = least_mac_key;
    }

    /// Decides a command and adds it to the batch. A refusal is the command's outcome; an error is a
    /// defect, and leaves the batch with a command that has no outcome: roll back.
    pub(super) fn decide(
        &mut self,
        mut command: QueuedCommand,
        batch: &mut Batch,
    ) -> Result<(), WriteError> {
        let bound = batch.bind_names(&mut command.proposal);
        let decided =
            bound.map_err(Into::into).and_then(|()| self.decide_one(&command.proposal, batch));
        batch.add(command);
        batch.outcomes.push(decided?);
        Ok(())
    }

    /// Adds an attestation of the state to the batch when one is due.
    pub(super) fn attest(&mut self, batch: &mut Batch) -> Result<(), WriteError> {
        let due = self
            .fold
            .state
            .as_ref()
            .is_some_and(|state| state.position - state.attested >= ATTEST_EVERY);
        if due {
            let id = crate::ids::command_id();
            let proposal = Proposal::of_engine(id, Command::Attest, Actor::Server);
            batch.attestation = Some(self.decide_one(&proposal, batch)?);
        }
        Ok(())
    }

    /// The inner result is the command's outcome, the outer one a defect.
    fn decide_one(
        &mut self,
        proposal: &Proposal,
        batch: &mut Batch,
    ) -> Result<Result<Outcome, WriteError>, WriteError> {
        let now = batch.recorded_at;
        let is_erased = |subject| self.fold.is_erased(subject);
        if proposal.pseudonym().is_some_and(is_erased) && proposal.takes_content() {
            return Ok(Err(WriteError::SubjectErased));
        }
        match batch.claims.check(proposal, now) {
            Ok(None) => {}
            Ok(Some(earlier)) => return Ok(Ok(Outcome::Duplicate(earlier))),
            Err(refused) => return Ok(Err(refused)),
        }
        let Some(state) = &self.fold.state else {
            return Err(WriteError::Defect("an engine without a state".to_owned()));
        };
        self.rules = self.fleet.rules();
        let decided = match decide(state, &proposal.command, now, self.rules) {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let mut committed = Committed { subject: proposal.subject.clone(), ..Committed::default() };
        for decided in decided {
            let (envelope, event) = self.record(proposal, decided, batch)?;
            batch.claims.apply(proposal, &envelope, &event, now);
            if committed.events.is_empty() {
                committed.chain_hash = self.fold.chain_hash;
            }
            committed.events.push((envelope, event));
        }
        Ok(Ok(Outcome::Committed(committed)))
    }

    /// Makes the row of a decided event and folds it.
    fn record(
        &mut self,
        proposal: &Proposal,
        decided: Decision,
        batch: &mut Batch,
    ) -> Result<(Envelope, Event), WriteError> {
        let defect = WriteError::Defect;
        let retained =
            proposal.content.as_ref().and_then(|sealed| sealed.retained(decided.retention));
        let (content, content_hash) = retained.unzip();
        let encoded = codec::encode(&decided.event).map_err(|e| defect(e.to_string()))?;
        let mut record = Record {
            position: self.fold.position() + 1,
            command_id: proposal.command_id,
            kind: encoded.kind.to_owned(),
            schema_version: encoded.schema_version,
            decide_version: self.rules.version(),
            recorded_at: batch.recorded_at,
            step: decided.step,
            request_id: proposal.request_id.clone(),
            actor: proposal.actor.name(),
            subject_ref: decided.subject,
            trace_id: proposal.trace_id,
            payload: encoded.payload,
            content_hash,
            leaf_hash: Sha256::default(),
            chain_hash: Sha256::default(),
            mac: None,
        };
        let envelope = record.envelope();
        // only a vector that is in the log: a replay has no other
        let has_vector = content.as_ref().is_some_and(|content| content.vector.is_some());
        let vector = proposal.command.vector().filter(|_| has_vector).cloned();
        let Some(state) = &mut self.fold.state else {
            return Err(defect("an engine without a state".to_owned()));
        };
        evolve(state, &envelope, &decided.event, vector).map_err(|e| defect(e.to_string()))?;
        let key = if state.log_format >= MAC_FORMAT {
            let key = self.fold.signing_key();
            Some(key.ok_or_else(|| defect("no MAC key was read".to_owned()))?)
        } else {
            None
        };
        if let Event::LogFormatRaised(raised) = &decided.event {
            batch.raised = Some((raised.to, self.directory.wrap_index_key(raised.to)?));
        }
        chain::extend(&self.engine, self.fold.chain_hash, key.as_deref(), &mut record);
        self.fold.chain_hash = record.chain_hash;
        self.fold.note_mac_key(&record, begun_mac_key(&decided.event));
        batch.contents.extend(content.map(|content| (record.position, content)));
        batch.records.push(record);
        Ok((envelope, decided.event))
    }

    /// Opens the row of a subject that is in the log, and adds it to the directory.
    pub(super) fn open_subject(&self, row: &SubjectRow) -> Result<Arc<Subject>, SealError> {
        self.directory.load(row)
    }

    /// Adds the subjects of a committed batch to the directory, and puts them into its outcomes in place
    /// of those that were not in the log yet.
    pub(super) fn learn_subjects(&self, batch: &mut Batch) {
        if batch.records.is_empty() || batch.subjects.is_empty() {
            return;
        }
        let opened = batch.subjects.iter().filter_map(|row| self.open_subject(row).ok());
        let known: HashMap<[u8; 32], Arc<Subject>> =
            opened.map(|subject| (subject.name_hmac, subject)).collect();
        for outcome in batch.outcomes.iter_mut().flatten() {
            if let Outcome::Committed(Committed { subject: Some(subject), .. }) = outcome
                && let Some(known) = known.get(&subject.name_hmac)
            {
                *subject = Arc::clone(known);
            }
        }
    }
}
