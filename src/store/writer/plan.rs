//! What one batch writes: subjects settled, each command decided in turn, its events made rows.

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
        decide::{Decided, decide},
        event::{DECIDE_VERSION, Envelope, Event},
        evolve::evolve,
        ids::{EngineId, Micros, Position, Sha256},
    },
    store::{
        Append, Content, IdempotencyKey, Record, SubjectRow, chain, codec, fold, subject::Subject,
    },
};

/// Events between two attestations of the state.
const ATTEST_EVERY: u64 = 10_000;

/// What one batch writes, and what its callers will be told.
#[derive(Default)]
pub(super) struct Plan {
    /// When all of it is recorded.
    pub(super) now: Micros,
    /// Without their JSON and their hashes until [`Plan::finish`].
    pub(super) records: Vec<Record>,
    pub(super) contents: Vec<(Position, Content)>,
    pub(super) subjects: Vec<SubjectRow>,
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

    /// Gives the records their JSON and their place in the chain, and the callers their receipts;
    /// answers the last chain hash. Apart from deciding, so that the database works meanwhile.
    pub(super) fn finish<'p>(
        records: &mut [Record],
        outcomes: impl Iterator<Item = &'p mut Result<Outcome, WriteError>>,
        engine: &EngineId,
        mut chain_hash: Sha256,
    ) -> Result<Sha256, WriteError> {
        let mut records = records.iter_mut().peekable();
        for outcome in outcomes.flatten() {
            let Outcome::Committed(committed) = outcome else { continue };
            for (index, (envelope, event)) in committed.events.iter().enumerate() {
                // otherwise found in the log, where an earlier attempt brought it
                let ours = records.next_if(|record| record.position == envelope.position);
                let Some(record) = ours else { break };
                let encoded =
                    codec::encode(event).map_err(|e| WriteError::Defect(e.to_string()))?;
                (record.schema_version, record.clear) = (encoded.schema_version, encoded.clear);
                record.leaf_hash = chain::leaf(engine, record);
                chain_hash = chain::link(chain_hash, record.position, record.leaf_hash);
                record.chain_hash = chain_hash;
                if index == 0 {
                    committed.chain_hash = chain_hash;
                }
            }
        }
        Ok(chain_hash)
    }
}

impl Task {
    /// Decides a batch on the state so far, as much of it as its bounds allow. The first of it may
    /// be decided already: they are in the plan.
    pub(super) async fn decide_all(
        &mut self,
        append: &mut Append,
        batch: &mut [Pending],
        found: &Found,
        mut plan: Plan,
    ) -> Result<Plan, Failed> {
        let rest = batch.get_mut(plan.outcomes.len()..).unwrap_or_default();
        self.settle_subjects(append, rest, &mut plan).await?;
        let keys: Vec<IdempotencyKey> =
            rest.iter().filter_map(|pending| claims::id(&pending.proposal)).collect();
        if !keys.is_empty() {
            plan.claims.load(append.idempotency(&keys).await?);
        }
        for pending in &*rest {
            let proposal = &pending.proposal;
            if plan.records.len() >= self.limits.batch_events {
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

    /// Binds new names to whoever was first: another replica, an earlier command of this batch, or us.
    async fn settle_subjects(
        &mut self,
        append: &mut Append,
        batch: &mut [Pending],
        plan: &mut Plan,
    ) -> Result<(), Failed> {
        let fresh: Vec<[u8; 32]> = batch
            .iter()
            .flat_map(|pending| pending.proposal.subjects())
            .filter(|subject| subject.fresh.is_some())
            .map(|subject| subject.name_hmac)
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let mut first: HashMap<[u8; 32], Arc<Subject>> = HashMap::new();
        for row in append.subjects(&fresh).await? {
            let subject = Arc::new(self.directory.open(&row).map_err(WriteError::from)?);
            self.directory.keep(&subject);
            first.insert(row.name_hmac, subject);
        }
        for pending in batch {
            for subject in pending.proposal.subjects() {
                let Some(row) = &subject.fresh else { continue };
                if let Some(winner) = first.get(&subject.name_hmac) {
                    let proposal = &mut pending.proposal;
                    proposal.rebind(winner).map_err(WriteError::from)?;
                } else {
                    plan.subjects.push(row.clone());
                    first.insert(subject.name_hmac, subject);
                }
            }
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
            committed.events.push((envelope, event));
        }
        Ok(Ok(Outcome::Committed(committed)))
    }

    fn attest(&mut self, plan: &mut Plan) -> Result<(), Failed> {
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

    /// Makes the draft of a row of a decided event and folds it.
    fn record(
        &mut self,
        proposal: &Proposal,
        decided: Decided,
        plan: &mut Plan,
    ) -> Result<(Envelope, Event), Failed> {
        let defect = |what: String| Failed::For(WriteError::Defect(what));
        let kept = proposal.content.as_ref().and_then(|sealed| sealed.kept(decided.keep));
        let (content, content_hash) = kept.unzip();
        let record = Record {
            position: self.folder.position() + 1,
            command_id: proposal.command_id,
            kind: codec::kind(&decided.event).to_owned(),
            schema_version: 0,
            decide_version: DECIDE_VERSION,
            recorded_at: plan.now,
            step: decided.step,
            request_id: proposal.request_id.clone(),
            actor: proposal.actor.name(),
            subject_ref: decided.subject,
            trace_id: proposal.trace_id,
            clear: Vec::new(),
            content_hash,
            leaf_hash: Sha256::default(),
            chain_hash: Sha256::default(),
        };
        let envelope = fold::envelope(&record);
        // only what is in the log with it: a replay has no more
        let kept = content.as_ref().is_some_and(|content| content.vector.is_some());
        let vector = proposal.command.vector().filter(|_| kept).cloned();
        let Some(state) = &mut self.folder.state else {
            return Err(defect("an engine without a state".to_owned()));
        };
        evolve(state, &envelope, &decided.event, vector).map_err(|e| defect(e.to_string()))?;
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

    /// Whether it is decided without a look into the database under the lock.
    pub(super) fn stands_alone(&self) -> bool {
        claims::id(self).is_none() && self.named().all(|subject| subject.fresh.is_none())
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
