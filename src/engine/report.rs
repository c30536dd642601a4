//! The state of an engine in words: `GET /v1/state`.

use std::{collections::BTreeMap, sync::PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use super::{Engine, EngineError};
use crate::{
    domain::{
        budget::Amount,
        digest,
        ids::{Micros, Position, Sha256, SubjectRef},
        state::State,
    },
    store::{replay, writer::View},
};

/// What an engine knows at a position.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StateReport {
    /// The engine's name.
    pub engine: String,
    /// The last position folded.
    pub position: Position,
    /// The last step number given.
    pub step: u64,
    /// `wake` or `sleep`.
    pub phase: &'static str,
    /// Steps left in the phase.
    pub phase_counter: u32,
    /// The moral threshold of the asker.
    pub moral_threshold: f64,
    /// The engine's moving average.
    pub moral_ema: f64,
    /// Steps admitted.
    pub accepted_count: u64,
    /// Steps refused.
    pub rejected_count: u64,
    /// Admitted steps that ended without an answer.
    pub failed_count: u64,
    /// Admitted steps that were answered.
    pub completed_count: u64,
    /// Admitted steps without an ending yet.
    pub open_count: u64,
    /// Norms of the trace levels.
    pub synaptic_norms: SynapticNorms,
    /// The lattice memory.
    pub memory: MemoryReport,
    /// The same under the original's name.
    pub pelm_stats: MemoryStats,
    /// The same under the original's older name.
    pub qilm_stats: MemoryStats,
    /// Whether the engine admits anything.
    pub emergency_shutdown: ShutdownReport,
    /// The asker's budget in the open window; left out where the policy sets none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetReport>,
    /// The parts a step depends on.
    pub reliability: Reliability,
    /// Which policy is in force; 1 is the first.
    pub policy_version: u64,
    /// The policy in force.
    #[schema(value_type = Object)]
    pub policy: crate::domain::policy::Policy,
    /// Chain hash at the position, hexadecimal.
    pub chain_hash: String,
    /// SHA-256 over the state, hexadecimal: equal on every replica at the same position.
    pub state_digest: String,
    /// SHA-256 over the trace levels; null where an erasure made them unknown.
    pub trace_digest: Option<String>,
}

/// Norms of the trace levels.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct SynapticNorms {
    /// The fast level.
    #[serde(rename = "L1")]
    pub l1: f32,
    /// The middle level.
    #[serde(rename = "L2")]
    pub l2: f32,
    /// The slow level.
    #[serde(rename = "L3")]
    pub l3: f32,
}

/// The lattice memory.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct MemoryReport {
    /// Items held.
    pub used: usize,
    /// Items it can hold.
    pub capacity: usize,
    /// Resident bytes.
    pub bytes: usize,
    /// Items reachable in both phases.
    pub consolidated: usize,
}

/// The lattice memory in the original's units.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct MemoryStats {
    /// Items held.
    pub used: usize,
    /// Items it can hold.
    pub capacity: usize,
    /// Resident MiB.
    pub memory_mb: f64,
}

/// An emergency shutdown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShutdownReport {
    /// Whether the engine is shut down.
    pub active: bool,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// What a data subject may spend, and what it has spent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BudgetReport {
    /// What may be spent in a window; 0 for no limit.
    pub limit: SpendReport,
    /// Spent by steps that have ended.
    pub spent: SpendReport,
    /// Kept back for steps that still run.
    pub reserved: SpendReport,
    /// When the window ends and everything may be spent anew, RFC 3339.
    pub window_ends_at: String,
}

/// Tokens, and what they cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SpendReport {
    /// Tokens of prompts, contexts and answers.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micro_usd: u64,
}

impl From<Amount> for SpendReport {
    fn from(amount: Amount) -> Self {
        Self { tokens: amount.tokens, cost_micro_usd: amount.cost_micro_usd }
    }
}

/// The parts a step depends on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reliability {
    /// Circuit breakers by provider: `closed`, `open`, `half_open`; this replica's.
    pub breakers: BTreeMap<String, String>,
}

