//! The state of an engine: a fold over its log and nothing else.
//!
//! Every part shares structure between clones, so a clone is a roll-back point or a published view
//! for the price of a few reference counts. Only `evolve` changes a state.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{
    budget::{Accounts, Price, Reservation},
    event::{EngineCreated, ItemOrigin},
    ids::{Micros, Position, Sha256, StepNumber, SubjectRef},
    keys::ApiKeys,
    lattice::Lattice,
    moral::MoralFilter,
    policy::{MemoryScope, Policy},
    rhythm::{self, Phase, RhythmState},
    synaptic::{self, Traces},
};

/// A step that was admitted and has no ending yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenStep {
    /// Where it was admitted.
    pub position: Position,
    /// Whose it is.
    pub subject: SubjectRef,
    /// When it is given up.
    pub deadline: Micros,
    /// The phase it runs in.
    pub phase: Phase,
    /// The threshold its verdict used.
    pub threshold: f64,
    /// What it may spend.
    pub budget: Option<Reservation>,
    /// What the API key it came with may spend on it.
    pub key_budget: Option<Reservation>,
    /// What its model costs.
    pub price: Option<Price>,
    /// Whether its data subject was erased meanwhile.
    pub erased: bool,
}

/// An emergency shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Since when.
    pub since: Micros,
    /// Why.
    pub reason: String,
}

/// How steps have gone so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Steps that reached, or may reach, the model.
    pub accepted: u64,
    /// Steps that were refused.
    pub rejected: u64,
    /// Admitted steps that ended without an answer.
    pub failed: u64,
    /// Admitted steps that were answered.
    pub completed: u64,
}

/// Everything an engine knows at a position.
#[derive(Clone, Debug)]
pub struct State {
    /// The last event folded.
    pub position: Position,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// The parameters in force.
    pub policy: Arc<Policy>,
    /// Which policy this is; 1 is the first.
    pub policy_version: u64,
    /// Hash of the policy in force.
    pub policy_hash: Sha256,
    /// The configuration's policy that was applied last; none for engines made otherwise.
    pub config: Option<Arc<Policy>>,
    /// The last step number given.
    pub step: StepNumber,
    /// How steps have gone.
    pub counts: StepCounts,
    /// Phase and counter.
    pub rhythm: RhythmState,
    /// The moral filter.
    pub filter: MoralFilter,
    /// Set while the engine is shut down.
    pub shutdown: Option<Shutdown>,
    /// Items ever stored.
    pub stored: u64,
    /// The lattice memory.
    pub lattice: Lattice,
    /// The trace levels; `None` after a replay over erased vectors, until the next reset.
    pub traces: Option<Traces>,
    /// Norms of L1, L2, L3 as the log recorded them last.
    pub trace_norms: [f32; 3],
    /// Steps without an ending.
    pub open: RedBlackTreeMapSync<StepNumber, OpenStep>,
    /// What data subjects spent in the open window.
    pub accounts: Accounts,
    /// What API keys with a limit spent in it.
    pub key_accounts: Accounts,
    /// The item of another engine that was added last; none for an engine that is no copy.
    pub copied: Option<ItemOrigin>,
    /// The API keys of the server, in its own log; elsewhere none.
    pub keys: ApiKeys,
    /// The last position whose state was attested; 0 for none.
    pub attested: Position,
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
            traces: Some(Traces::zero(policy.dimension)),
            trace_norms: [0.0; 3],
            open: RedBlackTreeMapSync::new_sync(),
            accounts: Accounts::open(policy.budget.window(recorded_at)),
            key_accounts: Accounts::open(policy.budget.window(recorded_at)),
            copied: None,
            keys: ApiKeys::default(),
            attested: 0,
        }
    }

    /// The moral threshold of a data subject; of one never heard of with `None`.
    pub fn threshold(&self, subject: Option<SubjectRef>) -> f64 {
        self.filter.threshold(&self.policy.moral, subject)
    }

    /// The phase value items of a phase are stored and searched with.
    pub fn phase_value(&self, phase: Phase) -> f32 {
        match phase {
            Phase::Wake => self.policy.lattice.wake_phase,
            Phase::Sleep => self.policy.lattice.sleep_phase,
        }
    }

    /// The arithmetic of the trace levels.
    pub fn trace_params(&self) -> synaptic::Params {
        let trace = &self.policy.trace;
        synaptic::Params { lambda: trace.lambda, theta: trace.theta, gain: trace.gain }
    }

    /// Whose items a step of this subject may see; `None` means everybody's.
    pub fn visible_to(&self, subject: SubjectRef) -> Option<SubjectRef> {
        match self.policy.memory.scope {
            MemoryScope::Subject => Some(subject),
            MemoryScope::Engine => None,
        }
    }

    /// The open steps whose deadline lies before `now`, oldest first.
    pub fn expired(&self, now: Micros) -> impl Iterator<Item = StepNumber> + '_ {
        self.open.iter().filter(move |(_, open)| open.deadline < now).map(|(step, _)| *step)
    }
}
