//! `POST /v1/completions`: the older route of `OpenAI`'s API, for texts alone. The prompt is a chat of one
//! message, so everything else is as on `/v1/chat/completions`.

mod chunks;
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
        problem::responses::ChatProblems,
        stream,
        v1::{chat::completions::ParsedRequest, memory},
    },
};
use chunks::TextChunks;
pub use request::CompletionRequest;
pub use response::TextCompletion;

/// Run a governed step (`OpenAI` dialect, older route).
///
/// The prompt is a text. Use `/v1/chat/completions` for chats and tools.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "compatible",
    params(
        ("X-MLSDM-Engine" = Option<String>, Header, description = "Id of the engine; an alternative is `engine/model` in the field `model`"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "The data subject of the prompt; has priority over the field `user`"),
        ("X-MLSDM-Memory" = Option<String>, Header, description = "The use of the memory: `full`, `recall` or `off`; default: `full`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe: within seven days, a request with the same key and body gets the answer of the first"),
    ),
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The answer; with `stream`, server-sent events with chunks", content((TextCompletion = "application/json"), (stream::StreamEvent = "text/event-stream"))),
        ChatProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    JsonBody(body): JsonBody<CompletionRequest>,
) -> Result<HttpResponse, Problem> {
    let chat = body.into_chat()?;
    let ParsedRequest { generate, user, stream, include_usage } =
        chat.validate(&request, &state)?;
    let model = generate.model.as_deref();
    let (call, model) = EngineCall::for_model(authorized, &state, &request, model).await?;
    let EngineCall { engine, caller, .. } = call.on_behalf_of(user, &state.end_users)?;
    let memory = Some(memory::mode(&request, generate.memory, MemoryMode::Full)?);
    let generate = StepRequest { model: model.clone(), memory, ..generate };
    if stream {
        let model = model.unwrap_or_else(|| state.models.default.clone());
        let chunks = TextChunks::new(model, include_usage, state.refusal);
        return stream::step(&state, engine, caller, generate, chunks).await;
    }
    governance::answer(&state, engine, caller, generate, response::body).await
}
