//! POST /v1/moderations
//!
//! What the engine's scorer thinks of texts, without a step: nothing is recorded, remembered or
//! adapted. There is one category, this server's own: the scorer gives no opinion on those of `OpenAI`.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::chat::completions::OpenAiError;
use crate::{
    domain::policy::Policy,
    engine::Engine,
    http::{
        AppState, Code, Problem,
        access::{Allowed, may},
        caller::Addressed,
    },
    score,
};

/// Most texts of one request.
const INPUTS_MAX: usize = 256;

/// The category, in both lists of a result.
const CATEGORY: &str = "mlsdm/moral";

/// Texts to judge.
#[derive(Deserialize, ToSchema)]
pub struct ModerationRequest {
    /// A text, or a list of at most 256.
    #[schema(value_type = Object)]
    input: Value,
    /// `engine/model` names an engine; the scorer is the engine's.
    model: Option<String>,
}

/// The judgement, in the dialect of `OpenAI`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Moderation {
    id: String,
    /// The scorer with its version.
    model: String,
    results: Vec<ModerationResult>,
}

/// The judgement on one text.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModerationResult {
    /// Whether a step with this prompt would be refused now.
    flagged: bool,
    #[schema(value_type = Object)]
    categories: Map<String, Value>,
    /// 1 minus the moral score: 1 is harmful.
    #[schema(value_type = Object)]
    category_scores: Map<String, Value>,
    /// The score in this server's own terms, and the asker's threshold.
    #[schema(value_type = Object)]
    mlsdm: Value,
}

/// Scores texts without running a step.
#[utoipa::path(
    post,
    path = "/v1/moderations",
    tag = "compatible",
    request_body = ModerationRequest,
    responses(
        (status = 200, description = "A result for each text", body = Moderation),
        (status = 400, description = "Bad input (E1xx), or the engine has no scorer (E111)", body = OpenAiError),
        (status = 404, description = "No such engine (E408)", body = OpenAiError),
        (status = 413, description = "The body is too large (E904)", body = OpenAiError),
        (status = 415, description = "Not application/json (E903)", body = OpenAiError),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = OpenAiError),
    )
)]
pub async fn post(
    allowed: Allowed<may::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    body: Json<ModerationRequest>,
) -> Result<Json<Moderation>, Problem> {
    let body = body.into_inner();
    let texts = texts(&body.input, INPUTS_MAX)?;
    let to = Addressed::by(&allowed, &state, &request, body.model.as_deref()).await?;
    let threshold = to.engine.state(allowed.subject()).await?.moral_threshold;
    judge(&to.engine, &allowed.caller.request_id, &texts, threshold).map(Json)
}

fn judge(
    engine: &Engine,
    request_id: &str,
    texts: &[&str],
    threshold: f64,
) -> Result<Moderation, Problem> {
    let view = engine.view();
    let policy: &Policy = &view.state.policy;
    let mut model = String::new();
    let mut results = Vec::with_capacity(texts.len());
    for text in texts {
        let scored = score::score(policy.moral.scorer, text).ok_or_else(|| {
            let detail = "this engine has no scorer (policy.moral.scorer = none)";
            Problem::new(Code::MoralValueRequired, detail)
        })?;
        let flagged = scored.value < threshold;
        let named = |value: Value| Map::from_iter([(CATEGORY.to_owned(), value)]);
        results.push(ModerationResult {
            flagged,
            categories: named(json!(flagged)),
            category_scores: named(json!(1.0 - scored.value)),
            mlsdm: json!({
                "moral_score": scored.value, "moral_threshold": threshold, "parts": scored.parts,
            }),
        });
        model = format!("{}-{}", scored.id, scored.version);
    }
    Ok(Moderation { id: format!("modr-{request_id}"), model, results })
}

/// A text or a list of texts.
pub(super) fn texts(input: &Value, max: usize) -> Result<Vec<&str>, Problem> {
    let texts: Option<Vec<&str>> = match input {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    let detail = format!("input must be a text or a list of 1 to {max} texts");
    texts
        .filter(|texts| (1..=max).contains(&texts.len()))
        .ok_or_else(|| Problem::new(Code::BadField, detail))
}
