//! POST /v1/generate

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::confidence::is_blank,
    engine::{Answer, StepRequest},
    http::{
        AppState, Code, Problem,
        access::{Allowed, may},
        caller::Loaded,
        governance, line,
        problem::ProblemBody,
        stream,
    },
    llm::Delta,
};

use super::bounds;

/// Longest prompt, in characters.
const PROMPT_MAX: usize = 10_000;
/// Most tokens that may be asked for.
const MAX_TOKENS_MAX: i64 = 4_096;

/// A request to generate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// The prompt: 1 to 10,000 characters, not blank.
    #[schema(min_length = 1, max_length = 10_000, example = "My dog is called Rex.")]
    prompt: String,
    /// The caller's own moral score of the prompt, 0 (harmful) to 1 (harmless); the policy says what
    /// it counts for.
    #[schema(minimum = 0.0, maximum = 1.0, example = 0.8)]
    moral_value: Option<f64>,
    /// Most tokens of the answer; the phase may grant fewer.
    #[schema(minimum = 1, maximum = 4096)]
    max_tokens: Option<i64>,
    /// Most memories given as context.
    #[schema(minimum = 0, maximum = 20, default = 5)]
    context_top_k: Option<i64>,
    /// Whether to get the answer as it is made: server-sent events `delta` with a `text` each, then
    /// `done` with the whole answer, which is complete only then, or `error` with a problem.
    #[serde(default)]
    stream: bool,
    /// Notes of the caller's own, at most 16; sealed with the prompt.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Runs one governed step. It is recorded before the answer is complete; position and chain hash
/// are its receipt.
#[utoipa::path(
    post,
    path = "/v1/generate",
    tag = "steps",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request safe: it gets the first one's answer, for seven days"),
        ("X-MLSDM-End-User" = Option<String>, Header, description = "Whose words the prompt is, 1 to 128 characters"),
    ),
    request_body = GenerateRequest,
    responses(
        (status = 200, description = "Completed, or rejected (accepted = false); a text/event-stream if `stream` is true", content((Answer = "application/json"), (stream::StreamEvent = "text/event-stream"))),
        (status = 400, description = "Bad input (E1xx), or a model without a price under a cost budget (E507)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine (E408)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The first request with this Idempotency-Key still runs (E405)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "The earlier answer was erased (E407)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (E904)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json (E903)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "This Idempotency-Key was used with another body (E406)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "The budget of the data subject or the API key is spent; Retry-After says when the next window begins (E505)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "The model or the embedder failed (E601, E603, E604)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Shut down, draining, the log is unavailable, or no room for another budget (E4xx, E506, E7xx)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "The model took too long (E602, E606)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    allowed: Allowed<may::Generate>,
    state: Data<AppState>,
    body: Json<GenerateRequest>,
    engine: Loaded<may::Generate>,
) -> Result<HttpResponse, Problem> {
    let body = body.into_inner();
    let streams = body.stream;
    let request = body.validate()?;
    if streams {
        return stream::step(&state, engine.0, allowed.caller, request, Frames).await;
    }
    let told = engine.0.start(&state.tasks, allowed.caller, request, None).response().await?;
    let mut response = HttpResponse::Ok();
    governance::replayed(&mut response, &told);
    let mut response = response.json(&told.answer);
    line::note(&mut response, &told.answer);
    Ok(response)
}

/// `event: delta` with `{"text": …}` for each piece; then `event: done` with the whole answer, as it
/// is without `stream`, or `event: error` with a problem.
struct Frames;

/// A piece of the text.
#[derive(Serialize)]
struct Piece<'a> {
    text: &'a str,
}

impl stream::Dialect for Frames {
    fn begin(&mut self) -> String {
        String::new()
    }

    fn piece(&mut self, piece: &Delta) -> String {
        match piece {
            Delta::Text(text) => stream::named("delta", &Piece { text }),
            // this route offers no tools, so no model can call one
            Delta::ToolCall { .. } => String::new(),
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        stream::named("done", answer)
    }

    fn fail(&mut self, problem: &Problem) -> String {
        stream::named("error", &problem.bare_body())
    }
}

impl GenerateRequest {
    fn validate(self) -> Result<StepRequest, Problem> {
        if is_blank(&self.prompt) {
            return Err(Problem::new(Code::PromptBlank, "send a prompt with some text"));
        }
        if self.prompt.chars().count() > PROMPT_MAX {
            let detail = format!("a prompt may have at most {PROMPT_MAX} characters");
            return Err(Problem::new(Code::PromptTooLong, detail));
        }
        bounds::metadata(&self.metadata)?;
        Ok(StepRequest {
            prompt: self.prompt,
            moral_value: bounds::moral_value(self.moral_value)?,
            max_tokens: bounds::max_tokens(self.max_tokens, MAX_TOKENS_MAX)?,
            context_top_k: bounds::context_top_k(self.context_top_k)?,
            metadata: self.metadata,
            ..StepRequest::default()
        })
    }
}
