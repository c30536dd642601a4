//! `POST /v1/generate`: a governed step.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web::Data};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{confidence::is_blank, policy::MemoryMode},
    engine::{Answer, StepRequest},
    http::{
        AppState, Code, Problem, access::permission, access_log, body::JsonBody, draining,
        engine::EngineCall, governance, problem::responses::StepProblems, stream,
    },
    llm::{Delta, LimitField, TokenLimit},
};

use super::{bounds, memory};

/// Longest prompt, in characters.
const PROMPT_MAX: usize = 10_000;
/// Upper bound of `max_tokens`.
const MAX_TOKENS_MAX: i64 = 4_096;

/// A request for a governed step.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// The prompt: 1 to 10,000 characters, not blank.
    #[schema(min_length = 1, max_length = 10_000, example = "My dog is called Rex.")]
    prompt: String,
    /// The caller's moral score of the prompt, from 0 (harmful) to 1 (harmless). The engine's policy
    /// decides how it is weighted.
    #[schema(minimum = 0.0, maximum = 1.0, example = 0.8)]
    moral_value: Option<f64>,
    /// Upper bound of the answer's tokens. The engine's phase may lower it.
    #[schema(minimum = 1, maximum = 4096)]
    max_tokens: Option<i64>,
    /// Upper bound of the memories in the context.
    #[schema(minimum = 0, maximum = 20, default = 5)]
    context_top_k: Option<i64>,
    /// Stream the answer as server-sent events: `delta` with a piece of the text each, then `done` with
    /// the complete answer or `error` with a problem.
    #[serde(default)]
    stream: bool,
    /// The use of the memory: `full` (search it and be remembered), `recall` (search it) or `off`. The
    /// policy may allow less.
    #[schema(value_type = Option<String>)]
    memory: Option<MemoryMode>,
    /// Up to 16 entries that are encrypted and stored with the prompt.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Run a governed step.
///
/// Scores the prompt against the engine's moral threshold, adds remembered context, asks the model and
/// remembers the exchange. The step is in the event log before the answer is returned; `position` and
/// `chain_hash` are its receipt. A rejected prompt is an answer with status 200 and `accepted` false.
#[utoipa::path(
    post,
    path = "/v1/generate",
    tag = "steps",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe: within seven days, a request with the same key and body gets the answer of the first"),
        ("X-MLSDM-Memory" = Option<String>, Header, description = "The use of the memory: `full`, `recall` or `off`; default: `full`"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "The data subject of the prompt, 1 to 512 bytes; default: the caller"),
    ),
    request_body = GenerateRequest,
    responses(
        (status = 200, description = "The step was completed or rejected; with `stream`, server-sent events", content((Answer = "application/json"), (stream::StreamEvent = "text/event-stream"))),
        StepProblems,
    )
)]
pub async fn post(
    call: EngineCall<permission::Generate>,
    state: Data<AppState>,
    head: HttpRequest,
    JsonBody(body): JsonBody<GenerateRequest>,
) -> Result<HttpResponse, Problem> {
    let stream = body.stream;
    let mut request = body.validate()?;
    request.memory = Some(memory::mode(&head, request.memory, MemoryMode::Full)?);
    let EngineCall { engine, caller, .. } = call.on_behalf_of(None, &state.end_users)?;
    if stream {
        return stream::step(&state, engine, caller, request, Frames).await;
    }
    let step = engine.start(&state.tasks, caller, request, None);
    let step = draining::outcome(&state.stop, step).await?;
    let mut response = HttpResponse::Ok();
    governance::set_replayed(&mut response, &step);
    let mut response = response.json(&step.answer);
    access_log::record_step(&mut response, &step.answer);
    Ok(response)
}

/// Writes the events `delta`, `done` and `error`.
struct Frames;

/// The data of the event `delta`.
#[derive(Serialize)]
struct Piece<'a> {
    text: &'a str,
}

impl stream::Dialect for Frames {
    fn begin(&mut self, _id: &str) {}

    fn piece(&mut self, piece: &Delta) -> String {
        match piece {
            Delta::Text(text) => stream::named("delta", &Piece { text }),
            // this route has no dialect and passes no tools to the model
            Delta::Begun | Delta::Reasoning(_) | Delta::ToolCall { .. } | Delta::Native(_) => {
                String::new()
            }
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        stream::named("done", answer)
    }

    fn fail(&mut self, problem: &Problem) -> String {
        stream::named("error", &problem.event_body())
    }
}

impl GenerateRequest {
    fn validate(self) -> Result<StepRequest, Problem> {
        if is_blank(&self.prompt) {
            return Err(Problem::new(
                Code::PromptBlank,
                "the prompt has no text; send at least one word",
            ));
        }
        if self.prompt.chars().count() > PROMPT_MAX {
            let detail = format!("the prompt is longer than {PROMPT_MAX} characters; shorten it");
            return Err(Problem::new(Code::PromptTooLong, detail));
        }
        bounds::metadata(&self.metadata)?;
        Ok(StepRequest {
            prompt: self.prompt.into(),
            moral_value: bounds::moral_value(self.moral_value)?,
            max_tokens: bounds::max_tokens(self.max_tokens, LimitField::MaxTokens, MAX_TOKENS_MAX)?
                .map(|limit| TokenLimit { field: None, ..limit }),
            context_top_k: bounds::context_top_k(self.context_top_k)?,
            memory: self.memory,
            metadata: self.metadata,
            ..StepRequest::default()
        })
    }
}
