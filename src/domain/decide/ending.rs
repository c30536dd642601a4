//! Decisions that end a step. The first ending is recorded; any later one is refused.

use crate::domain::{
    budget::Price,
    command::{Abandon, AbandonCause, Complete, Fail, Refusal},
    event::{
        AnswerMetadata, CALLS_MAX, ContextUse, Cost, Event, FailStage, HITS_MAX, MemoryOutcome,
        ModelCall, NotStoredReason, StepCompleted, StepFailed, Usage,
    },
    ids::Micros,
    state::{OpenStep, State},
    vector::UnitVector,
};

use super::decision::{Decision, Retention};

fn open(state: &State, step: u64) -> Result<OpenStep, Refusal> {
    state.open.get(&step).copied().ok_or(Refusal::NotOpen { step })
}

/// Time without a sign of life after which a process counts as gone, in microseconds.
pub const REPLICA_GONE_AFTER: Micros = 30_000_000;

/// The maximum length of a provider's name for a model or an ending in characters.
const NAME_MAX: usize = 256;

/// Completes a step. The answer is stored in memory unless the step forgoes that, its confidence is
/// too low, it repeats itself, or its data subject was erased.
pub(super) fn complete(state: &State, complete: &Complete) -> Result<Decision, Refusal> {
    let open = open(state, complete.step)?;
    let memory = remember(state, &open, complete);
    let trace_norms = match (&memory, &complete.vector) {
        (MemoryOutcome::Stored { .. }, Some(vector)) => Some(norms_after(state, vector)?),
        _ => None,
    };
    let retention = match memory {
        _ if open.erased => Retention::Nothing,
        MemoryOutcome::Stored { .. } => Retention::TextAndVector,
        MemoryOutcome::NotStored { .. } => Retention::Text,
    };
    let answer = AnswerMetadata {
        moral_threshold: open.threshold,
        phase: open.phase,
        memory_used_bytes: state.lattice.bytes() as u64,
        latency_ms: complete.latency.total_ms,
    };
    let quality = if complete.looping { vec!["looping".to_owned()] } else { Vec::new() };
    let facts = Facts { recorded: state.has_format_2() };
    let event = StepCompleted {
        admitted_position: open.position,
        provider: complete.provider.clone(),
        model: facts.name(&complete.model),
        usage: facts.usage(complete.usage),
        finish_reason: facts.name(&complete.finish_reason),
        latency: complete.latency,
        attempts: complete.attempts,
        context: facts.context(&complete.context),
        confidence: complete.confidence,
        quality,
        withheld: false,
        cut: complete.cut,
        memory,
        trace_norms,
        answer,
        calls: facts.calls(&complete.calls),
        cost: facts.cost(complete.usage, complete.price),
        answer_score: None,
    };
    Ok(of_step(complete.step, &open, Event::StepCompleted(Box::new(event)), retention))
}

fn remember(state: &State, open: &OpenStep, complete: &Complete) -> MemoryOutcome {
    if open.erased {
        return MemoryOutcome::NotStored { why: NotStoredReason::Erased };
    }
    if let Some(why) = complete.forgo {
        // a log of format 1 has no reasons of its own for this
        let why = if state.has_format_2() { why } else { NotStoredReason::Confidence };
        return MemoryOutcome::NotStored { why };
    }
    if complete.looping {
        return MemoryOutcome::NotStored { why: NotStoredReason::Looping };
    }
    if complete.confidence < state.policy.lattice.min_store_confidence {
        return MemoryOutcome::NotStored { why: NotStoredReason::Confidence };
    }
    let n = state.stored + 1;
    MemoryOutcome::Stored {
        n,
        key: state.lattice.eviction_key(n, complete.confidence),
        phase: state.phase_value(open.phase),
        victim: state.lattice.victim().map(|item| item.position),
    }
}

/// The norms of the trace levels after `vector` is recorded.
pub(super) fn norms_after(state: &State, vector: &UnitVector) -> Result<[f32; 3], Refusal> {
    let (expected, found) = (state.policy.dimension, vector.as_slice().len());
    if expected != found {
        return Err(Refusal::Dimension { expected, found });
    }
    let Some(mut traces) = state.traces.clone() else { return Ok(state.trace_norms) };
    traces.record(&state.trace_params(), vector);
    Ok(traces.norms())
}

