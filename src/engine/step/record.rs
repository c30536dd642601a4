//! The ending: seals the answer and appends `step.completed`, or appends `step.failed`.

use std::sync::Arc;

use super::{
    admit::AdmittedStep,
    answer::{Answer, Ending, StepResponse},
    ask::ModelOutcome,
    error::{Failure, StepError},
    estimate,
    request::Step,
};
use crate::{
    domain::{
        command::{Command, Complete, Fail, Refusal},
        confidence::{confidence, is_looping},
        event::{Event, Usage},
        ids::CommandId,
    },
    engine::{
        append::propose,
        content::{self, StoredAnswer},
    },
    llm::Sink,
    store::writer::{Committed, Outcome, Proposal, WriteError},
    telemetry::traces,
};

/// Records the ending of an admitted step, and returns the answer once that is durable.
pub(super) async fn record(
    step: Step<'_>,
    admitted: AdmittedStep,
    outcome: Result<ModelOutcome, Failure>,
    sink: Sink,
) -> Result<StepResponse, StepError> {
    let (answer, tool_calls) = sink.into_parts();
    let answer = StoredAnswer { answer, tool_calls };
    match outcome {
        Ok(outcome) => complete(step, admitted, outcome, answer).await.map(StepResponse::new),
        Err(failure) => Err(fail(step, admitted, failure, &answer).await),
    }
}

async fn complete(
    step: Step<'_>,
    admitted: AdmittedStep,
    outcome: ModelOutcome,
    answer: StoredAnswer,
) -> Result<Answer, StepError> {
    let ModelOutcome { provider, attempts, completion, vector, context, latency } = outcome;
    let command_id = crate::ids::command_id();
    let vector_bytes = vector.to_bytes();
    let content = content::seal(&admitted.subject, command_id, &answer, Some(&vector_bytes))?;
    let complete = Complete {
        step: admitted.step,
        provider: provider.to_owned(),
        model: completion.model,
        usage: completion.usage,
        finish_reason: completion.finish_reason,
        latency,
        attempts,
        calls: Vec::new(),
        price: None,
        context,
        confidence: confidence(&answer.answer),
        looping: is_looping(&answer.answer),
        cut: completion.truncated,
        vector: Some(vector),
    };
    let command = Command::Complete(Box::new(complete));
    let mut proposal = ending(step, &admitted, command_id, command);
    proposal.content = Some(content);
    let committed = append(step, proposal).await?;
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

/// Records a failure. Returns the error for the caller: the failure itself, unless the log contains
/// another ending or could not be reached.
async fn fail(
    step: Step<'_>,
    admitted: AdmittedStep,
    failure: Failure,
    partial: &StoredAnswer,
) -> StepError {
    let Failure { stage, code, attempts, mut usage, retry_after } = failure;
    if usage == Usage::default() {
        usage = estimate::partial_usage(step.request, partial);
    }
    let command = Command::Fail(Box::new(Fail {
        attempts,
        usage,
        ..Fail::new(admitted.step, stage, code.clone(), step.elapsed_ms())
    }));
    let command_id = crate::ids::command_id();
    let mut proposal = ending(step, &admitted, command_id, command);
    if !partial.answer.is_empty() || !partial.tool_calls.is_empty() {
        match content::seal(&admitted.subject, command_id, partial, None) {
            Ok(content) => proposal.content = Some(content),
            Err(error) => return error.into(),
        }
    }
    match append(step, proposal).await {
        Ok(_) => {
            count(step, None);
            StepError::Failed { step: admitted.step, stage, code, retry_after }
        }
        Err(error) => error,
    }
}

async fn append(step: Step<'_>, proposal: Proposal) -> Result<Committed, StepError> {
    match propose(step.engine, proposal).await {
        Ok(Outcome::Committed(committed)) => Ok(committed),
        Ok(Outcome::Duplicate(_)) => {
            Err(StepError::defect("the ending of a step was answered as a duplicate"))
        }
        Err(WriteError::Refused(Refusal::NotOpen { step })) => Err(StepError::TooLate { step }),
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
