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
        event::{FailStage, Latency, UNLIMITED_TOKENS},
        policy::Placement,
        vector::UnitVector,
    },
    llm::{
        CallReport, Completion, LlmError, Message, Messages, Request, Role, TokenLimit,
        metrics::Call, turn::Place,
    },
    telemetry::traces,
};

/// An answered call. The text of the answer is in the sink.
pub(super) struct ModelOutcome {
    pub(super) provider: &'static str,
    /// The requested model; `None` if the provider has only one.
    pub(super) requested_model: Option<String>,
    pub(super) completion: Completion,
    /// The vector of the prompt; `None` if the step uses no memory.
    pub(super) vector: Option<UnitVector>,
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
        messages: messages(step, message),
        prompt: Arc::clone(&step.request.prompt),
        max_tokens: limit(step.request, admitted),
        temperature: step.request.temperature,
        takes_temperature: None,
        extra: step.request.chat.as_ref().map(|chat| Arc::clone(&chat.extra)).unwrap_or_default(),
    };
    progress.call();
    let Progress { sink, calls, .. } = progress;
    let report = step.engine.parts.llm.call(&request, sink, calls, step.deadline()).await;
    progress.end(step);
    count(step, &report, &progress.latency);
    let completion = report.result.clone().map_err(|error| failure(&report, &error))?;
    let CallReport { provider, model: requested_model, .. } = report;
    if is_blank(progress.sink.text()) && !progress.sink.has_other_parts() {
        let empty = Failure::new(FailStage::EmptyResponse, "empty_response");
        return Err(Failure { usage: completion.usage, ..empty });
    }
    Ok(ModelOutcome { provider, requested_model, completion, vector })
}

/// The granted limit, with the caller's name of it.
fn limit(request: &StepRequest, admitted: &AdmittedStep) -> Option<TokenLimit> {
    let field = request.max_tokens.and_then(|asked| asked.field);
    let tokens = admitted.event.request.max_tokens;
    (tokens != UNLIMITED_TOKENS).then_some(TokenLimit { tokens, field })
}

/// The chat with the context at its place.
fn messages(step: Step<'_>, context: Option<ContextMessage>) -> Messages {
    let request = step.request;
    let (messages, place) = match &request.chat {
        None => {
            let prompt = Message::text(Role::User, &*request.prompt);
            (vec![prompt].into(), Place::default())
        }
        Some(chat) => (chat.messages.clone(), chat.place()),
    };
    match (context, step.engine.view().state.policy.context.placement) {
        (None, _) => messages,
        (Some(context), Placement::Prompt) => messages.with_context_at(place, &context.text),
        (Some(context), Placement::System) => messages.with_system_context(&context.text),
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
