//! `GET` and `PUT /v1/admin/log-level`: the log level of this replica.

use actix_web::web::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    config::Level,
    http::{
        Problem,
        access::{Authorized, permission},
        body::JsonBody,
        problem::responses::LogLevelProblems,
    },
    telemetry::logs::level,
};

/// A log level.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// The lowest level that is logged: `TRACE`, `DEBUG`, `INFO`, `WARNING` or `ERROR`.
    #[schema(value_type = String, example = "DEBUG", pattern = "^(TRACE|DEBUG|INFO|WARNING|ERROR)$")]
    level: Level,
}

/// Get the log level.
///
/// Returns the current log level of this replica.
#[utoipa::path(
    get,
    path = "/v1/admin/log-level",
    tag = "admin",
    responses((status = 200, description = "The current log level", body = LogLevel))
)]
pub async fn get(_: Authorized<permission::ServerAdmin>) -> Json<LogLevel> {
    Json(LogLevel { level: level::level() })
}

/// Set the log level.
///
/// Changes the log level of this replica until it restarts. The log names the actor.
#[utoipa::path(
    put,
    path = "/v1/admin/log-level",
    tag = "admin",
    request_body = LogLevel,
    responses(
        (status = 200, description = "The new log level", body = LogLevel),
        LogLevelProblems,
    )
)]
pub async fn put(
    authorized: Authorized<permission::ServerAdmin>,
    JsonBody(wanted): JsonBody<LogLevel>,
) -> Result<Json<LogLevel>, Problem> {
    level::change(wanted.level, &authorized.principal.subject)
        .map_err(|error| Problem::internal(&error))?;
    Ok(Json(wanted))
}
