//! Messages in the format of Anthropic.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{engine::Answer, http::governance::Governance, llm::ToolCall};

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
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct MessagesUsage {
    input_tokens: u64,
    output_tokens: u64,
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
    let text = text.map(|text| json!({"type": "text", "text": text}));
    text.into_iter().chain(answer.tool_calls.iter().map(tool_use)).collect()
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
        _ => "end_turn",
    }
}

impl From<&Answer> for MessagesUsage {
    fn from(answer: &Answer) -> Self {
        let usage = answer.usage;
        Self { input_tokens: usage.prompt_tokens, output_tokens: usage.completion_tokens }
    }
}