/// Fails a step. Text received so far is stored with the event, but not in memory.
pub(super) fn fail(state: &State, fail: &Fail) -> Result<Decision, Refusal> {
    let open = open(state, fail.step)?;
    let facts = Facts { recorded: state.has_format_2() };
    let name =
        |name: &Option<String>| name.as_ref().filter(|_| facts.recorded).map(|n| facts.name(n));
    let event = StepFailed {
        admitted_position: open.position,
        stage: fail.stage,
        code: fail.code.clone(),
        latency_ms: fail.latency_ms,
        attempts: fail.attempts,
        usage: facts.usage(fail.usage),
        context: fail.context.as_ref().filter(|_| facts.recorded).map(|c| facts.context(c)),
        provider: name(&fail.provider),
        model: name(&fail.model),
        latency: fail.latency.filter(|_| facts.recorded),
        calls: facts.calls(&fail.calls),
        cost: facts.cost(fail.usage, fail.price),
        last_seen: None,
    };
    let retention = if open.erased { Retention::Nothing } else { Retention::Text };
    Ok(of_step(fail.step, &open, Event::StepFailed(Box::new(event)), retention))
}

/// Abandons a step. Before its deadline only the sole writer of the log may do so, or any process if
/// the one that runs the step is gone.
pub(super) fn abandon(state: &State, abandon: Abandon, now: Micros) -> Result<Decision, Refusal> {
    let open = open(state, abandon.step)?;
    let code = match abandon.cause {
        AbandonCause::SoleOwner => "sole_owner",
        AbandonCause::Deadline if now > open.deadline => "deadline",
        AbandonCause::Deadline => {
            return Err(Refusal::NotExpired { step: abandon.step, deadline: open.deadline });
        }
        AbandonCause::ReplicaGone { .. } if open.replica.is_none() => {
            return Err(Refusal::NoReplica { step: abandon.step });
        }
        AbandonCause::ReplicaGone { last_seen }
            if now.saturating_sub(last_seen) > REPLICA_GONE_AFTER =>
        {
            "replica_gone"
        }
        AbandonCause::ReplicaGone { last_seen } => {
            return Err(Refusal::ReplicaAlive { step: abandon.step, last_seen });
        }
    };
    let last_seen = match abandon.cause {
        AbandonCause::ReplicaGone { last_seen } => Some(last_seen),
        AbandonCause::Deadline | AbandonCause::SoleOwner => None,
    };
    let event = StepFailed {
        admitted_position: open.position,
        stage: FailStage::Abandoned,
        code: code.to_owned(),
        latency_ms: 0.0,
        attempts: 0,
        usage: Usage::default(),
        context: None,
        provider: None,
        model: None,
        latency: None,
        calls: Vec::new(),
        cost: None,
        last_seen,
    };
    Ok(of_step(abandon.step, &open, Event::StepFailed(Box::new(event)), Retention::Nothing))
}

fn of_step(step: u64, open: &OpenStep, event: Event, retention: Retention) -> Decision {
    Decision { event, step: Some(step), subject: Some(open.subject), retention }
}

/// The facts of a log of format 2, within their bounds; those of format 1 as they are.
struct Facts {
    recorded: bool,
}

impl Facts {
    /// A name given by a provider. It is not known to be short.
    fn name(&self, name: &str) -> String {
        if self.recorded { name.chars().take(NAME_MAX).collect() } else { name.to_owned() }
    }

    fn usage(&self, usage: Usage) -> Usage {
        if self.recorded { usage } else { Usage::new(usage.prompt_tokens, usage.completion_tokens) }
    }

    fn context(&self, context: &ContextUse) -> ContextUse {
        let mut context = context.clone();
        if self.recorded {
            context.hits.truncate(HITS_MAX);
        } else {
            (context.hits, context.digest) = (Vec::new(), None);
        }
        context
    }

    /// The first calls and the last one, which is the one that answered.
    fn calls(&self, calls: &[ModelCall]) -> Vec<ModelCall> {
        if !self.recorded {
            return Vec::new();
        }
        let named = |call: &ModelCall| ModelCall { model: self.name(&call.model), ..call.clone() };
        let (last, earlier) = calls.split_last().unzip();
        let earlier = earlier.into_iter().flatten().take(CALLS_MAX - 1);
        earlier.chain(last).map(named).collect()
    }

    fn cost(&self, usage: Usage, price: Option<Price>) -> Option<Cost> {
        price.filter(|_| self.recorded).map(|price| Cost::of(usage, price))
    }
}
