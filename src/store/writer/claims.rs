//! Idempotency keys of one batch: who holds which, and what the batch changes.

use std::collections::HashMap;

use crate::domain::{
    event::{Envelope, Event, FailStage},
    ids::{Micros, Position},
};

use super::{Earlier, Proposal, WriteError};
use crate::store::{Append, IdempotencyKey, IdempotencyRow, StoreError, keys::SubjectKey};

/// How long a key is remembered, in microseconds: seven days.
const TTL: Micros = 7 * 24 * 60 * 60 * 1_000_000;

/// The keys a batch asks about and the changes it makes.
#[derive(Default)]
pub(super) struct Claims {
    held: HashMap<IdempotencyKey, IdempotencyRow>,
    taken: Vec<IdempotencyKey>,
    ended: Vec<(u64, Position)>,
    freed: Vec<u64>,
    /// Whether a step lost its key after another one had claimed one. Written, the first comes first:
    /// a key that was claimed too early would not show if it was not looked for.
    pub(super) frees_after_taking: bool,
}

/// The key a command claims.
pub(super) fn id(proposal: &Proposal) -> Option<IdempotencyKey> {
    let claim = proposal.claim.as_ref()?;
    let subject = proposal.subject.as_ref()?;
    Some(IdempotencyKey {
        name_hmac: subject.name_hmac,
        route: claim.route.clone(),
        key: claim.key.clone(),
    })
}

fn body_hmac(key: &SubjectKey, digest: &[u8; 32]) -> [u8; 32] {
    key.hmac("body", digest)
}

impl Claims {
    /// The rows found in the log.
    pub(super) fn load(&mut self, rows: Vec<IdempotencyRow>) {
        self.held.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
    }

    /// The earlier step that holds a command's key, if any.
    pub(super) fn check(
        &mut self,
        proposal: &Proposal,
        now: Micros,
    ) -> Result<Option<Earlier>, WriteError> {
        let (Some(id), Some(claim), Some(subject)) =
            (id(proposal), &proposal.claim, &proposal.subject)
        else {
            return Ok(None);
        };
        let Some(row) = self.held.get(&id) else { return Ok(None) };
        if row.expires_at <= now {
            self.freed.push(row.step);
            self.held.remove(&id);
            return Ok(None);
        }
        if row.body_hmac != body_hmac(&subject.key, &claim.body_digest) {
            return Err(WriteError::OtherBody);
        }
        Ok(Some(Earlier {
            step: row.step,
            position: row.position,
            ended: row.ended_position,
            subject: std::sync::Arc::clone(subject),
        }))
    }

    /// Takes, ends or frees a key as a recorded event demands.
    pub(super) fn follow(
        &mut self,
        proposal: &Proposal,
        envelope: &Envelope,
        event: &Event,
        now: Micros,
    ) {
        let Some(step) = envelope.step else { return };
        match event {
            Event::StepAdmitted(_) => self.take(proposal, step, envelope.position, None, now),
            Event::StepRejected(_) => {
                self.take(proposal, step, envelope.position, Some(envelope.position), now);
            }
            Event::StepFailed(failed) if frees(failed.stage) => {
                if proposal.ends_claim {
                    self.frees_after_taking |= !self.taken.is_empty();
                    self.freed.push(step);
                    self.held.retain(|_, row| row.step != step);
                }
            }
            Event::StepCompleted(_) | Event::StepFailed(_) => {
                if proposal.ends_claim {
                    self.ended.push((step, envelope.position));
                    for row in self.held.values_mut().filter(|row| row.step == step) {
                        row.ended_position = Some(envelope.position);
                    }
                }
            }
            Event::EngineCreated(_)
            | Event::PolicyChanged(_)
            | Event::MemoryAdded(_)
            | Event::MemoryConsolidated(_)
            | Event::MemoryEvicted(_)
            | Event::EngineShutdown(_)
            | Event::EngineResumed(_)
            | Event::SubjectErased(_)
            | Event::StateAttested(_)
            | Event::KeyCreated(_)
            | Event::KeyRevoked(_)
            | Event::KeyRotated(_) => {}
        }
    }

    fn take(
        &mut self,
        proposal: &Proposal,
        step: u64,
        position: Position,
        ended_position: Option<Position>,
        now: Micros,
    ) {
        let (Some(id), Some(claim), Some(subject)) =
            (id(proposal), &proposal.claim, &proposal.subject)
        else {
            return;
        };
        let row = IdempotencyRow {
            id: id.clone(),
            body_hmac: body_hmac(&subject.key, &claim.body_digest),
            step,
            position,
            ended_position,
            expires_at: now.saturating_add(TTL),
        };
        self.held.insert(id.clone(), row);
        self.taken.push(id);
    }

    /// Writes the changes, in the transaction of the events that cause them; false if a key is held
    /// that was not looked for.
    pub(super) async fn write(&self, append: &mut Append) -> Result<bool, StoreError> {
        if !self.ended.is_empty() {
            append.end_idempotency(&self.ended).await?;
        }
        if !self.freed.is_empty() {
            append.free_idempotency(&self.freed).await?;
        }
        let taken: Vec<IdempotencyRow> =
            self.taken.iter().filter_map(|id| self.held.get(id)).cloned().collect();
        Ok(taken.is_empty() || append.insert_idempotency(&taken).await?)
    }
}

/// Failures after which the same request may be tried anew under its key.
const fn frees(stage: FailStage) -> bool {
    match stage {
        FailStage::Embedding | FailStage::Llm | FailStage::Cancelled | FailStage::Abandoned => true,
        FailStage::EmptyResponse => false,
    }
}
