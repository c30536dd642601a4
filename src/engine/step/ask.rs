//! The call of the model.

use std::{sync::Arc, time::Duration};

use super::{
    admit::AdmittedStep,
    error::{FailedCall, Failure},
    progress::Progress,
    request::{Step, StepRequest},
    retrieve::Retrieval,
};
use crate::{
    domain::{
        confidence::is_blank,
        context::ContextMessage,
        event::{FailStage, Latency},
        vector::UnitVector,
    },
    llm::{
        CallReport, Completion, LlmError, Message, Messages, Request, Role, TokenLimit,
        metrics::Call,
    },
    telemetry::traces,
};

/// An answered call. The text of the answer is in the sink.
pub(super) struct ModelOutcome {
    pub(super) provider: &'static str,
    /// The requested model; `None` if the provider has only one.
    pub(super) requested_model: Option<String>,
    pub(super) completion: Completion,
    pub(super) vector: UnitVector,
}

/// Calls the model with the chat and its context until the deadline.
pub(super) async fn ask(
    step: Step<'_>,
    admitted: &AdmittedStep,
    retrieval: Retrieval,
    progress: &mut Progress,
) -> Result<ModelOutcome, Failure> {
    let Retrieval { vector, message } = retrieval;
    let request = Request {
        model: step.request.model.clone(),
        messages: messages(step.request, message),
        max_tokens: Some(limit(step.request, admitted)),
        temperature: step.request.temperature,
        extra: step.request.chat.as_ref().map(|chat| Arc::clone(&chat.extra)).unwrap_or_default(),
    };
    progress.call();
    let Progress { sink, calls, .. } = progress;
    let report = step.engine.parts.llm.call(&request, sink, calls, step.deadline()).await;
    progress.end(step);
    count(step, &report, &progress.latency);
    let completion = report.result.clone().map_err(|error| failure(&report, &error))?;
    let CallReport { provider, model: requested_model, .. } = report;
    if is_blank(progress.sink.text()) && progress.sink.tool_calls().is_empty() {
        let empty = Failure::new(FailStage::EmptyResponse, "empty_response");
        return Err(Failure { usage: completion.usage, ..empty });
    }
    Ok(ModelOutcome { provider, requested_model, completion, vector })
}

/// The granted limit, with the caller's name of it.
fn limit(request: &StepRequest, admitted: &AdmittedStep) -> TokenLimit {
    let field = request.max_tokens.and_then(|asked| asked.field);
    TokenLimit { tokens: admitted.event.request.max_tokens, field }
}

/// The chat with the context inserted directly before the prompt.
fn messages(request: &StepRequest, context: Option<ContextMessage>) -> Messages {
    let (messages, prompt) = match &request.chat {
        None => ([Message::text(Role::User, &*request.prompt)].into_iter().collect(), 0),
        Some(chat) => (chat.messages.clone(), chat.prompt),
    };
    match context {
        None => messages,
        Some(built) => messages.with_inserted(prompt, Message::text(Role::User, built.text)),
    }
}

fn failure(report: &CallReport, error: &LlmError) -> Failure {
    let is_gone = *error == LlmError::CallerGone;
    let stage = if is_gone { FailStage::Cancelled } else { FailStage::Llm };
    let call = Some(Box::new(FailedCall::new(report, error)));
    Failure { retry_after: error.retry_after(), call, ..Failure::new(stage, error.code()) }
}

/// Counts a call, unless an open breaker or a full bulkhead prevented all attempts: those would
/// make slow models look fast.
fn count(step: Step<'_>, report: &CallReport, latency: &Latency) {
    if report.attempts == 0 {
        return;
    }
    let (engine, ms) = (step.engine, latency.model_ms);
    let waited = Duration::from_secs_f64(ms.max(0.0) / 1_000.0);
    engine.metrics.steps.generation.observe_with_exemplar(waited, traces::exemplar());
    let usage = report.result.as_ref().ok().map(|completion| completion.usage);
    let model = report.model.as_deref();
    let price = model.and_then(|model| engine.parts.llm.price(model));
    engine.parts.metrics.calls.count(&Call {
        provider: report.provider,
        model,
        ms,
        first_piece_ms: latency.first_piece_ms,
        usage,
        cost_micro_usd: usage.zip(price).map_or(0, |(usage, price)| price.of(usage)),
    });
}
