//! The call of the model.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    admit::AdmittedStep,
    error::Failure,
    request::{Step, StepRequest, milliseconds},
    retrieve::Retrieval,
};
use crate::{
    domain::{
        confidence::is_blank,
        context::ContextMessage,
        event::{ContextUse, FailStage, Latency},
        vector::UnitVector,
    },
    llm::{
        CallReport, Completion, LlmError, Message, Messages, Request, Role, Sink, metrics::Call,
    },
    telemetry::traces,
};

/// An answered call. The text of the answer is in the sink.
pub(super) struct ModelOutcome {
    pub(super) provider: &'static str,
    /// Calls made to providers.
    pub(super) attempts: u32,
    pub(super) completion: Completion,
    pub(super) vector: UnitVector,
    pub(super) context: ContextUse,
    pub(super) latency: Latency,
}

/// Calls the model with the chat and its context until the deadline.
pub(super) async fn ask(
    step: Step<'_>,
    admitted: &AdmittedStep,
    retrieval: Retrieval,
    sink: &mut Sink,
) -> Result<ModelOutcome, Failure> {
    let Retrieval { vector, context, message, embed_ms, retrieve_ms } = retrieval;
    let called_at = Instant::now();
    let request = Request {
        model: step.request.model.clone(),
        messages: messages(step.request, message),
        max_tokens: admitted.event.request.max_tokens,
        temperature: step.request.temperature,
        extra: step.request.chat.as_ref().map(|chat| Arc::clone(&chat.extra)).unwrap_or_default(),
    };
    let report = step.engine.parts.llm.call(&request, sink, step.deadline()).await;
    let model_ms = milliseconds(called_at.elapsed());
    let first = sink.first_delta_at().map(|first| milliseconds(first.duration_since(called_at)));
    let first_piece_ms = first.filter(|_| sink.is_streaming());
    count(step, &report, model_ms, first_piece_ms);
    let CallReport { provider, attempts, result, .. } = report;
    let completion = result.map_err(|error| failure(attempts, &error))?;
    if is_blank(sink.text()) && sink.tool_calls().is_empty() {
        let empty = Failure::new(FailStage::EmptyResponse, "empty_response");
        return Err(Failure { attempts, usage: completion.usage, ..empty });
    }
    let total_ms = step.elapsed_ms();
    let latency = Latency { embed_ms, retrieve_ms, model_ms, total_ms, first_piece_ms };
    Ok(ModelOutcome { provider, attempts, completion, vector, context, latency })
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

fn failure(attempts: u32, error: &LlmError) -> Failure {
    let is_gone = *error == LlmError::CallerGone;
    let stage = if is_gone { FailStage::Cancelled } else { FailStage::Llm };
    let retry_after = error.retry_after();
    Failure { attempts, retry_after, ..Failure::new(stage, error.code()) }
}

/// Counts a call, unless an open breaker or a full bulkhead prevented all attempts: those would
/// make slow models look fast.
fn count(step: Step<'_>, report: &CallReport, ms: f64, first_piece_ms: Option<f64>) {
    if report.attempts == 0 {
        return;
    }
    let engine = step.engine;
    let waited = Duration::from_secs_f64(ms.max(0.0) / 1_000.0);
    engine.metrics.steps.generation.observe_with_exemplar(waited, traces::exemplar());
    let usage = report.result.as_ref().ok().map(|completion| completion.usage);
    let model = report.model.as_deref();
    let price = model.and_then(|model| engine.parts.llm.price(model));
    engine.parts.metrics.calls.count(&Call {
        provider: report.provider,
        model,
        ms,
        first_piece_ms,
        usage,
        cost_micro_usd: usage.zip(price).map_or(0, |(usage, price)| price.of(usage)),
    });
}
