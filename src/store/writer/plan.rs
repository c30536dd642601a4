//! What one batch writes: names bound, each command decided in turn, its events made rows.

use std::{collections::HashMap, sync::Arc};

use super::{
    Actor, Committed, Outcome, Proposal, Task, WriteError,
    batch::{Failed, Found},
    claims::{self, Claims},
    proposal::Pending,
};
use crate::{
    domain::{
        command::Command,
        decide::{Decision, decide},
        event::{DECIDE_VERSION, Envelope, Event},
        evolve::evolve,
        ids::{Micros, Position, Sha256},
    },
    store::{
        Append, Content, IdempotencyKey, Record, StoreError, SubjectRow, chain, codec,
        subject::Subject,
    },
};

/// Events between two attestations of the state.
const ATTEST_EVERY: u64 = 10_000;

/// What one batch writes, and what its callers will be told.
#[derive(Default)]
pub(super) struct Plan {
    /// When all of it is recorded.
    pub(super) now: Micros,
    pub(super) records: Vec<Record>,
    pub(super) contents: Vec<(Position, Content)>,
    /// New data subjects.
    pub(super) subjects: Vec<SubjectRow>,
    /// Who has the names that were new to their commands: somebody in the log, or the first here.
    names: HashMap<[u8; 32], Arc<Subject>>,
    pub(super) claims: Claims,
    pub(super) outcomes: Vec<Result<Outcome, WriteError>>,
    /// An attestation's outcome concerns nobody, but its event is written.
    pub(super) attested: Option<Result<Outcome, WriteError>>,
}

impl Plan {
    /// Nothing yet, recorded at that time.
    pub(super) fn at(now: Micros) -> Self {
        Self { now, ..Self::default() }
    }

    /// Binds a command's new names to whoever was first: somebody in the log, an earlier command of
    /// this batch, or itself.
    pub(super) fn introduce(&mut self, proposal: &mut Proposal) -> Result<(), WriteError> {
        for subject in proposal.subjects() {
            let Some(row) = &subject.fresh else { continue };
            if let Some(first) = self.names.get(&subject.name_hmac) {
                proposal.rebind(first)?;
            } else {
                self.subjects.push(row.clone());
                self.names.insert(subject.name_hmac, subject);
            }
        }
        Ok(())
    }

    /// Writes the new subjects and what becomes of keys; false if a name or a key is taken that was
    /// not looked for.
    pub(super) async fn write_names(
        append: &mut Append,
        subjects: &[SubjectRow],
        claims: &Claims,
    ) -> Result<bool, StoreError> {
        let are_new = subjects.is_empty() || append.insert_subjects(subjects).await?;
        Ok(are_new && claims.write(append).await?)
    }
}

impl Task {
    /// Decides a batch on the state so far, as much of it as its bounds allow.
    pub(super) async fn decide_all(
        &mut self,
        append: &mut Append,
        batch: &mut [Pending],
        found: &Found,
    ) -> Result<Plan, Failed> {
        let mut plan = Plan::at(append.now);
        self.settle_subjects(append, batch, &mut plan).await?;
        let keys: Vec<IdempotencyKey> =
            batch.iter().filter_map(|pending| claims::id(&pending.proposal)).collect();
        if !keys.is_empty() {
            plan.claims.load(append.idempotency(&keys).await?);
        }
        let is_found =
            |pending: &Pending| found.commands.contains_key(&pending.proposal.command_id);
        let found_until = batch.iter().rposition(is_found).map_or(0, |last| last + 1);
        for (index, pending) in batch.iter().enumerate() {
            let proposal = &pending.proposal;
            // those that are in the log already must not be left for another batch
            if plan.records.len() >= self.limits.batch_events && index >= found_until {
                break;
            }
            // left there: another attempt must find them again
            let outcome = match found.commands.get(&proposal.command_id) {
                Some(committed) => {
                    let subject = proposal.subject.clone();
                    Ok(Outcome::Committed(Committed { subject, ..committed.clone() }))
                }
                None => self.decide_one(proposal, &mut plan)?,
            };
            plan.outcomes.push(outcome);
        }
        self.attest(&mut plan)?;
        Ok(plan)
    }

    /// Looks for the names that are new to their commands, and binds them.
    async fn settle_subjects(
        &mut self,
        append: &mut Append,
        batch: &mut [Pending],
        plan: &mut Plan,
    ) -> Result<(), Failed> {
        let subjects = batch.iter().flat_map(|pending| pending.proposal.subjects());
        let fresh = subjects.filter(|subject| subject.fresh.is_some());
        let names: Vec<[u8; 32]> = fresh.map(|subject| subject.name_hmac).collect();
        if names.is_empty() {
            return Ok(());
        }
        for row in append.subjects(&names).await? {
            let subject = Arc::new(self.directory.open(&row).map_err(WriteError::from)?);
            self.directory.keep(&subject);
            plan.names.insert(row.name_hmac, subject);
        }
        for pending in batch {
            plan.introduce(&mut pending.proposal)?;
        }
        Ok(())
    }

