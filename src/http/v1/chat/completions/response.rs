//! Chat completions in the format of `OpenAI`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clock, domain::event::RejectReason, engine::Answer, http::governance::Governance, llm::ToolCall,
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
    /// The reason of a moral rejection.
    refusal: Option<&'static str>,
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
#[expect(clippy::struct_field_names, reason = "the names of the dialect")]
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ChatUsage)]
pub(super) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
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
                    refusal: answer.refusal().map(|_| answer.note),
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

/// `None` if the answer consists of tool calls alone.
fn content(answer: &Answer) -> Option<String> {
    let none = answer.response.is_empty() && !answer.tool_calls.is_empty();
    (!none).then(|| answer.response.clone())
}

pub(super) fn finish_reason(answer: &Answer) -> String {
    match answer.refusal() {
        Some(RejectReason::Moral | RejectReason::Sleep) => "content_filter".to_owned(),
        None => answer.finish_reason.clone(),
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
        Self { prompt_tokens, completion_tokens, total_tokens }
    }
}
