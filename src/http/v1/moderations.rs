//! `POST /v1/moderations`: scores texts with the scorer of an engine, in the dialect of `OpenAI`.
//!
//! Runs no step: nothing is recorded or remembered, and the threshold does not adapt. The only category
//! is `mlsdm/moral`; the scorer does not know the categories of `OpenAI`.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    domain::policy::Policy,
    engine::Engine,
    http::{
        AppState, Code, Problem,
        access::{Authorized, permission},
        body::JsonBody,
        engine::EngineCall,
        problem::responses::ModerationProblems,
    },
    score,
};

/// Upper bound of the texts of a request.
const INPUTS_MAX: usize = 256;

/// The name of the only category.
const CATEGORY: &str = "mlsdm/moral";

/// A request for moderation.
#[derive(Deserialize, ToSchema)]
pub struct ModerationRequest {
    /// A string, or a list of up to 256 strings.
    #[schema(value_type = Object)]
    input: Value,
    /// `engine/model` selects an engine. The scorer is always that of the engine.
    model: Option<String>,
}

/// Results in the order of the texts.
#[derive(Debug, Serialize, ToSchema)]
pub struct Moderation {
    id: String,
    /// The scorer and its version.
    model: String,
    results: Vec<ModerationResult>,
}

/// The result for one text.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModerationResult {
    /// True if a step with this prompt would be rejected now.
    flagged: bool,
    #[schema(value_type = Object)]
    categories: Map<String, Value>,
    /// 1 minus the moral score: 1 is harmful.
    #[schema(value_type = Object)]
    category_scores: Map<String, Value>,
    /// Moral score, and the caller's moral threshold.
    #[schema(value_type = Object)]
    mlsdm: Value,
}

/// Score texts (`OpenAI` dialect).
///
/// Uses the scorer of the engine and the caller's moral threshold. Runs no step and records nothing.
#[utoipa::path(
    post,
    path = "/v1/moderations",
    tag = "compatible",
    request_body = ModerationRequest,
    responses(
        (status = 200, description = "One result per text, in the order of the texts", body = Moderation),
        ModerationProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
    JsonBody(body): JsonBody<ModerationRequest>,
) -> Result<Json<Moderation>, Problem> {
    let texts = texts(&body.input, INPUTS_MAX)?;
    let model = body.model.as_deref();
    let (call, _) = EngineCall::for_model(authorized, &state, &request, model).await?;
    let threshold = call.engine.state(call.subject()).await?.moral_threshold;
    moderate(&call.engine, &call.caller.id, &texts, threshold).map(Json)
}

fn moderate(
    engine: &Engine,
    id: &str,
    texts: &[&str],
    threshold: f64,
) -> Result<Moderation, Problem> {
    let view = engine.view();
    let policy: &Policy = &view.state.policy;
    let mut model = String::new();
    let mut results = Vec::with_capacity(texts.len());
    for text in texts {
        let scored = score::score(policy.moral.scorer, text).ok_or_else(|| {
            let detail =
                "this engine has no scorer (policy.moral.scorer = none); set one in its policy";
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
    Ok(Moderation { id: format!("modr-{id}"), model, results })
}

/// The texts of `input`.
pub(super) fn texts(input: &Value, max: usize) -> Result<Vec<&str>, Problem> {
    let texts: Option<Vec<&str>> = match input {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    let detail = format!("input must be a string or a list of 1 to {max} strings");
    texts
        .filter(|texts| (1..=max).contains(&texts.len()))
        .ok_or_else(|| Problem::new(Code::BadField, detail))
}
