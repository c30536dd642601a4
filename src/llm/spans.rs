//! The span of a call, with the attributes that OpenTelemetry's conventions for generative AI name. None of
//! them holds a message.

use opentelemetry::{Array, Value};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Completion, Llm, LlmError, Request};
use crate::{
    metrics::OTHER,
    telemetry::traces::{self, TARGET},
};

/// While one provider is asked, and asked again.
pub(super) fn chat(llm: &Llm, provider: &'static str, request: &Request) -> Span {
    let model = request.model.as_deref().map(|model| known(llm, model));
    info_span!(
        target: TARGET,
        "chat",
        otel.name = model.map_or_else(|| "chat".to_owned(), |model| format!("chat {model}")),
        otel.kind = "client",
        otel.status_code = Empty,
        error.type = Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = provider,
        gen_ai.request.model = model,
        gen_ai.request.max_tokens = i64::from(request.max_tokens),
        gen_ai.request.temperature = request.temperature,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        mlsdm.llm.attempts = Empty,
    )
}

/// Tells how it was answered.
pub(super) fn answered(
    span: &Span,
    llm: &Llm,
    asked: &Request,
    result: &Result<Completion, LlmError>,
    attempts: u32,
) {
    span.record("mlsdm.llm.attempts", i64::from(attempts));
    match result {
        Ok(ended) => {
            // a provider may repeat the name that a caller made up
            if asked.model.as_deref().is_none_or(|model| known(llm, model) != OTHER) {
                span.record("gen_ai.response.model", &*ended.model);
            }
            let reasons = Array::String(vec![ended.finish_reason.clone().into()]);
            span.set_attribute("gen_ai.response.finish_reasons", Value::Array(reasons));
            span.record("gen_ai.usage.input_tokens", ended.usage.prompt_tokens as i64);
            span.record("gen_ai.usage.output_tokens", ended.usage.completion_tokens as i64);
        }
        // nobody failed
        Err(LlmError::CallerGone) => {}
        Err(error) => traces::failed(span, error.code()),
    }
}

/// A model that configuration names; those that callers make up are one.
fn known<'m>(llm: &Llm, model: &'m str) -> &'m str {
    let configured = llm.targets.iter().any(|target| target.model.as_deref() == Some(model));
    let listed = llm.shared.allowed.iter().any(|name| name == model);
    if configured || listed { model } else { OTHER }
}
