//! Decisions that end a step. The first ending is recorded; any later one is refused.

use crate::domain::{
    command::{Abandon, AbandonCause, Complete, Fail, Refusal},
    event::{
        AnswerMetadata, Event, FailStage, MemoryOutcome, NotStoredReason, StepCompleted,
        StepFailed, Usage,
    },
    ids::Micros,
    state::{OpenStep, State},
    vector::UnitVector,
};

use super::decision::{Decision, Retention};

fn open(state: &State, step: u64) -> Result<OpenStep, Refusal> {
    state.open.get(&step).copied().ok_or(Refusal::NotOpen { step })
}

/// Completes a step. The answer is stored in memory unless its confidence is too low, it repeats
/// itself, or its data subject was erased.
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
    let event = StepCompleted {
        admitted_position: open.position,
        provider: complete.provider.clone(),
        model: complete.model.clone(),
        usage: complete.usage,
        finish_reason: complete.finish_reason.clone(),
        latency: complete.latency,
        attempts: complete.attempts,
        context: complete.context.clone(),
        confidence: complete.confidence,
        quality,
        withheld: false,
        cut: complete.cut,
        memory,
        trace_norms,
        answer,
    };
    Ok(of_step(complete.step, &open, Event::StepCompleted(Box::new(event)), retention))
}

fn remember(state: &State, open: &OpenStep, complete: &Complete) -> MemoryOutcome {
    if open.erased {
        return MemoryOutcome::NotStored { why: NotStoredReason::Erased };
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
    let event = StepFailed {
        admitted_position: open.position,
        stage: fail.stage,
        code: fail.code.clone(),
        latency_ms: fail.latency_ms,
        attempts: fail.attempts,
        usage: fail.usage,
    };
    let retention = if open.erased { Retention::Nothing } else { Retention::Text };
    Ok(of_step(fail.step, &open, Event::StepFailed(Box::new(event)), retention))
}

/// Abandons a step. Before its deadline only the sole writer of the log may do so.
pub(super) fn abandon(state: &State, abandon: Abandon, now: Micros) -> Result<Decision, Refusal> {
    let open = open(state, abandon.step)?;
    let code = match abandon.cause {
        AbandonCause::SoleOwner => "sole_owner",
        AbandonCause::Deadline if now > open.deadline => "deadline",
        AbandonCause::Deadline => {
            return Err(Refusal::NotExpired { step: abandon.step, deadline: open.deadline });
        }
    };
    let event = StepFailed {
        admitted_position: open.position,
        stage: FailStage::Abandoned,
        code: code.to_owned(),
        latency_ms: 0.0,
        attempts: 0,
        usage: Usage::default(),
    };
    Ok(of_step(abandon.step, &open, Event::StepFailed(Box::new(event)), Retention::Nothing))
}

fn of_step(step: u64, open: &OpenStep, event: Event, retention: Retention) -> Decision {
    Decision { event, step: Some(step), subject: Some(open.subject), retention }
}
