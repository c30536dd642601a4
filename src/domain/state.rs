//! The state of an engine, folded from its log.
//!
//! All parts share structure between clones, so a clone costs a few reference counts; clones serve
//! as roll-back points and as published read views. Only `evolve` changes a state.

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use super::{
    budget::{Accounts, Price, Reservation},
    event::{EngineCreated, ItemOrigin},
    ids::{MacKeyId, Micros, Position, ReplicaId, Sha256, StepNumber, SubjectRef},
    keys::ApiKeys,
    lattice::Lattice,
    moral::MoralFilter,
    policy::{MemoryScope, Policy},
    rhythm::{self, Phase, RhythmState},
    synaptic::{self, SynapticTraces},
};

/// The maximum number of data subjects on hold in one engine.
pub const HOLDS_MAX: usize = 10_000;

/// An admitted step without a recorded ending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenStep {
    /// The position of the event that admitted it.
    pub position: Position,
    /// The data subject of the step.
    pub subject: SubjectRef,
    /// The time after which the step may be abandoned.
    pub deadline: Micros,
    /// The phase in which it was admitted.
    pub phase: Phase,
    /// The threshold used by its verdict.
    pub threshold: f64,
    /// The reservation on the data subject's account.
    pub budget: Option<Reservation>,
    /// The reservation on the API key's account.
    pub key_budget: Option<Reservation>,
    /// The price of its model.
    pub price: Option<Price>,
    /// True if its data subject was erased after the admission.
    pub erased: bool,
    /// The process that runs it; unknown in a log of format 1.
    pub replica: Option<ReplicaId>,
}

/// An emergency shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// The time of the shutdown.
    pub since: Micros,
    /// The reason given by the administrator.
    pub reason: String,
}

/// The number of steps by outcome, over the life of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Admitted steps, open ones included.
    pub accepted: u64,
    /// Rejected steps.
    pub rejected: u64,
    /// Admitted steps that failed.
    pub failed: u64,
    /// Admitted steps that completed with an answer.
    pub completed: u64,
}

/// The state of an engine at a position of its log.
#[derive(Clone, Debug)]
pub struct State {
    /// The position of the last folded event.
    pub position: Position,
    /// The time at which that event was recorded.
    pub recorded_at: Micros,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// The version of the policy; 1 is the first.
    pub policy_version: u64,
    /// Hash of the policy in force.
    pub policy_hash: Sha256,
    /// The last applied policy of the configuration; `None` for engines created by the API.
    pub config: Option<Arc<Policy>>,
    /// The last assigned step number.
    pub step: StepNumber,
    /// The number of steps by outcome.
    pub counts: StepCounts,
    /// The phase and its counter.
    pub rhythm: RhythmState,
    /// The moral filter.
    pub filter: MoralFilter,
    /// Set while the engine is shut down.
    pub shutdown: Option<Shutdown>,
    /// The number of items ever stored.
    pub stored: u64,
    /// The lattice memory.
    pub lattice: Lattice,
    /// The trace levels; `None` if a replay met an erased vector, until the next erasure resets
    /// them.
    pub traces: Option<SynapticTraces>,
    /// The last recorded norms of L1, L2, L3.
    pub trace_norms: [f32; 3],
    /// The open steps by number.
    pub open: RedBlackTreeMapSync<StepNumber, OpenStep>,
    /// The budget accounts of data subjects in the current window.
    pub accounts: Accounts,
    /// The budget accounts of API keys in the current window.
    pub key_accounts: Accounts,
    /// The origin of the last item copied from another engine; `None` if no item was copied.
    pub copied: Option<ItemOrigin>,
    /// The API keys of the server; empty except in the server's own log.
    pub keys: ApiKeys,
    /// The position of the last `state.attested` event; 0 for none.
    pub attested: Position,
    /// The format of the log.
    pub log_format: u32,
    /// The key that authenticates new events, if it was ever changed; only in the server's own log.
    pub mac_key: Option<MacKeyId>,
    /// The data subjects whose contents do not expire, at most [`HOLDS_MAX`].
    pub holds: RedBlackTreeSetSync<SubjectRef>,
}

impl State {
    /// The state after `engine.created` at position 1.
    pub fn created(event: &EngineCreated, recorded_at: Micros) -> Self {
        let policy = &event.policy;
        Self {
            position: 1,
            recorded_at,
            policy: Arc::new(policy.clone()),
            policy_version: 1,
            policy_hash: policy.hash(),
            config: event.config_hash.as_ref().map(|_| Arc::new(policy.clone())),
            step: 0,
            counts: StepCounts::default(),
            rhythm: rhythm::start(&policy.rhythm),
            filter: MoralFilter::start(&policy.moral),
            shutdown: None,
            stored: 0,
            lattice: Lattice::new(policy.dimension, policy.capacity),
            traces: Some(SynapticTraces::zero(policy.dimension)),
            trace_norms: [0.0; 3],
            open: RedBlackTreeMapSync::new_sync(),
            accounts: Accounts::open(policy.budget.window(recorded_at)),
            key_accounts: Accounts::open(policy.budget.window(recorded_at)),
            copied: None,
            keys: ApiKeys::default(),
            attested: 0,
            log_format: event.log_format,
            mac_key: None,
            holds: RedBlackTreeSetSync::new_sync(),
        }
    }

    /// True if the log has the facts of format 2. A log of format 1 records exactly what the first
    /// release recorded, so that this release can read it.
    pub const fn has_format_2(&self) -> bool {
        self.log_format >= 2
    }

    /// The moral threshold of a data subject; with `None`, that of a data subject without a
    /// history.
    pub fn threshold(&self, subject: Option<SubjectRef>) -> f64 {
        self.filter.threshold(&self.policy.moral, subject)
    }

    /// The phase value with which items of a phase are stored and searched.
    pub fn phase_value(&self, phase: Phase) -> f32 {
        match phase {
            Phase::Wake => self.policy.lattice.wake_phase,
            Phase::Sleep => self.policy.lattice.sleep_phase,
        }
    }

    /// The parameters of the trace levels.
    pub fn trace_params(&self) -> synaptic::Params {
        let trace = &self.policy.trace;
        synaptic::Params { lambda: trace.lambda, theta: trace.theta, gain: trace.gain }
    }

    /// The data subject whose items a step of `subject` may see; `None` means all.
    pub fn visible_to(&self, subject: SubjectRef) -> Option<SubjectRef> {
        match self.policy.memory.scope {
            MemoryScope::Subject => Some(subject),
            MemoryScope::Engine => None,
        }
    }

    /// The open steps whose deadline is before `now`, oldest first.
    pub fn expired(&self, now: Micros) -> impl Iterator<Item = StepNumber> + '_ {
        self.open.iter().filter(move |(_, open)| open.deadline < now).map(|(step, _)| *step)
    }
}
