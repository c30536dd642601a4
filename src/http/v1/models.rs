//! GET /v1/models, /v1/models/{model}

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::chat::completions::OpenAiError;
use crate::http::{
    AppState, Code, Problem,
    access::{Allowed, may},
    caller::Loaded,
};

/// The models that requests may name, in the dialect of `OpenAI`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

/// One model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Model {
    /// Its name; `engine/name` asks it as part of another engine's step.
    id: String,
    object: &'static str,
    /// When this server started, in seconds.
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

/// The models that requests may name: the configured one first.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "compatible",
    responses(
        (status = 200, description = "The models", body = ModelList),
        (status = 400, description = "Bad engine id (E109)", body = OpenAiError),
        (status = 404, description = "No such engine (E408)", body = OpenAiError),
    )
)]
pub async fn list(
    allowed: Allowed<may::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<Json<ModelList>, Problem> {
    is_of_caller(&allowed, &state, &request).await?;
    let names = state.models.all();
    let data = names.map(|name| Model::new(name, &state)).collect();
    Ok(Json(ModelList { object: "list", data }))
}

/// One model by name.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "compatible",
    params(("model" = String, Path, description = "Its name, which may have slashes")),
    responses(
        (status = 200, description = "The model", body = Model),
        (status = 400, description = "Bad engine id (E109)", body = OpenAiError),
        (status = 404, description = "No such model or engine (E408, E901)", body = OpenAiError),
    )
)]
pub async fn get(
    allowed: Allowed<may::Generate>,
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<Json<Model>, Problem> {
    is_of_caller(&allowed, &state, &request).await?;
    let name = request.match_info().query("model");
    let known = state.models.knows(name).then(|| Json(Model::new(name, &state)));
    let detail = "no such model; GET /v1/models lists them";
    known.ok_or_else(|| Problem::new(Code::NotFound, detail))
}

/// All engines have the same models; but an engine that does not exist for the caller has none.
async fn is_of_caller(
    allowed: &Allowed<may::Generate>,
    state: &AppState,
    request: &HttpRequest,
) -> Result<(), Problem> {
    if request.match_info().get("engine").is_some() {
        Loaded::of(allowed, state, request).await?;
    }
    Ok(())
}
