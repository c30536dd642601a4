//! The response of chat completions, whole or streamed.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    domain::event::Usage,
    llm::{LlmError, ProviderCompletion, Sink, http, provider_error, sse::Events},
};

/// The data of the last event of a stream.
const DONE: &str = "[DONE]";

/// A response or a chunk of one: `message` and `delta` have the same fields.
#[derive(Deserialize)]
pub(super) struct CompletionBody {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<TokenCounts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "delta")]
    message: Option<MessageBody>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct MessageBody {
    content: Option<String>,
    /// Sent in place of content when the model refuses the requested format.
    refusal: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    index: Option<usize>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    /// A JSON text; some servers send a JSON object.
    arguments: Option<Value>,
}

#[derive(Clone, Copy, Deserialize)]
struct TokenCounts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

/// Reads a response that is not streamed.
pub(super) async fn whole(
    completion: CompletionBody,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let choice = completion.choices.and_then(|choices| choices.into_iter().next());
    let Some(Choice { message: Some(message), finish_reason }) = choice else {
        return Err(LlmError::Malformed { what: "it has no choices" });
    };
    take(message, sink).await?;
    Ok(ProviderCompletion {
        model: http::reported_model(completion.model, requested_model),
        finish_reason: reason(finish_reason.as_deref(), sink).to_owned(),
        usage: completion.usage.and_then(usage),
    })
}

/// Reads a streamed response.
pub(super) async fn streamed(
    mut events: Events,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let (mut model, mut finish, mut counts, mut done) = (None, None, None, false);
    loop {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            // some servers end the stream after the finish reason
            Ok(None) if finish.is_some() => break,
            Ok(None) | Err(LlmError::BrokenOff) => return Err(http::early_end(sink)),
            Err(error) => return Err(error),
        };
        if event.data.trim() == DONE {
            done = true;
            break;
        }
        let chunk: CompletionBody = http::parse(event.data.as_bytes())?;
        if let Some(error) = chunk.error {
            return Err(provider_error::in_stream(&error));
        }
        model = model.or(chunk.model);
        counts = chunk.usage.or(counts);
        // the last chunk has the usage and no choice
        if let Some(choice) = chunk.choices.and_then(|choices| choices.into_iter().next()) {
            if let Some(message) = choice.message {
                take(message, sink).await?;
            }
            finish = choice.finish_reason.or(finish);
        }
    }
    if !done && finish.is_none() {
        return Err(http::early_end(sink));
    }
    Ok(ProviderCompletion {
        model: http::reported_model(model, requested_model),
        finish_reason: reason(finish.as_deref(), sink).to_owned(),
        usage: counts.and_then(usage),
    })
}

async fn take(message: MessageBody, sink: &mut Sink) -> Result<(), LlmError> {
    if let Some(text) = message.content.or(message.refusal) {
        sink.push_text(&text).await?;
    }
    for (position, call) in message.tool_calls.into_iter().flatten().enumerate() {
        let Call { index, id, function } = call;
        let (name, arguments) = function.map_or((None, None), |f| (f.name, f.arguments));
        let arguments = match arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(object) => object.to_string(),
        };
        let given = |text: &String| !text.is_empty();
        let (id, name) = (id.filter(given), name.filter(given));
        sink.push_tool_call(index.unwrap_or(position), id, name, arguments).await?;
    }
    Ok(())
}

fn usage(counts: TokenCounts) -> Option<Usage> {
    let (prompt_tokens, completion_tokens) = (counts.prompt_tokens?, counts.completion_tokens?);
    Some(Usage {
        cached_tokens: counts.prompt_tokens_details.and_then(|details| details.cached_tokens),
        reasoning_tokens: counts
            .completion_tokens_details
            .and_then(|details| details.reasoning_tokens),
        ..Usage::new(prompt_tokens, completion_tokens)
    })
}

/// Maps the finish reason. An unknown one means that the answer is complete.
fn reason(given: Option<&str>, sink: &Sink) -> &'static str {
    match given {
        Some("length") => "length",
        Some("content_filter") => "content_filter",
        Some("tool_calls" | "function_call") => "tool_calls",
        _ if !sink.tool_calls().is_empty() => "tool_calls",
        _ => "stop",
    }
}