    /// Decides one command on the state so far. A refusal is its caller's alone; a defect is not.
    pub(super) fn decide_one(
        &mut self,
        proposal: &Proposal,
        plan: &mut Plan,
    ) -> Result<Result<Outcome, WriteError>, Failed> {
        let now = plan.now;
        if proposal.pseudonym().is_some_and(|s| self.folder.is_erased(s)) && proposal.takes_words()
        {
            return Ok(Err(WriteError::SubjectErased));
        }
        match plan.claims.check(proposal, now) {
            Ok(None) => {}
            Ok(Some(earlier)) => return Ok(Ok(Outcome::Duplicate(earlier))),
            Err(refused) => return Ok(Err(refused)),
        }
        let Some(state) = &self.folder.state else {
            return Err(Failed::For(WriteError::Defect("an engine without a state".to_owned())));
        };
        let decided = match decide(state, &proposal.command, now) {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let mut committed = Committed { subject: proposal.subject.clone(), ..Committed::default() };
        for decided in decided {
            let (envelope, event) = self.record(proposal, decided, plan)?;
            plan.claims.follow(proposal, &envelope, &event, now);
            if committed.events.is_empty() {
                committed.chain_hash = self.folder.chain_hash;
            }
            committed.events.push((envelope, event));
        }
        Ok(Ok(Outcome::Committed(committed)))
    }

    /// Adds an attestation of the state when it is time for one.
    pub(super) fn attest(&mut self, plan: &mut Plan) -> Result<(), Failed> {
        let due = self
            .folder
            .state
            .as_ref()
            .is_some_and(|state| state.position - state.attested >= ATTEST_EVERY);
        if due {
            let id = crate::ids::command_id();
            let proposal = Proposal::of_engine(id, Command::Attest, Actor::Server);
            plan.attested = Some(self.decide_one(&proposal, plan)?);
        }
        Ok(())
    }

    /// Makes the row of a decided event and folds it.
    fn record(
        &mut self,
        proposal: &Proposal,
        decided: Decision,
        plan: &mut Plan,
    ) -> Result<(Envelope, Event), Failed> {
        let defect = |what: String| Failed::For(WriteError::Defect(what));
        let kept = proposal.content.as_ref().and_then(|sealed| sealed.kept(decided.retention));
        let (content, content_hash) = kept.unzip();
        let encoded = codec::encode(&decided.event).map_err(|e| defect(e.to_string()))?;
        let mut record = Record {
            position: self.folder.position() + 1,
            command_id: proposal.command_id,
            kind: encoded.kind.to_owned(),
            schema_version: encoded.schema_version,
            decide_version: DECIDE_VERSION,
            recorded_at: plan.now,
            step: decided.step,
            request_id: proposal.request_id.clone(),
            actor: proposal.actor.name(),
            subject_ref: decided.subject,
            trace_id: proposal.trace_id,
            payload: encoded.payload,
            content_hash,
            leaf_hash: Sha256::default(),
            chain_hash: Sha256::default(),
        };
        let envelope = record.envelope();
        // only what is in the log with it: a replay has no more
        let kept = content.as_ref().is_some_and(|content| content.vector.is_some());
        let vector = proposal.command.vector().filter(|_| kept).cloned();
        let Some(state) = &mut self.folder.state else {
            return Err(defect("an engine without a state".to_owned()));
        };
        evolve(state, &envelope, &decided.event, vector).map_err(|e| defect(e.to_string()))?;
        record.leaf_hash = chain::leaf(&self.engine, &record);
        record.chain_hash = chain::link(self.folder.chain_hash, record.position, record.leaf_hash);
        self.folder.chain_hash = record.chain_hash;
        plan.contents.extend(content.map(|content| (record.position, content)));
        plan.records.push(record);
        Ok((envelope, decided.event))
    }
}

impl Proposal {
    /// Everybody named by it, each once.
    fn subjects(&self) -> Vec<Arc<Subject>> {
        let mut all: Vec<Arc<Subject>> = self.named().cloned().collect();
        all.dedup_by_key(|subject| subject.name_hmac);
        all
    }

    /// Everybody named by it.
    fn named(&self) -> impl Iterator<Item = &Arc<Subject>> {
        let actor = match &self.actor {
            Actor::Subject(actor) => Some(actor),
            Actor::Server | Actor::Clear(_) => None,
        };
        self.subject.iter().chain(actor)
    }

    /// Whether it claims a key or names somebody who is new to it.
    pub(super) fn takes_names(&self) -> bool {
        claims::id(self).is_some() || self.named().any(|subject| subject.fresh.is_some())
    }

    /// Whether it takes in words of its subject, which an erased one has none of any more.
    const fn takes_words(&self) -> bool {
        matches!(self.command, Command::Admit(_) | Command::Add(_))
    }
}

impl Actor {
    /// As it stands in the log.
    fn name(&self) -> Option<String> {
        match self {
            Self::Server => None,
            Self::Subject(subject) => Some(subject.subject_ref.to_string()),
            Self::Clear(name) => Some(name.clone()),
        }
    }
}
