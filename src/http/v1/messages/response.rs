//! Messages in the format of Anthropic.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    engine::Answer,
    http::{governance::Governance, native},
    llm::{Dialect, ToolCall},
};

/// A message of the model.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnthropicMessage {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: String,
    #[schema(value_type = Vec<Object>)]
    content: Vec<Value>,
    /// `end_turn`, `max_tokens`, `tool_use`, or `refusal` after a moral rejection.
    stop_reason: &'static str,
    stop_sequence: Option<String>,
    usage: MessagesUsage,
    /// Governance of the step.
    mlsdm: Governance,
}

/// Tokens, counted by the provider.
#[expect(clippy::struct_field_names, reason = "the names of the dialect")]
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct MessagesUsage {
    input_tokens: u64,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<u64>,
}

/// The body of a whole answer. One of a provider with the same dialect is complete.
pub(super) fn body(answer: &Answer) -> String {
    let own = [("id", format!("\"{}\"", id(&answer.id)))];
    native::body(answer, Dialect::Anthropic, &own).unwrap_or_else(|| {
        // a plain structure always has a JSON form
        serde_json::to_string(&AnthropicMessage::from(answer)).unwrap_or_default()
    })
}

impl From<&Answer> for AnthropicMessage {
    fn from(answer: &Answer) -> Self {
        Self {
            id: id(&answer.id),
            kind: "message",
            role: "assistant",
            model: answer.model.clone(),
            content: content(answer),
            stop_reason: stop_reason(answer),
            stop_sequence: None,
            usage: MessagesUsage::from(answer),
            mlsdm: Governance::from(answer),
        }
    }
}

pub(super) fn id(id: &str) -> String {
    format!("msg_{id}")
}

fn content(answer: &Answer) -> Vec<Value> {
    let text = Some(&answer.response).filter(|text| !text.is_empty());
    let text = text.map(|text| {
        let mut block = json!({"type": "text", "text": text});
        let citations: Vec<Value> = citations(answer).collect();
        if !citations.is_empty() {
            block["citations"] = citations.into();
        }
        block
    });
    let reasoning = Some(&answer.reasoning).filter(|text| !text.is_empty());
    let reasoning =
        reasoning.map(|text| json!({"type": "thinking", "thinking": text, "signature": ""}));
    let calls = answer.tool_calls.iter().map(tool_use);
    reasoning.into_iter().chain(text).chain(calls).collect()
}

/// The sources of a provider with another dialect. Only Anthropic can write the index of a source.
pub(super) fn citations(answer: &Answer) -> impl Iterator<Item = Value> {
    native::citations(answer, Dialect::Anthropic).into_iter().map(|citation| {
        json!({
            "type": "web_search_result_location", "url": citation.url, "title": citation.title,
            "cited_text": "", "encrypted_index": "",
        })
    })
}

fn tool_use(call: &ToolCall) -> Value {
    // arguments that are not valid JSON are passed on as a string
    let input = serde_json::from_str(&call.arguments)
        .unwrap_or_else(|_| Value::String(call.arguments.clone()));
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

pub(super) fn stop_reason(answer: &Answer) -> &'static str {
    if answer.refusal().is_some() {
        return "refusal";
    }
    match answer.finish_reason.as_str() {
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        "pause_turn" => "pause_turn",
        _ => "end_turn",
    }
}

impl From<&Answer> for MessagesUsage {
    fn from(answer: &Answer) -> Self {
        let usage = answer.usage;
        Self {
            // in this dialect, tokens read from a cache are no part of the input
            input_tokens: usage.prompt_tokens.saturating_sub(usage.cached_tokens.unwrap_or(0)),
            output_tokens: usage.completion_tokens,
            cache_read_input_tokens: usage.cached_tokens,
        }
    }
}
