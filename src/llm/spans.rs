//! The span of a call, with the attributes of OpenTelemetry's semantic conventions for generative AI.
//! No attribute holds a message.

use opentelemetry::{Array, Value};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Completion, LlmError, Request};
use crate::{
    metrics::OTHER,
    telemetry::traces::{self, TARGET},
};

/// Covers the calls of one provider, retries included. `model` is the label of the requested model.
pub(super) fn chat(provider: &'static str, model: Option<&str>, request: &Request) -> Span {
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
        gen_ai.request.max_tokens = request.max_tokens.map(|limit| i64::from(limit.tokens)),
        gen_ai.request.temperature = request.temperature,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        http.response.status_code = Empty,
        mlsdm.llm.attempts = Empty,
        mlsdm.llm.provider_code = Empty,
        mlsdm.llm.unreachable_cause = Empty,
    )
}

/// Records the result.
pub(super) fn record_result(
    span: &Span,
    model: Option<&str>,
    result: &Result<Completion, LlmError>,
    attempts: u32,
) {
    span.record("mlsdm.llm.attempts", i64::from(attempts));
    match result {
        Ok(ended) => {
            // a provider may repeat a name that the client invented
            if model != Some(OTHER) {
                span.record("gen_ai.response.model", &*ended.model);
            }
            let reasons = Array::String(vec![ended.finish_reason.clone().into()]);
            span.set_attribute("gen_ai.response.finish_reasons", Value::Array(reasons));
            span.record("gen_ai.usage.input_tokens", ended.usage.prompt_tokens as i64);
            span.record("gen_ai.usage.output_tokens", ended.usage.completion_tokens as i64);
        }
        // not a failure of the provider
        Err(LlmError::CallerGone) => {}
        Err(error) => {
            if let Some(status) = error.status() {
                span.record("http.response.status_code", i64::from(status));
            }
            if let Some(said) = error.provider_error() {
                span.record("mlsdm.llm.provider_code", said.code);
            }
            if let Some(cause) = error.unreachable_cause() {
                span.record("mlsdm.llm.unreachable_cause", cause.name());
            }
            traces::failed(span, error.code());
        }
    }
}
