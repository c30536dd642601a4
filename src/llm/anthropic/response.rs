//! The response of Anthropic's messages API, whole or streamed.

mod block;
mod stream;

use serde_json::{Map, Value, value::RawValue};

use crate::{
    domain::event::Usage,
    llm::{
        Dialect, LlmError, NativeAnswer, ProviderCompletion, Sink, finish, http,
        object::{Object, Writer},
        provider_error,
        sse::Events,
    },
};
use block::Block;
use stream::Stream;

/// Reads a response that is not streamed.
pub(super) async fn whole(
    body: &str,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let body = Object::parse(body).ok_or(UNEXPECTED)?;
    if let Some(error) = body.get("error") {
        return Err(provider_error::in_stream_text(error.get()));
    }
    let blocks: Vec<&RawValue> = body.read("content").ok_or(UNEXPECTED)?;
    sink.begin(Dialect::Anthropic).await?;
    let mut stream = Stream::new(requested_model);
    stream.is_whole = true;
    stream.start(&body);
    for block in blocks {
        stream.open(None, block, sink).await?;
    }
    // the end of the body is the end of the answer, even if the server does not say why
    if !stream.has_reason() {
        stream.message.insert("stop_reason".to_owned(), Value::from("end_turn"));
    }
    let completion = stream.end(sink).await?;
    sink.push_native_answer().await?;
    Ok(completion)
}

/// Reads a streamed response.
pub(super) async fn streamed(
    mut events: Events,
    requested_model: &str,
    sink: &mut Sink,
) -> Result<ProviderCompletion, LlmError> {
    let mut stream = Stream::new(requested_model);
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                if stream.take(&event, sink).await? {
                    break;
                }
            }
            Ok(None) if stream.has_reason() => break,
            Ok(None) | Err(LlmError::BrokenOff) => return Err(http::early_end(sink)),
            Err(error) => return Err(error),
        }
    }
    if !stream.has_reason() {
        return Err(http::early_end(sink));
    }
    stream.end(sink).await
}

const UNEXPECTED: LlmError = LlmError::Malformed { what: "the JSON has an unexpected shape" };

/// The usage. Tokens read from a cache or written to it are part of the prompt.
fn usage(counts: &Map<String, Value>) -> Option<Usage> {
    let count = |name: &str| counts.get(name).and_then(Value::as_u64);
    let read = count("cache_read_input_tokens");
    let cached = [count("cache_creation_input_tokens"), read];
    let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
    Some(Usage {
        cached_tokens: read,
        ..Usage::new(count("input_tokens")?.saturating_add(cached), count("output_tokens")?)
    })
}

/// The answer in the provider's dialect.
fn native(
    model: &str,
    message: &Map<String, Value>,
    blocks: &[Block],
    counts: &Map<String, Value>,
) -> Option<NativeAnswer> {
    let mut body = Writer::new();
    body.raw("type", "\"message\"");
    body.raw("role", "\"assistant\"");
    body.text("model", model);
    let content: Vec<String> = blocks.iter().map(Block::json).collect();
    body.raw("content", &format!("[{}]", content.join(",")));
    for (name, value) in message {
        body.raw(name, &value.to_string());
    }
    body.raw("usage", &Value::Object(counts.clone()).to_string());
    let message = RawValue::from_string(body.end()).ok()?;
    Some(NativeAnswer { dialect: Dialect::Anthropic, message })
}

/// Replaces the fields that a later event reports.
fn update(into: &mut Map<String, Value>, later: &Object<'_>) {
    for (name, value) in later.iter() {
        if let Ok(value) = serde_json::from_str::<Value>(value.get())
            && !value.is_null()
        {
            into.insert(name.to_owned(), value);
        }
    }
}

/// The reason in the terms of the log.
fn reason(message: &Map<String, Value>, sink: &Sink) -> String {
    let given = message.get("stop_reason").and_then(Value::as_str).unwrap_or_default();
    finish::reason(given, !sink.tool_calls().is_empty())
}
