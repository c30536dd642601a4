//! POST /v1/messages
//!
//! A governed step in the dialect of Anthropic: its clients work unchanged. The prompt is the text of
//! the last message of role `user`, as on `/v1/chat/completions`.

mod events;
mod request;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    engine::{Answer, StepRequest},
    http::{
        AppState, Problem,
        access::{Allowed, may},
        caller::Addressed,
        governance::{self, Governance},
        stream,
    },
    llm::ToolCall,
};
use events::Events;
pub use request::MessagesRequest;

/// An answer in the dialect of Anthropic.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnthropicMessage {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: String,
    #[schema(value_type = Vec<Object>)]
    content: Vec<Value>,
    /// `end_turn`, `max_tokens`, `tool_use`, or `refusal` for a moral refusal.
    stop_reason: &'static str,
    stop_sequence: Option<String>,
    usage: MessagesUsage,
    /// What governed the step.
    mlsdm: Governance,
}

/// Tokens, as the provider counted them.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct MessagesUsage {
    input_tokens: u64,
    output_tokens: u64,
}

/// The error body of Anthropic's API.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnthropicError {
    #[serde(rename = "type")]
    kind: &'static str,
    #[schema(value_type = Object)]
    error: Value,
}

/// Runs one governed step, in the dialect of Anthropic. The prompt is the last message of role `user`.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "compatible",
    params(
        ("X-MLSDM-Engine" = Option<String>, Header, description = "The engine; `model` may name it too, as `engine/model`"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "Whose words the prompt is; counts more than `metadata.user_id`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request safe"),
    ),
    request_body = MessagesRequest,
    responses(
        (status = 200, description = "The answer; with `stream`, text/event-stream of named events. A moral refusal has stop_reason `refusal`", content((AnthropicMessage = "application/json"), (stream::StreamEvent = "text/event-stream"))),
        (status = 400, description = "Bad input (E1xx), a moral refusal where api.refusal is `error` (E302), or a model without a price under a cost budget (E507)", body = AnthropicError),
        (status = 404, description = "No such engine (E408)", body = AnthropicError),
        (status = 409, description = "The first request with this Idempotency-Key still runs (E405)", body = AnthropicError),
        (status = 410, description = "The earlier answer was erased (E407)", body = AnthropicError),
        (status = 413, description = "The body is too large (E904)", body = AnthropicError),
        (status = 415, description = "Not application/json (E903)", body = AnthropicError),
        (status = 422, description = "This Idempotency-Key was used with another body (E406)", body = AnthropicError),
        (status = 429, description = "The engine sleeps (E502), or the budget of the data subject or the API key is spent (E505)", body = AnthropicError),
        (status = 502, description = "The model or the embedder failed (E601, E603, E604)", body = AnthropicError),
        (status = 503, description = "Shut down, draining, or the log is unavailable (E4xx, E7xx)", body = AnthropicError),
        (status = 504, description = "The model took too long (E602, E606)", body = AnthropicError),
    )
)]
pub async fn post(
    allowed: Allowed<may::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    body: Json<MessagesRequest>,
) -> Result<HttpResponse, Problem> {
    let asked = body.into_inner().validate()?;
    let to = Addressed::by(&allowed, &state, &request, asked.generate.model.as_deref()).await?;
    let caller = allowed.on_behalf_of(asked.user)?.caller;
    let generate = StepRequest { model: to.model.clone(), ..asked.generate };
    if asked.streams {
        let model = to.model.unwrap_or_else(|| state.models.default.clone());
        let events = Events::new(id(&caller.request_id), model, state.refusal);
        return stream::step(&state, to.engine, caller, generate, events).await;
    }
    governance::answer::<AnthropicMessage>(&state, to.engine, caller, generate).await
}

impl From<&Answer> for AnthropicMessage {
    fn from(answer: &Answer) -> Self {
        Self {
            id: id(&answer.request_id),
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

fn id(request_id: &str) -> String {
    format!("msg_{request_id}")
}

fn content(answer: &Answer) -> Vec<Value> {
    let text = Some(&answer.response).filter(|text| !text.is_empty());
    let text = text.map(|text| json!({"type": "text", "text": text}));
    text.into_iter().chain(answer.tool_calls.iter().map(tool_use)).collect()
}

fn tool_use(call: &ToolCall) -> Value {
    // what is no JSON is passed on as the text it is
    let input = serde_json::from_str(&call.arguments)
        .unwrap_or_else(|_| Value::String(call.arguments.clone()));
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

fn stop_reason(answer: &Answer) -> &'static str {
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
