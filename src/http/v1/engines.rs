//! GET and POST /v1/engines

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
        access::{Allowed, may},
        problem::ProblemBody,
    },
};

/// All engines of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EngineList {
    /// By name.
    engines: Vec<EngineSummary>,
}

/// One engine.
#[derive(Debug, Serialize, ToSchema)]
pub struct EngineSummary {
    /// Its name.
    engine_id: String,
    /// When it was made, RFC 3339.
    created_at: String,
    /// Format of its log.
    log_format: u32,
    /// Its last position.
    position: u64,
    /// Chain hash there, hexadecimal.
    chain_hash: String,
    /// Whether this replica has it in memory.
    loaded: bool,
}

/// A new engine.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEngine {
    /// Its name: 1 to 64 characters of a-z, 0-9, '-' and '_'.
    #[schema(example = "support")]
    engine_id: String,
    /// The fields in which its policy differs from the server's configuration.
    #[schema(value_type = Option<Object>)]
    policy: Option<serde_json::Value>,
}

/// A created engine and the receipt of its first event.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedEngine {
    /// Its name.
    engine_id: String,
    /// Position of `engine.created`.
    position: u64,
    /// Chain hash there, hexadecimal.
    chain_hash: String,
}

/// Lists the engines of the log that exist for the caller, loaded or not.
#[utoipa::path(
    get,
    path = "/v1/engines",
    tag = "engines",
    responses(
        (status = 200, description = "The engines", body = EngineList),
        (status = 503, description = "The log is unavailable (E401)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    allowed: Allowed<may::EngineAdmin>,
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
    let own =
        engines.into_iter().filter(|(row, _)| allowed.principal.engines.contains(&row.engine_id));
    Ok(Json(EngineList { engines: own.map(summary).collect() }))
}

/// Creates an engine with a log of its own.
#[utoipa::path(
    post,
    path = "/v1/engines",
    tag = "engines",
    request_body = NewEngine,
    responses(
        (status = 201, description = "Created", body = CreatedEngine),
        (status = 400, description = "Bad input (E1xx)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It exists already (E409)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (E904)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json (E903)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The policy is not acceptable (E801)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable (E401)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    allowed: Allowed<may::EngineAdmin>,
    state: Data<AppState>,
    body: Json<NewEngine>,
) -> Result<HttpResponse, Problem> {
    let body = body.into_inner();
    let id: EngineId =
        body.engine_id.parse().map_err(|e: crate::domain::ids::InvalidEngineId| {
            Problem::new(Code::InvalidEngineId, e.to_string())
        })?;
    if !allowed.principal.engines.contains(&id) {
        let detail = "this engine id is not among those you may use; GET /v1/me lists them";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let policy = match body.policy {
        None => state.policy.clone(),
        Some(changes) => merged(&state.policy, &changes)?,
    };
    let receipt = state.engines.create(&id, policy, None, &allowed.caller.actor).await?;
    Ok(HttpResponse::Created().json(CreatedEngine {
        engine_id: id.to_string(),
        position: receipt.position,
        chain_hash: receipt.chain_hash.to_string(),
    }))
}

fn merged(base: &Policy, changes: &serde_json::Value) -> Result<Policy, Problem> {
    base.merged(changes).map_err(|error| {
        let detail = format!("the policy cannot be read: {error}");
        Problem::new(Code::BadPolicy, detail)
    })
}
