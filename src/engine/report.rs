//! The state of an engine as `GET /v1/state` reports it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::Engine;
use crate::{
    domain::{
        budget::Amount,
        digest,
        ids::{Micros, Position, Sha256, SubjectRef},
        state::State,
    },
    store::writer::View,
};

/// The state of an engine at a log position.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StateReport {
    /// The engine's name.
    pub engine: String,
    /// The log position of the last event that is part of the state.
    pub position: Position,
    /// The number of the newest step.
    pub step: u64,
    /// `wake` or `sleep`.
    pub phase: &'static str,
    /// Steps until the phase ends.
    pub phase_counter: u32,
    /// The moral threshold for the caller.
    pub moral_threshold: f64,
    /// The exponential moving average of the engine's moral filter.
    pub moral_ema: f64,
    /// Number of admitted steps.
    pub accepted_count: u64,
    /// Number of rejected steps.
    pub rejected_count: u64,
    /// Number of admitted steps that failed.
    pub failed_count: u64,
    /// Number of admitted steps that were answered.
    pub completed_count: u64,
    /// Number of admitted steps that are still running.
    pub open_count: u64,
    /// Euclidean norms of the three synaptic memory levels.
    pub synaptic_norms: SynapticNorms,
    /// The lattice memory.
    pub memory: MemoryReport,
    /// The lattice memory, under the name used by the original Python library.
    pub pelm_stats: MemoryStats,
    /// The lattice memory, under an older name used by the original Python library.
    pub qilm_stats: MemoryStats,
    /// The emergency shutdown.
    pub emergency_shutdown: ShutdownReport,
    /// The caller's budget in the current window; absent if the policy sets no budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetReport>,
    /// The state of the components that a step depends on.
    pub reliability: Reliability,
    /// The version of the policy, from 1.
    pub policy_version: u64,
    /// The policy.
    #[schema(value_type = Object)]
    pub policy: crate::domain::policy::Policy,
    /// The chain hash at the position, hexadecimal.
    pub chain_hash: String,
    /// SHA-256 of the state, hexadecimal. Equal on all replicas at the same position.
    pub state_digest: String,
    /// SHA-256 of the synaptic memory levels; null if an erasure removed a vector they depend on.
    pub trace_digest: Option<String>,
}

/// Euclidean norms of the three synaptic memory levels.
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
    /// Number of items.
    pub used: usize,
    /// Maximum number of items.
    pub capacity: usize,
    /// Memory used, in bytes.
    pub bytes: usize,
    /// Number of items that can be retrieved in both phases.
    pub consolidated: usize,
}

/// The lattice memory in the units of the original Python library.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct MemoryStats {
    /// Number of items.
    pub used: usize,
    /// Maximum number of items.
    pub capacity: usize,
    /// Memory used, in MiB.
    pub memory_mb: f64,
}

/// The emergency shutdown of an engine.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShutdownReport {
    /// True if the engine is shut down.
    pub active: bool,
    /// The time of the shutdown, RFC 3339.
    pub since: Option<String>,
    /// The reason given for the shutdown.
    pub reason: Option<String>,
}

/// The budget of a data subject.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BudgetReport {
    /// The limits per window; 0 means unlimited.
    pub limit: SpendReport,
    /// Spent by steps that have ended.
    pub spent: SpendReport,
    /// Reserved for steps that are still running.
    pub reserved: SpendReport,
    /// The end of the window, after which the budget is available again, RFC 3339.
    pub window_ends_at: String,
}

/// Tokens and their cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SpendReport {
    /// Tokens of prompts, contexts and answers.
    pub tokens: u64,
    /// Cost in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

impl From<Amount> for SpendReport {
    fn from(amount: Amount) -> Self {
        Self { tokens: amount.tokens, cost_micro_usd: amount.cost_micro_usd }
    }
}

/// The state of the components that a step depends on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reliability {
    /// The circuit breakers of this replica by `provider:model`, or by provider if it has only one model:
    /// `closed`, `open` or `half_open`.
    pub breakers: BTreeMap<String, String>,
}

impl StateReport {
    /// `now` selects the budget window.
    pub(super) fn new(
        engine: &Engine,
        view: &View,
        digest: Sha256,
        caller: Option<SubjectRef>,
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
            moral_threshold: state.threshold(caller),
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
            budget: budget(state, caller, now),
            reliability: Reliability { breakers: engine.parts.llm.breakers() },
            policy_version: state.policy_version,
            policy: (*state.policy).clone(),
            chain_hash: view.chain_hash.to_string(),
            state_digest: digest.to_string(),
            trace_digest: digest::traces(state.traces.as_ref()).map(|d| d.to_string()),
        }
    }
}

fn budget(state: &State, caller: Option<SubjectRef>, now: Micros) -> Option<BudgetReport> {
    let budget = Some(&state.policy.budget).filter(|budget| budget.is_set())?;
    let account = caller.map(|caller| state.accounts.get(caller, budget.window(now)));
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
