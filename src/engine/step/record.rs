//! The ending: seals the answer and appends `step.completed`, or appends `step.failed`.

use std::sync::Arc;

use super::{
    admit::AdmittedStep,
    answer::{Answer, Ending, StepResponse},
    ask::ModelOutcome,
    error::{Failure, StepError},
    estimate,
    progress::Progress,
    request::Step,
};
use crate::{
    domain::{
        budget::Price,
        command::{Command, Complete, Fail, Refusal},
        confidence::{confidence, is_blank, is_looping},
        event::{ContextUse, Event, Latency, NotStoredReason, Usage},
        ids::CommandId,
        policy::MemoryMode,
        vector::UnitVector,
    },
    engine::{
        append::propose,
        content::{self, StoredAnswer},
    },
    llm::{AnswerParts, CallLog, Completion, NativeAnswer},
    store::writer::{Committed, Outcome, Proposal, WriteError},
    telemetry::traces,
};

/// Records the ending of an admitted step, and returns the answer once that is durable.
pub(super) async fn record(
    step: Step<'_>,
    admitted: AdmittedStep,
    outcome: Result<ModelOutcome, Failure>,
    progress: Progress,
) -> Result<StepResponse, StepError> {
    let Progress { sink, context, calls, latency, .. } = progress;
    let AnswerParts { text: answer, tool_calls, reasoning, native, mut dropped } =
        sink.into_parts();
    dropped.extend(lost(step, native.as_ref(), &outcome));
    let answer = StoredAnswer { answer, tool_calls, reasoning, native, dropped };
    let facts = EndingFacts { context, latency, calls };
    match outcome {
        Ok(outcome) => {
            complete(step, admitted, outcome, facts, answer).await.map(StepResponse::new)
        }
        Err(failure) => Err(fail(step, admitted, failure, facts, &answer).await),
    }
}

/// The names of the fields that the dialect of the client has no form for.
fn lost(
    step: Step<'_>,
    native: Option<&NativeAnswer>,
    outcome: &Result<ModelOutcome, Failure>,
) -> Vec<String> {
    let (Some(native), Ok(outcome)) = (native, outcome) else { return Vec::new() };
    let client = step.request.chat.as_ref().and_then(|chat| chat.extra.dialect);
    if client.is_none_or(|client| client == native.dialect) {
        return Vec::new();
    }
    let mut lost = native.lost();
    if !outcome.completion.has_known_reason() {
        lost.push("finish_reason".to_owned());
    }
    lost
}

/// The facts that `step.completed` and `step.failed` have in common.
struct EndingFacts {
    context: Option<ContextUse>,
    latency: Latency,
    calls: CallLog,
}

async fn complete(
    step: Step<'_>,
    admitted: AdmittedStep,
    outcome: ModelOutcome,
    facts: EndingFacts,
    answer: StoredAnswer,
) -> Result<Answer, StepError> {
    let ModelOutcome { provider, requested_model, completion, vector } = outcome;
    let EndingFacts { context, latency, calls } = facts;
    let command_id = crate::ids::command_id();
    let forgo = forgo(step, &admitted, &answer, &completion);
    let vector = vector.filter(|_| forgo.is_none());
    let vector_bytes = vector.as_ref().map(UnitVector::to_bytes);
    let content = content::seal(&admitted.subject, command_id, &answer, vector_bytes.as_deref())?;
    let complete = Complete {
        step: admitted.step,
        provider: provider.to_owned(),
        price: price(step, requested_model.as_deref()),
        model: completion.model,
        usage: completion.usage,
        finish_reason: completion.finish_reason,
        latency,
        attempts: calls.attempts(),
        calls: calls.into_calls(),
        context: context.unwrap_or_default(),
        confidence: confidence(&answer.answer),
        looping: is_looping(&answer.answer),
        cut: completion.truncated,
        forgo,
        vector,
    };
    let command = Command::Complete(Box::new(complete));
    let mut proposal = ending(step, &admitted, command_id, command);
    proposal.content = Some(content);
    let committed = append(step, &admitted, proposal).await?;
    count(step, Some(latency.model_ms));
    let chain_hash = committed.chain_hash;
    match committed.events.into_iter().next() {
        Some((envelope, Event::StepCompleted(completed))) => Ok(Answer::completed(
            step.caller.ids(),
            &admitted.event,
            &Ending { envelope: &envelope, chain_hash },
            &completed,
            answer,
        )),
        _ => Err(StepError::defect("a command `Complete` led to no `step.completed`")),
    }
}

