//! Idempotency keys of one batch: the keys that are held, and the changes that the batch makes to them.

use std::{collections::HashMap, sync::Arc};

use super::proposal::{Earlier, Proposal, WriteError};
use crate::{
    domain::{
        event::{Envelope, Event, FailStage},
        ids::{Micros, Position, StepNumber},
    },
    store::{IdempotencyKey, IdempotencyRow, keys::SubjectKey},
};

/// Lifetime of a key in microseconds: seven days.
const TTL: Micros = 7 * 24 * 60 * 60 * 1_000_000;

/// The keys that a batch refers to, and its changes to them.
#[derive(Default)]
pub(super) struct Claims {
    held: HashMap<IdempotencyKey, IdempotencyRow>,
    claimed: Vec<IdempotencyKey>,
    ended: Vec<(StepNumber, Position)>,
    released: Vec<StepNumber>,
    releases_after_claiming: bool,
}

/// The key that a command claims.
pub(super) fn key(proposal: &Proposal) -> Option<IdempotencyKey> {
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
    /// Adds the rows found in the log.
    pub(super) fn load(&mut self, rows: Vec<IdempotencyRow>) {
        self.held.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
    }

    /// The earlier step that holds a command's key, if any.
    pub(super) fn check(
        &mut self,
        proposal: &Proposal,
        now: Micros,
    ) -> Result<Option<Earlier>, WriteError> {
        let (Some(key), Some(claim), Some(subject)) =
            (key(proposal), &proposal.claim, &proposal.subject)
        else {
            return Ok(None);
        };
        let Some(row) = self.held.get(&key) else { return Ok(None) };
        if row.expires_at <= now {
            self.released.push(row.step);
            self.held.remove(&key);
            return Ok(None);
        }
        if row.body_hmac != body_hmac(&subject.key, &claim.body_digest) {
            return Err(WriteError::OtherBody);
        }
        Ok(Some(Earlier {
            step: row.step,
            position: row.position,
            ended: row.ended_position,
            subject: Arc::clone(subject),
        }))
    }

    /// Claims, ends or releases a key as a decided event demands.
    pub(super) fn apply(
        &mut self,
        proposal: &Proposal,
        envelope: &Envelope,
        event: &Event,
        now: Micros,
    ) {
        let Some(step) = envelope.step else { return };
        match event {
            Event::StepAdmitted(_) => self.claim(proposal, step, envelope.position, None, now),
            Event::StepRejected(_) => {
                self.claim(proposal, step, envelope.position, Some(envelope.position), now);
            }
            Event::StepFailed(failed) if releases(failed.stage) => {
                if proposal.ends_claim {
                    self.releases_after_claiming |= !self.claimed.is_empty();
                    self.released.push(step);
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
            | Event::KeyRotated(_)
            | Event::LogFormatRaised(_)
            | Event::Fact(_) => {}
        }
    }

    fn claim(
        &mut self,
        proposal: &Proposal,
        step: StepNumber,
        position: Position,
        ended_position: Option<Position>,
        now: Micros,
    ) {
        let (Some(id), Some(claim), Some(subject)) =
            (key(proposal), &proposal.claim, &proposal.subject)
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
        self.claimed.push(id);
    }

    /// True if a step released its key after another command of the batch had claimed one. The
    /// statements run in the other order (release, then claim), so a claim of the key that was still
    /// held at that moment would succeed; it is only detected if the keys were loaded before.
    pub(super) const fn releases_after_claiming(&self) -> bool {
        self.releases_after_claiming
    }

    /// Steps that ended with their key retained, and where.
    pub(super) fn ended(&self) -> &[(StepNumber, Position)] {
        &self.ended
    }

    /// Steps whose keys are free again.
    pub(super) fn released(&self) -> &[StepNumber] {
        &self.released
    }

    /// The rows to insert.
    pub(super) fn claimed(&self) -> Vec<IdempotencyRow> {
        self.claimed.iter().filter_map(|id| self.held.get(id)).cloned().collect()
    }
}

/// True if the same request may be tried again under its key after a failure at this stage.
const fn releases(stage: FailStage) -> bool {
    match stage {
        FailStage::Embedding | FailStage::Llm | FailStage::Cancelled | FailStage::Abandoned => true,
        FailStage::EmptyResponse => false,
    }
}
