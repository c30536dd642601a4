//! Chat completions in the format of `OpenAI`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    clock,
    domain::event::RejectReason,
    engine::Answer,
    http::{governance::Governance, native},
    llm::{Citation, Dialect, ToolCall},
};

/// A chat completion.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatCompletion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    choices: [Choice; 1],
    usage: Usage,
    /// Governance of the step.
    mlsdm: Governance,
}

/// The part of a provider's choice that is written again.
#[derive(Deserialize)]
struct NativeChoice {
    finish_reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Choice {
    index: u32,
    message: AssistantMessage,
    logprobs: Option<bool>,
    /// `stop`, `length`, `tool_calls`, or `content_filter` after a moral rejection.
    finish_reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct AssistantMessage {
    role: &'static str,
    content: Option<String>,
    /// The model's reasoning, as far as the provider shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    /// The reason of a moral rejection.
    refusal: Option<&'static str>,
    /// The sources on the web that the answer names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    annotations: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ChatToolCall>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ChatToolCall {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: ChatFunction,
}

#[derive(Debug, Serialize, ToSchema)]
struct ChatFunction {
    name: String,
    arguments: String,
}

/// Tokens, counted by the provider.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ChatUsage)]
pub(in crate::http::v1) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

/// The body of a whole answer. One of a provider with the same dialect is complete.
pub(super) fn body(answer: &Answer) -> String {
    let own = [
        ("id", format!("\"{}\"", id(&answer.id))),
        ("object", "\"chat.completion\"".to_owned()),
        ("created", (clock::now_micros() / 1_000_000).to_string()),
    ];
    native::body(answer, Dialect::OpenAi, &own).unwrap_or_else(|| {
        // a plain structure always has a JSON form
        serde_json::to_string(&ChatCompletion::from(answer)).unwrap_or_default()
    })
}

impl From<&Answer> for ChatCompletion {
    fn from(answer: &Answer) -> Self {
        Self {
            id: id(&answer.id),
            object: "chat.completion",
            created: clock::now_micros() / 1_000_000,
            model: answer.model.clone(),
            choices: [Choice {
                index: 0,
                message: AssistantMessage {
                    role: "assistant",
                    content: content(answer),
                    reasoning_content: Some(answer.reasoning.clone())
                        .filter(|text| !text.is_empty()),
                    refusal: answer.refusal().map(|_| answer.note),
                    annotations: annotations(answer),
                    tool_calls: answer.tool_calls.iter().map(ChatToolCall::from).collect(),
                },
                logprobs: None,
                finish_reason: finish_reason(answer),
            }],
            usage: Usage::from(answer),
            mlsdm: Governance::from(answer),
        }
    }
}

/// The sources of a provider with another dialect.
pub(super) fn annotations(answer: &Answer) -> Vec<Value> {
    let form = |citation: Citation| {
        let Citation { url, title, start, end } = citation;
        let source = json!({"url": url, "title": title, "start_index": start, "end_index": end});
        json!({"type": "url_citation", "url_citation": source})
    };
    native::citations(answer, Dialect::OpenAi).into_iter().map(form).collect()
}

/// `None` if the answer consists of tool calls alone.
fn content(answer: &Answer) -> Option<String> {
    let none = answer.response.is_empty() && !answer.tool_calls.is_empty();
    (!none).then(|| answer.response.clone())
}

/// The reason of the provider if it has this dialect.
pub(super) fn finish_reason(answer: &Answer) -> String {
    let given = native::fields(answer, Dialect::OpenAi)
        .and_then(|fields| fields.read::<[NativeChoice; 1]>("choices").ok().flatten());
    if let Some([NativeChoice { finish_reason }]) = given {
        return finish_reason;
    }
    match answer.refusal() {
        Some(RejectReason::Moral | RejectReason::Sleep) => "content_filter".to_owned(),
        None => match answer.finish_reason.as_str() {
            // the answer is not whole: the nearest reason of this dialect
            "pause_turn" => "length".to_owned(),
            known @ ("stop" | "length" | "tool_calls" | "content_filter") => known.to_owned(),
            // `mlsdm.dropped` says that it was another one
            _ => "stop".to_owned(),
        },
    }
}

pub(super) fn id(id: &str) -> String {
    format!("chatcmpl-{id}")
}

impl From<&ToolCall> for ChatToolCall {
    fn from(call: &ToolCall) -> Self {
        let function = ChatFunction { name: call.name.clone(), arguments: call.arguments.clone() };
        Self { id: call.id.clone(), kind: "function", function }
    }
}

impl From<&Answer> for Usage {
    fn from(answer: &Answer) -> Self {
        let (prompt_tokens, completion_tokens) =
            (answer.usage.prompt_tokens, answer.usage.completion_tokens);
        let total_tokens = prompt_tokens.saturating_add(completion_tokens);
        let cached = answer.usage.cached_tokens;
        let reasoning = answer.usage.reasoning_tokens;
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens,
            prompt_tokens_details: cached.map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: reasoning
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}
