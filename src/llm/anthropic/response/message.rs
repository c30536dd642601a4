//! The parts of a message of Anthropic's API that are read at its end.

use serde_json::{Map, Value, value::RawValue};

use super::block::Block;
use crate::{
    domain::event::Usage,
    llm::{
        Dialect, LlmError, NativeAnswer, Sink, finish,
        object::{Object, Writer},
    },
};

/// Maximum number of fields of a message, and of its usage.
const FIELDS_MAX: usize = 64;

/// The error of a response with another shape.
pub(super) const UNEXPECTED: LlmError =
    LlmError::Malformed { what: "the JSON has an unexpected shape" };

/// The usage. Tokens read from a cache or written to it are part of the prompt.
pub(super) fn usage(counts: &Map<String, Value>) -> Option<Usage> {
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
pub(super) fn native(
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
pub(super) fn update(into: &mut Map<String, Value>, later: &Object<'_>) {
    for (name, value) in later.iter() {
        if let Ok(value) = serde_json::from_str::<Value>(value.get())
            && !value.is_null()
        {
            set(into, name, value);
        }
    }
}

/// Sets a field. Those beyond the limit of their number are not kept.
pub(super) fn set(into: &mut Map<String, Value>, name: &str, value: Value) {
    if into.len() < FIELDS_MAX || into.contains_key(name) {
        into.insert(name.to_owned(), value);
    }
}

/// The reason in the terms of the log.
pub(super) fn reason(message: &Map<String, Value>, sink: &Sink) -> String {
    let given = message.get("stop_reason").and_then(Value::as_str).unwrap_or_default();
    finish::reason(given, !sink.tool_calls().is_empty())
}
