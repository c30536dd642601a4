//! `GET` and `POST /v1/engines`: lists and creates engines.

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{ids::EngineId, policy::Policy},
    http::{
        AppState, Code, Problem,
        access::{Authorized, permission},
        body::JsonBody,
        problem::responses::{EngineListProblems, EngineProblems},
    },
};

/// Engines that the caller can see.
#[derive(Debug, Serialize, ToSchema)]
pub struct EngineList {
    /// Sorted by id.
    engines: Vec<EngineSummary>,
}

/// An engine.
#[derive(Debug, Serialize, ToSchema)]
pub struct EngineSummary {
    /// Id of the engine.
    engine_id: String,
    /// Time of creation, RFC 3339.
    created_at: String,
    /// Format version of its event log.
    log_format: u32,
    /// Position of its last event.
    position: u64,
    /// Chain hash at that position, hexadecimal.
    chain_hash: String,
    /// True if this replica has loaded the engine.
    loaded: bool,
}

/// A request to create an engine.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEngine {
    /// Id of the engine: 1 to 64 characters of a-z, 0-9, '-' and '_'.
    #[schema(example = "support")]
    engine_id: String,
    /// Fields of the policy that differ from the server's configuration.
    #[schema(value_type = Option<Object>)]
    policy: Option<serde_json::Value>,
}

/// A created engine.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedEngine {
    /// Id of the engine.
    engine_id: String,
    /// Position of the event `engine.created`.
    position: u64,
    /// Chain hash at that position, hexadecimal.
    chain_hash: String,
}

/// List engines.
///
/// Returns all engines that the caller can see, whether or not they are loaded.
#[utoipa::path(
    get,
    path = "/v1/engines",
    tag = "engines",
    responses(
        (status = 200, description = "The engines", body = EngineList),
        EngineListProblems,
    )
)]
pub async fn list(
    authorized: Authorized<permission::EngineAdmin>,
    state: Data<AppState>,
) -> Result<Json<EngineList>, Problem> {
    let loaded: Vec<EngineId> =
        state.engines.in_memory().iter().map(|engine| engine.id().clone()).collect();
    let engines = state.engines.list().await?;
    let summary = |(row, head): (crate::store::EngineRow, crate::store::Head)| EngineSummary {
        engine_id: row.engine_id.to_string(),
        created_at: crate::clock::rfc3339(row.created_at),
        log_format: row.log_format,
        position: head.position,
        chain_hash: head.chain_hash.to_string(),
        loaded: loaded.contains(&row.engine_id),
    };
    let own = engines
        .into_iter()
        .filter(|(row, _)| authorized.principal.engines.contains(&row.engine_id));
    Ok(Json(EngineList { engines: own.map(summary).collect() }))
}

/// Create an engine.
///
/// The engine gets its own event log. Dimension and embedder of its policy cannot be changed later.
#[utoipa::path(
    post,
    path = "/v1/engines",
    tag = "engines",
    request_body = NewEngine,
    responses(
        (status = 201, description = "The engine was created", body = CreatedEngine),
        EngineProblems,
    )
)]
pub async fn post(
    authorized: Authorized<permission::EngineAdmin>,
    state: Data<AppState>,
    JsonBody(body): JsonBody<NewEngine>,
) -> Result<HttpResponse, Problem> {
    let id: EngineId =
        body.engine_id.parse().map_err(|e: crate::domain::ids::InvalidEngineId| {
            Problem::new(Code::InvalidEngineId, e.to_string())
        })?;
    if !authorized.principal.engines.contains(&id) {
        let detail =
            "you may not use this engine id; GET /v1/me lists the engines of your credential";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let policy = match body.policy {
        None => state.policy.clone(),
        Some(changes) => merged(&state.policy, &changes)?,
    };
    let receipt = state.engines.create(&id, policy, None, &authorized.caller.actor).await?;
    Ok(HttpResponse::Created().json(CreatedEngine {
        engine_id: id.to_string(),
        position: receipt.position,
        chain_hash: receipt.chain_hash.to_string(),
    }))
}

fn merged(base: &Policy, changes: &serde_json::Value) -> Result<Policy, Problem> {
    base.merged(changes).map_err(|error| {
        let detail = format!("the policy cannot be parsed: {error}");
        Problem::new(Code::BadPolicy, detail)
    })
}
