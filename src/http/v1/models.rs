//! `GET /v1/models` and `/v1/models/{model}`: the models that requests may name, in the dialect of
//! `OpenAI`.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{
    AppState, Code, Problem,
    access::{Authorized, permission},
    engine::engine_in_path,
    problem::responses::{ModelListProblems, ModelProblems},
};

/// Models that requests may name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Model {
    /// Name of the model. As `engine/name` it also selects the engine.
    id: String,
    object: &'static str,
    /// Start time of this server, in seconds since the Unix epoch.
    created: i64,
    owned_by: &'static str,
}

impl Model {
    fn new(id: &str, state: &AppState) -> Self {
        Self {
            id: id.to_owned(),
            object: "model",
            created: state.started / 1_000_000,
            owned_by: state.engines.parts().llm.provider(),
        }
    }
}

/// List models (`OpenAI` dialect).
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
    let data = names.map(|name| Model::new(name, &state)).collect();
    Ok(Json(ModelList { object: "list", data }))
}

/// Get a model (`OpenAI` dialect).
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
    let known = state.models.contains(name).then(|| Json(Model::new(name, &state)));
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
