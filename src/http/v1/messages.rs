//! `POST /v1/messages`: a governed step in the dialect of Anthropic, for its clients.
//!
//! The text of the user after the last answer is the prompt, as on `/v1/chat/completions`.

pub mod count_tokens;
mod events;
mod request;
mod response;

use actix_web::{HttpRequest, HttpResponse, web::Data};

use crate::{
    domain::policy::MemoryMode,
    engine::StepRequest,
    http::{
        AppState, Problem,
        access::{Authorized, permission},
        body::JsonBody,
        engine::EngineCall,
        governance,
        problem::responses::MessagesProblems,
        stream,
        v1::memory,
    },
};
use events::Events;
pub use request::MessagesRequest;
use request::ParsedRequest;
pub use response::AnthropicMessage;

/// Run a governed step (Anthropic dialect).
///
/// The text of the user after the last answer is the prompt. A moral rejection is an answer with the stop reason
/// `refusal`, or an error if `api.refusal` is `error`. Fields that are not documented here are passed to
/// the model.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "compatible",
    params(
        ("X-MLSDM-Engine" = Option<String>, Header, description = "Id of the engine; an alternative is `engine/model` in the field `model`"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "The data subject of the prompt, 1 to 512 bytes; an alternative is the field `metadata.user_id`"),
        ("X-MLSDM-Memory" = Option<String>, Header, description = "The use of the memory: `full`, `recall` or `off`; default: `recall` with tools, else `full`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe: within seven days, a request with the same key and body gets the answer of the first"),
    ),
    request_body = MessagesRequest,
    responses(
        (status = 200, description = "The answer; with `stream`, server-sent events with names", content((AnthropicMessage = "application/json"), (stream::StreamEvent = "text/event-stream"))),
        MessagesProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    JsonBody(body): JsonBody<MessagesRequest>,
) -> Result<HttpResponse, Problem> {
    let ParsedRequest { generate, user, stream, has_tools } = body.validate(&request, &state)?;
    let model = generate.model.as_deref();
    let (call, model) = EngineCall::for_model(authorized, &state, &request, model).await?;
    let EngineCall { engine, caller, .. } = call.on_behalf_of(user, &state.end_users)?;
    let default = if has_tools { MemoryMode::Recall } else { MemoryMode::Full };
    let memory = Some(memory::mode(&request, generate.memory, default)?);
    let generate = StepRequest { model: model.clone(), memory, ..generate };
    if stream {
        let model = model.unwrap_or_else(|| state.models.default.clone());
        let events = Events::new(model, state.refusal);
        return stream::step(&state, engine, caller, generate, events).await;
    }
    governance::answer(&state, engine, caller, generate, response::body).await
}
