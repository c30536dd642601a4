//! GET and PUT /v1/admin/log-level

use actix_web::web::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    config::Level,
    http::{
        Problem,
        access::{Allowed, may},
        problem::ProblemBody,
    },
    telemetry::logs::level,
};

/// Where it is.
pub(in crate::http) const PATH: &str = "/v1/admin/log-level";

/// How much is logged.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// The least severe level that is logged: `TRACE`, `DEBUG`, `INFO`, `WARNING` or `ERROR`.
    #[schema(value_type = String, example = "DEBUG", pattern = "^(TRACE|DEBUG|INFO|WARNING|ERROR)$")]
    level: Level,
}

/// How much this replica logs.
#[utoipa::path(
    get,
    path = "/v1/admin/log-level",
    tag = "admin",
    responses((status = 200, description = "The present level", body = LogLevel))
)]
pub async fn get(_: Allowed<may::ServerAdmin>) -> Json<LogLevel> {
    Json(LogLevel { level: level::level() })
}

/// Changes how much this replica logs, until it is started again. Who did it is logged.
#[utoipa::path(
    put,
    path = "/v1/admin/log-level",
    tag = "admin",
    request_body = LogLevel,
    responses(
        (status = 200, description = "The level from now on", body = LogLevel),
        (status = 400, description = "Bad input (E1xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    allowed: Allowed<may::ServerAdmin>,
    wanted: Json<LogLevel>,
) -> Result<Json<LogLevel>, Problem> {
    level::change(wanted.level, &allowed.principal.subject)
        .map_err(|error| Problem::internal(&error))?;
    Ok(wanted)
}
