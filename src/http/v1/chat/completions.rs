//! POST /v1/chat/completions
//!
//! A governed step in the dialect of `OpenAI`: any of its clients works unchanged. **The prompt** — what
//! is scored, embedded and remembered — is the text of the last message of role `user`; all messages
//! reach the model, with the remembered context right before the prompt. Fields this server does not
//! know are passed on to a provider of the same dialect.

mod chunks;
pub(in crate::http::v1) mod request;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clock,
    domain::event::RejectReason,
    engine::Answer,
    http::{
        AppState, Problem,
        access::{Allowed, may},
        caller::Addressed,
        governance::{self, Governance},
        stream,
    },
    llm::ToolCall,
};
use chunks::Chunks;
pub use request::ChatRequest;

/// An answer in the dialect of `OpenAI`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatCompletion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    choices: [Choice; 1],
    usage: Usage,
    /// What governed the step.
    mlsdm: Governance,
}

#[derive(Debug, Serialize, ToSchema)]
struct Choice {
    index: u32,
    message: AssistantMessage,
    logprobs: Option<bool>,
    /// `stop`, `length`, `tool_calls`, or `content_filter` for a moral refusal.
    finish_reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct AssistantMessage {
    role: &'static str,
    content: Option<String>,
    /// Why the request was refused.
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

/// Tokens, as the provider counted them.
#[expect(clippy::struct_field_names, reason = "the names of the dialect")]
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ChatUsage)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

/// Runs one governed step, in the dialect of `OpenAI`. The prompt is the last message of role `user`.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "compatible",
    params(
        ("X-MLSDM-Engine" = Option<String>, Header, description = "The engine; `model` may name it too, as `engine/model`"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "Whose words the prompt is; counts more than `user`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request safe"),
    ),
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer; with `stream`, text/event-stream of chunks. A moral refusal has finish_reason `content_filter`", content((ChatCompletion = "application/json"), (stream::StreamEvent = "text/event-stream"))),
        (status = 400, description = "Bad input (E1xx), a moral refusal where api.refusal is `error` (E302), or a model without a price under a cost budget (E507)", body = OpenAiError),
        (status = 404, description = "No such engine (E408)", body = OpenAiError),
        (status = 409, description = "The first request with this Idempotency-Key still runs (E405)", body = OpenAiError),
        (status = 410, description = "The earlier answer was erased (E407)", body = OpenAiError),
        (status = 413, description = "The body is too large (E904)", body = OpenAiError),
        (status = 415, description = "Not application/json (E903)", body = OpenAiError),
        (status = 422, description = "This Idempotency-Key was used with another body (E406)", body = OpenAiError),
        (status = 429, description = "The engine sleeps (E502), or the budget of the data subject or the API key is spent (E505)", body = OpenAiError),
        (status = 502, description = "The model or the embedder failed (E601, E603, E604)", body = OpenAiError),
        (status = 503, description = "Shut down, draining, or the log is unavailable (E4xx, E7xx)", body = OpenAiError),
        (status = 504, description = "The model took too long (E602, E606)", body = OpenAiError),
    )
)]
pub async fn post(
    allowed: Allowed<may::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    body: Json<ChatRequest>,
) -> Result<HttpResponse, Problem> {
    let asked = body.into_inner().validate()?;
    let to = Addressed::by(&allowed, &state, &request, asked.generate.model.as_deref()).await?;
    let caller = allowed.on_behalf_of(asked.user)?.caller;
    let generate = crate::engine::StepRequest { model: to.model.clone(), ..asked.generate };
    if asked.streams {
        let model = to.model.unwrap_or_else(|| state.models.default.clone());
        let chunks = Chunks {
            id: id(&caller.request_id),
            created: clock::now_micros() / 1_000_000,
            model,
            include_usage: asked.include_usage,
            refusal: state.refusal,
        };
        return stream::step(&state, to.engine, caller, generate, chunks).await;
    }
    governance::answer::<ChatCompletion>(&state, to.engine, caller, generate).await
}

/// The error body of `OpenAI`'s API.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiError {
    #[schema(value_type = Object)]
    error: serde_json::Value,
}

impl From<&Answer> for ChatCompletion {
    fn from(answer: &Answer) -> Self {
        Self {
            id: id(&answer.request_id),
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

/// No text beside tool calls is no text at all.
fn content(answer: &Answer) -> Option<String> {
    let none = answer.response.is_empty() && !answer.tool_calls.is_empty();
    (!none).then(|| answer.response.clone())
}

fn finish_reason(answer: &Answer) -> String {
    match answer.refusal() {
        Some(RejectReason::Moral | RejectReason::Sleep) => "content_filter".to_owned(),
        None => answer.finish_reason.clone(),
    }
}

fn id(request_id: &str) -> String {
    format!("chatcmpl-{request_id}")
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
