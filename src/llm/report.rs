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

impl CallReport {
    /// True if a provider refused the request for a cause that the caller can remove.
    pub(super) const fn is_refused(&self) -> bool {
        matches!(&self.result, Err(LlmError::Refused { status: 400 | 404 | 413 | 422, .. }))
    }
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

impl Completion {
    /// True if the model ended its answer itself. Anything else is a part of an answer.
    pub fn is_whole(&self) -> bool {
        !self.truncated && matches!(self.finish_reason.as_str(), "stop" | "tool_calls")
    }

    /// True if every dialect has a form for the reason why the model stopped.
    pub fn has_known_reason(&self) -> bool {
        let known = ["stop", "length", "tool_calls", "content_filter", "pause_turn"];
        known.contains(&self.finish_reason.as_str())
    }
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
    let calls = sink.tool_calls().iter();
    let calls = calls.map(|call| estimate_tokens(&call.name) + estimate_tokens(&call.arguments));
    Usage::new(
        request.messages.iter().map(|m| estimate_tokens(&m.text)).sum(),
        estimate_tokens(sink.text()) + estimate_tokens(sink.reasoning()) + calls.sum::<u64>(),
    )
}