impl StateReport {
    /// `now` says which window of the budget is open.
    fn new(
        engine: &Engine,
        view: &View,
        digest: Sha256,
        asker: Option<SubjectRef>,
        now: Micros,
    ) -> Self {
        let state = &view.state;
        let memory = memory(state);
        let original = MemoryStats {
            used: memory.used,
            capacity: memory.capacity,
            memory_mb: memory.bytes as f64 / (1024.0 * 1024.0),
        };
        let [l1, l2, l3] = state.trace_norms;
        let shutdown = state.shutdown.as_ref();
        Self {
            engine: engine.id.to_string(),
            position: state.position,
            step: state.step,
            phase: state.rhythm.phase.as_str(),
            phase_counter: state.rhythm.counter,
            moral_threshold: state.threshold(asker),
            moral_ema: state.filter.ema(),
            accepted_count: state.counts.accepted,
            rejected_count: state.counts.rejected,
            failed_count: state.counts.failed,
            completed_count: state.counts.completed,
            open_count: state.open.size() as u64,
            synaptic_norms: SynapticNorms { l1, l2, l3 },
            memory,
            pelm_stats: original,
            qilm_stats: original,
            emergency_shutdown: ShutdownReport {
                active: shutdown.is_some(),
                since: shutdown.map(|s| crate::clock::rfc3339(s.since)),
                reason: shutdown.map(|s| s.reason.clone()),
            },
            budget: budget(state, asker, now),
            reliability: Reliability { breakers: engine.parts.llm.breakers() },
            policy_version: state.policy_version,
            policy: (*state.policy).clone(),
            chain_hash: view.chain_hash.to_string(),
            state_digest: digest.to_string(),
            trace_digest: digest::traces(state.traces.as_ref()).map(|d| d.to_string()),
        }
    }
}

fn budget(state: &State, asker: Option<SubjectRef>, now: Micros) -> Option<BudgetReport> {
    let budget = Some(&state.policy.budget).filter(|budget| budget.is_set())?;
    let account = asker.map(|asker| state.accounts.get(asker, budget.window(now)));
    let account = account.unwrap_or_default();
    Some(BudgetReport {
        limit: budget.limit().into(),
        spent: account.spent.into(),
        reserved: account.reserved.into(),
        window_ends_at: crate::clock::rfc3339(budget.window_end(now)),
    })
}

fn memory(state: &State) -> MemoryReport {
    MemoryReport {
        used: state.lattice.len(),
        capacity: state.lattice.capacity(),
        bytes: state.lattice.bytes(),
        consolidated: state.lattice.consolidated(),
    }
}

impl Engine {
    /// The present state, as this replica has folded it. `asker` is a name.
    pub async fn state(&self, asker: &str) -> Result<StateReport, EngineError> {
        let view = self.view();
        let asker = self.known(asker).await?;
        let digest = self.digest_of(&view.state);
        let now = self.parts.store.local_time().max(view.state.recorded_at);
        Ok(StateReport::new(self, &view, digest, asker, now))
    }

    /// The state as it was after a position: folded from the log again.
    pub async fn state_at(
        &self,
        position: Position,
        asker: &str,
    ) -> Result<StateReport, EngineError> {
        let head = self.view().state.position;
        if position == 0 || position > head {
            return Err(EngineError::Beyond { position, head });
        }
        let asker = self.known(asker).await?;
        // a closed semaphore would only mean that nobody waits
        let _permit = self.replays.acquire().await.ok();
        let (store, key) = (&self.parts.store, &self.parts.content_key);
        let folder = replay::replay(store, key, &self.id, position, &mut |_| {}).await?;
        let state = folder.state.ok_or_else(|| EngineError::Empty(self.id.clone()))?;
        let digest = digest::state(&state);
        let now = state.recorded_at;
        let view = View { state, chain_hash: folder.chain_hash };
        Ok(StateReport::new(self, &view, digest, asker, now))
    }

    /// The state as it was at a time: after the last event recorded then or before.
    pub async fn state_at_time(
        &self,
        time: Micros,
        asker: &str,
    ) -> Result<StateReport, EngineError> {
        let head = self.view().state.position;
        let position = self.parts.store.position_at(&self.id, head, time).await?;
        let position = position.ok_or_else(|| EngineError::Before(self.id.clone()))?;
        self.state_at(position, asker).await
    }

    /// The pseudonym of a name, if the engine has heard of it; reading never makes one.
    pub(super) async fn known(&self, name: &str) -> Result<Option<SubjectRef>, EngineError> {
        let name_hmac = self.directory.name_hmac(name);
        if let Some(subject) = self.directory.get(&name_hmac) {
            return Ok(Some(subject.subject_ref));
        }
        let row = self.parts.store.subject_by_name(&self.id, &name_hmac).await?;
        Ok(row.map(|row| row.subject_ref))
    }

    /// The digest of a published state, computed once per position.
    fn digest_of(&self, state: &State) -> Sha256 {
        let cached = *self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((position, digest)) = cached
            && position == state.position
        {
            return digest;
        }
        let digest = digest::state(state);
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((state.position, digest));
        digest
    }
}
