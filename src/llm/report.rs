//! The result of a call.

use super::{LlmError, ProviderCompletion, Request, Sink, estimate_tokens};
use crate::domain::event::Usage;

/// The result of a call, after all retries and fallbacks.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// The provider of the result.
    pub provider: &'static str,
    /// The requested model; `None` if the provider has only one.
    pub model: Option<String>,
    /// The number of calls made to providers.
    pub attempts: u32,
    /// The completion, or why there is none.
    pub result: Result<Completion, LlmError>,
}

/// A complete answer. The text is in the [`Sink`].
#[derive(Clone, Debug)]
pub struct Completion {
    /// The model's name as the provider reports it.
    pub model: String,
    /// Why the model stopped: `stop`, `length`, `tool_calls` or `content_filter`.
    pub finish_reason: String,
    /// Token counts: those of the provider, or estimates.
    pub usage: Usage,
    /// True if the answer was cut at its size limit.
    pub truncated: bool,
}

/// The completion of a call. An answer that exceeds the size limit is a completion, cut.
pub(super) fn completion(
    result: Result<ProviderCompletion, LlmError>,
    request: &Request,
    sink: &Sink,
) -> Result<Completion, LlmError> {
    match result {
        Ok(ProviderCompletion { model, finish_reason, usage }) => {
            let usage = usage.unwrap_or_else(|| estimate(request, sink));
            Ok(Completion { model, finish_reason, usage, truncated: false })
        }
        Err(LlmError::TooLong) => Ok(Completion {
            model: request.model.clone().unwrap_or_default(),
            finish_reason: "length".to_owned(),
            usage: estimate(request, sink),
            truncated: true,
        }),
        Err(error) => Err(error),
    }
}

fn estimate(request: &Request, sink: &Sink) -> Usage {
    Usage::new(
        request.messages.iter().map(|m| estimate_tokens(&m.text)).sum(),
        estimate_tokens(sink.text()),
    )
}
