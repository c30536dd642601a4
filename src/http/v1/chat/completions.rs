//! `POST /v1/chat/completions`: a governed step in the dialect of `OpenAI`, for its clients.
//!
//! The text of the user after the last answer is the prompt: it is scored, embedded and remembered (see
//! `llm::turn`). The model gets all messages, with the remembered context directly before the prompt.
//! Unknown fields are passed to a provider of the same dialect.

mod chunks;
pub(in crate::http::v1) mod request;
mod response;

use actix_web::{HttpRequest, HttpResponse, web::Data};

#[cfg(feature = "tools")]
use crate::config::MoralRefusal;
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
        v1::memory,
    },
};
use chunks::Chunks;
pub use request::ChatRequest;
pub(in crate::http::v1) use request::ParsedRequest;
pub use response::ChatCompletion;
pub(in crate::http::v1) use response::Usage;

/// Writes the frames of a stream, for the benchmark.
#[cfg(feature = "tools")]
pub(crate) fn frames(model: &str) -> impl stream::Dialect {
    Chunks::new(model.to_owned(), false, MoralRefusal::Answer)
}

/// Run a governed step (`OpenAI` dialect).
///
/// The text of the user after the last answer is the prompt. A moral rejection is an answer with the finish
/// reason `content_filter`, or an error if `api.refusal` is `error`. Fields that are not documented here
/// are passed to the model.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "compatible",
    params(
        ("X-MLSDM-Engine" = Option<String>, Header, description = "Id of the engine; an alternative is `engine/model` in the field `model`"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "The data subject of the prompt, 1 to 512 bytes; an alternative is the field `user`"),
        ("X-MLSDM-Memory" = Option<String>, Header, description = "The use of the memory: `full`, `recall` or `off`; default: `full`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe: within seven days, a request with the same key and body gets the answer of the first"),
    ),
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer; with `stream`, server-sent events with chunks", content((ChatCompletion = "application/json"), (stream::StreamEvent = "text/event-stream"))),
        ChatProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    JsonBody(body): JsonBody<ChatRequest>,
) -> Result<HttpResponse, Problem> {
    let ParsedRequest { generate, user, stream, include_usage } =
        body.validate(&request, &state)?;
    let model = generate.model.as_deref();
    let (call, model) = EngineCall::for_model(authorized, &state, &request, model).await?;
    let EngineCall { engine, caller, .. } = call.on_behalf_of(user, &state.end_users)?;
    let memory = Some(memory::mode(&request, generate.memory, MemoryMode::Full)?);
    let generate = StepRequest { model: model.clone(), memory, ..generate };
    if stream {
        let model = model.unwrap_or_else(|| state.models.default.clone());
        let chunks = Chunks::new(model, include_usage, state.refusal);
        return stream::step(&state, engine, caller, generate, chunks).await;
    }
    governance::answer(&state, engine, caller, generate, response::body).await
}
