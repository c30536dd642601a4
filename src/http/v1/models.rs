//! `GET /v1/models` and `/v1/models/{model}`: the models that requests may name, with the fields of both
//! dialects.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clock,
    http::{
        AppState, Code, Problem,
        access::{Authorized, permission},
        engine::{CONFIGURED, engine_in_path},
        problem::responses::{ModelListProblems, ModelProblems},
    },
};

/// Models that requests may name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    object: &'static str,
    data: Vec<Model>,
    /// Always false: the list is complete.
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Model {
    /// Name of the model. As `engine/name` it also selects the engine.
    id: String,
    object: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    display_name: String,
    /// Start time of this server (RFC 3339).
    created_at: String,
    /// Start time of this server, in seconds since the Unix epoch.
    created: i64,
    /// The provider that has the model.
    owned_by: &'static str,
    /// The size of the context in tokens, if it is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_window: Option<u32>,
}

impl Model {
    fn new(id: &str, state: &AppState) -> Self {
        let llm = &state.engines.parts().llm;
        let rule = llm.rule(id);
        Self {
            id: id.to_owned(),
            object: "model",
            kind: "model",
            display_name: id.to_owned(),
            created_at: clock::rfc3339(state.started),
            created: state.started / 1_000_000,
            owned_by: rule.and_then(|rule| rule.provider).unwrap_or_else(|| llm.provider()),
            context_window: rule.and_then(|rule| rule.context_window),
        }
    }
}

/// List models.
///
/// Returns the models that requests may name, the configured model first.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "compatible",
    responses(
        (status = 200, description = "The models", body = ModelList),
        ModelListProblems,
    )
)]
pub async fn list(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<Json<ModelList>, Problem> {
    check_engine(&authorized, &state, &request).await?;
    let names = state.models.all();
    let data: Vec<Model> = names.map(|name| Model::new(name, &state)).collect();
    let id = |model: Option<&Model>| model.map(|model| model.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(Json(ModelList { object: "list", data, has_more: false, first_id, last_id }))
}

/// Get a model.
///
/// Returns a model that requests may name.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "compatible",
    params(("model" = String, Path, description = "Name of the model, which may contain slashes")),
    responses(
        (status = 200, description = "The model", body = Model),
        ModelProblems,
    )
)]
pub async fn get(
    authorized: Authorized<permission::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<Json<Model>, Problem> {
    check_engine(&authorized, &state, &request).await?;
    let name = request.match_info().query("model");
    let is_known = name == CONFIGURED || state.models.contains(name);
    let known = is_known.then(|| Json(Model::new(name, &state)));
    let detail = "requests may not name this model; GET /v1/models lists the allowed models";
    known.ok_or_else(|| Problem::new(Code::ModelNotFound, detail))
}

/// All engines have the same models, but a request for an engine that the caller cannot see is
/// answered with 404.
async fn check_engine(
    authorized: &Authorized<permission::Generate>,
    state: &AppState,
    request: &HttpRequest,
) -> Result<(), Problem> {
    if request.match_info().get("engine").is_some() {
        engine_in_path(&authorized.principal, state, request).await?;
    }
    Ok(())
}
