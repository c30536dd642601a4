//! GET /v1/state

use actix_web::web::{Json, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::ids::Position,
    engine::StateReport,
    http::{
        Code, Problem,
        access::{Allowed, may},
        caller::Loaded,
        problem::ProblemBody,
    },
};

/// At which moment.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// The state as it was after this position; the present one without.
    at_position: Option<Position>,
    /// Not built yet.
    at_time: Option<String>,
}

/// The state of an engine, now or after a position.
#[utoipa::path(
    get,
    path = "/v1/state",
    tag = "state",
    params(At),
    responses(
        (status = 200, description = "The state", body = StateReport),
        (status = 400, description = "Bad query or engine id (E109, E110)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine or position (E408, E410)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 501, description = "at_time is not built yet (E906)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    allowed: Allowed<may::StateRead>,
    at: Query<At>,
    engine: Loaded<may::StateRead>,
) -> Result<Json<StateReport>, Problem> {
    if at.at_time.is_some() {
        let detail = "ask with at_position; GET /v1/events tells which position a time has";
        return Err(Problem::new(Code::NotBuilt, detail));
    }
    let report = match at.at_position {
        None => engine.0.state(allowed.subject()).await?,
        Some(position) => engine.0.state_at(position, allowed.subject()).await?,
    };
    Ok(Json(report))
}