/// Why the answer is not remembered, whatever its confidence.
fn forgo(
    step: Step<'_>,
    admitted: &AdmittedStep,
    answer: &StoredAnswer,
    completion: &Completion,
) -> Option<NotStoredReason> {
    if admitted.memory < MemoryMode::Full {
        return Some(NotStoredReason::MemoryOff);
    }
    if !answer.tool_calls.is_empty() {
        return Some(NotStoredReason::ToolCall);
    }
    if !completion.is_whole() {
        return Some(NotStoredReason::Cut);
    }
    is_blank(&step.request.prompt).then_some(NotStoredReason::MediaOnly)
}

/// Records a failure. Returns the error for the caller: the failure itself, unless the log contains
/// another ending or could not be reached.
async fn fail(
    step: Step<'_>,
    admitted: AdmittedStep,
    failure: Failure,
    facts: EndingFacts,
    partial: &StoredAnswer,
) -> StepError {
    let Failure { stage, code, mut usage, retry_after, call } = failure;
    if usage == Usage::default() {
        usage = estimate::partial_usage(step.request, partial);
    }
    let EndingFacts { context, latency, calls } = facts;
    let last = calls.last_sent().cloned();
    let model = last.as_ref().map(|call| call.model.clone()).filter(|model| !model.is_empty());
    let command = Command::Fail(Box::new(Fail {
        step: admitted.step,
        stage,
        code: code.clone(),
        latency_ms: latency.total_ms,
        attempts: calls.attempts(),
        usage,
        price: price(step, model.as_deref()),
        context,
        provider: last.map(|call| call.provider),
        model,
        latency: Some(latency),
        calls: calls.into_calls(),
    }));
    let command_id = crate::ids::command_id();
    let mut proposal = ending(step, &admitted, command_id, command);
    if !partial.answer.is_empty() || !partial.tool_calls.is_empty() {
        match content::seal(&admitted.subject, command_id, partial, None) {
            Ok(content) => proposal.content = Some(content),
            Err(error) => return error.into(),
        }
    }
    match append(step, &admitted, proposal).await {
        Ok(_) => {
            count(step, None);
            StepError::Failed { step: admitted.step, stage, code, retry_after, call }
        }
        Err(error) => error,
    }
}

/// The price of the model that was called.
fn price(step: Step<'_>, model: Option<&str>) -> Option<Price> {
    model.and_then(|model| step.engine.parts.llm.price(model))
}

async fn append(
    step: Step<'_>,
    admitted: &AdmittedStep,
    proposal: Proposal,
) -> Result<Committed, StepError> {
    match propose(step.engine, proposal).await {
        Ok(Outcome::Committed(committed)) => Ok(committed),
        Ok(Outcome::Duplicate(_)) => {
            Err(StepError::defect("the ending of a step was answered as a duplicate"))
        }
        Err(WriteError::Refused(Refusal::NotOpen { step })) => Err(StepError::TooLate { step }),
        Err(WriteError::InDoubt(cause)) => Err(StepError::InDoubt { step: admitted.step, cause }),
        Err(error) => Err(error.into()),
    }
}

fn ending(
    step: Step<'_>,
    admitted: &AdmittedStep,
    command_id: CommandId,
    command: Command,
) -> Proposal {
    Proposal {
        command_id,
        command,
        subject: Some(Arc::clone(&admitted.subject)),
        actor: admitted.actor.clone(),
        request_id: Some(step.caller.id.clone()),
        trace_id: step.caller.trace_id,
        content: None,
        prompt_digest: None,
        claim: None,
        ends_claim: step.caller.idempotency_key.is_some(),
        retry_until: Some(step.abandoned_at()),
    }
}

/// Counts a step whose ending is durable; `model_ms` is the time the model took to answer.
fn count(step: Step<'_>, model_ms: Option<f64>) {
    let steps = &step.engine.metrics.steps;
    let latency = step.received_at.elapsed();
    steps.latency.observe_with_exemplar(latency, traces::exemplar());
    if let Some(model_ms) = model_ms {
        steps.overhead.total.observe(latency.as_secs_f64() - model_ms / 1_000.0);
    }
}
