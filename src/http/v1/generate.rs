//! POST /v1/generate

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    domain::{confidence::is_blank, event::RejectReason},
    engine::{Answer, Generate},
    http::{
        AppState, Code, Problem,
        caller::{Caller, Loaded},
        problem::ProblemBody,
    },
};

/// Longest prompt, in characters.
const PROMPT_MAX: usize = 10_000;
/// Most tokens that may be asked for.
const MAX_TOKENS_MAX: i64 = 4_096;
/// Most memories that may be asked for.
const TOP_K_MAX: i64 = 20;
/// Most notes of the caller's own.
const METADATA_MAX: usize = 16;
/// Longest name and longest text of a note, in characters.
const METADATA_NAME_MAX: usize = 64;
const METADATA_TEXT_MAX: usize = 512;

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
    /// Whether to stream the answer; not built yet.
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
        (status = 200, description = "Completed, or rejected (accepted = false)", body = Answer),
        (status = 400, description = "Bad input (E1xx), or a model without a price under a cost budget (E507)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine (E408)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The first request with this Idempotency-Key still runs (E405)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "The earlier answer was erased (E407)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (E904)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json (E903)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "This Idempotency-Key was used with another body (E406)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "The data subject's budget is spent; Retry-After says when the next window begins (E505)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 501, description = "Streaming is not built yet (E113)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "The model or the embedder failed (E601, E603, E604)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Shut down, draining, the log is unavailable, or no room for another budget (E4xx, E506, E7xx)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "The model took too long (E602, E606)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    state: Data<AppState>,
    caller: Caller,
    body: Json<GenerateRequest>,
    engine: Loaded,
) -> Result<HttpResponse, Problem> {
    let request = body.into_inner().validate()?;
    let told = engine.0.start(&state.tasks, caller.0, request, None).told().await?;
    let mut response = HttpResponse::Ok();
    if told.replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    let refusal = told.answer.refusal();
    let mut response = response.json(told.answer);
    if let Some(reason) = refusal {
        // the access line names it, though the status is 200
        response.extensions_mut().insert(match reason {
            RejectReason::Moral => Code::MoralRefusal,
            RejectReason::Sleep => Code::SleepRefusal,
        });
    }
    Ok(response)
}

impl GenerateRequest {
    fn validate(self) -> Result<Generate, Problem> {
        if self.stream {
            let detail = "send \"stream\": false; the whole answer comes at once";
            return Err(Problem::new(Code::NoStreaming, detail));
        }
        if is_blank(&self.prompt) {
            return Err(Problem::new(Code::PromptBlank, "send a prompt with some text"));
        }
        if self.prompt.chars().count() > PROMPT_MAX {
            let detail = format!("a prompt may have at most {PROMPT_MAX} characters");
            return Err(Problem::new(Code::PromptTooLong, detail));
        }
        if self.moral_value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            let detail = "moral_value must be between 0 and 1";
            return Err(Problem::new(Code::MoralValueRange, detail));
        }
        let max_tokens =
            bounded(self.max_tokens, 1, MAX_TOKENS_MAX, Code::MaxTokensRange, "max_tokens")?;
        let top_k =
            bounded(self.context_top_k, 0, TOP_K_MAX, Code::ContextTopKRange, "context_top_k")?;
        check_metadata(&self.metadata)?;
        Ok(Generate {
            prompt: self.prompt,
            moral_value: self.moral_value,
            max_tokens: max_tokens.map(|n| n as u32),
            context_top_k: top_k.map(|n| n as usize),
            metadata: self.metadata,
            ..Generate::default()
        })
    }
}

fn bounded(
    value: Option<i64>,
    min: i64,
    max: i64,
    code: Code,
    name: &str,
) -> Result<Option<i64>, Problem> {
    if value.is_none_or(|value| (min..=max).contains(&value)) {
        return Ok(value);
    }
    Err(Problem::new(code, format!("{name} must be between {min} and {max}")))
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Problem> {
    let short = metadata.iter().all(|(name, text)| {
        (1..=METADATA_NAME_MAX).contains(&name.chars().count())
            && text.chars().count() <= METADATA_TEXT_MAX
    });
    if metadata.len() <= METADATA_MAX && short {
        return Ok(());
    }
    let detail = format!(
        "metadata may have at most {METADATA_MAX} entries, names of 1 to {METADATA_NAME_MAX} and \
         texts of up to {METADATA_TEXT_MAX} characters"
    );
    Err(Problem::new(Code::BadMetadata, detail))
}
