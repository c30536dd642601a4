//! `POST /v1/responses`: a governed step in the dialect of `OpenAI`'s Responses API, for its clients.
//!
//! The text of the last user turn is the prompt, as on `/v1/chat/completions`. A provider that has this
//! route gets the request as it is; for another one it is translated.

mod echo;
mod events;
mod history;
mod items;
mod output;
mod request;
mod response;
pub mod stored;

use actix_web::{HttpRequest, HttpResponse, web::Data};

use crate::{
    engine::StepRequest,
    http::{
        AppState, Problem,
        access::{Authorized, permission},
        body::JsonBody,
        engine::EngineCall,
        governance,
        problem::responses::ResponsesProblems,
        stream,
        v1::memory,
    },
};
use events::Events;
use history::History;
pub use request::ResponsesRequest;
pub use response::ResponseBody;

/// Run a governed step (`OpenAI` Responses dialect).
///
/// The last message of the user is the prompt. A moral rejection is a response with a part of type
/// `refusal`, or an error if `api.refusal` is `error`. A provider that has this route gets the request
/// as it is; for another provider it is translated, and hints without a form there are left out and
/// named in `mlsdm.dropped`.
#[utoipa::path(
    post,
    path = "/v1/responses",
    tag = "compatible",
    params(
        ("X-MLSDM-Engine" = Option<String>, Header, description = "Id of the engine; an alternative is `engine/model` in the field `model`"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "The data subject of the prompt; has priority over the field `user`"),
        ("X-MLSDM-Memory" = Option<String>, Header, description = "The use of the memory: `full`, `recall` or `off`; default: `recall` with tools, else `full`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe: within seven days, a request with the same key and body gets the answer of the first"),
    ),
    request_body = ResponsesRequest,
    responses(
        (status = 200, description = "The response; with `stream`, server-sent events with names", content((ResponseBody = "application/json"), (stream::StreamEvent = "text/event-stream"))),
        ResponsesProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    JsonBody(body): JsonBody<ResponsesRequest>,
) -> Result<HttpResponse, Problem> {
    let mut parsed = body.validate(&request, &state.engines.parts().llm)?;
    let model = parsed.model.as_deref();
    let (call, model) = EngineCall::for_model(authorized, &state, &request, model).await?;
    let EngineCall { engine, caller, .. } =
        call.on_behalf_of(parsed.user.clone(), &state.end_users)?;
    let (echo, stream) = (parsed.echo(), parsed.stream);
    let mut history = History::new(&engine, &caller);
    let earlier = match &parsed.previous {
        Some(id) => history.continued(id).await?,
        None => Vec::new(),
    };
    history.resolve(&mut parsed.messages).await?;
    let memory = Some(memory::mode(&request, parsed.step.memory, parsed.default_memory())?);
    let step = parsed.step(earlier, &state.blocks)?;
    let step = StepRequest { model: model.clone(), memory, ..step };
    if stream {
        let model = model.unwrap_or_else(|| state.models.default.clone());
        let events = Events::new(model, echo, state.refusal);
        return stream::step(&state, engine, caller, step, events).await;
    }
    governance::answer(&state, engine, caller, step, |answer| response::body(answer, &echo)).await
}
