//! GET /v1/state

use actix_web::web::{Json, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::ids::Position,
    engine::StateReport,
    http::{
        Problem,
        access::{Allowed, may},
        caller::Loaded,
        parameters::{bad, micros},
        problem::ProblemBody,
    },
};

/// At which moment.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// The state as it was after this position. With neither this nor `at_time`: the present one.
    at_position: Option<Position>,
    /// The state as it was at this time, RFC 3339; of the future, that after the last event.
    at_time: Option<String>,
}

/// The state of an engine, now, after a position or at a time.
#[utoipa::path(
    get,
    path = "/v1/state",
    tag = "state",
    params(At),
    responses(
        (status = 200, description = "The state", body = StateReport),
        (status = 400, description = "Bad query or engine id (E109, E110)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine or position (E408, E410)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    allowed: Allowed<may::StateRead>,
    at: Query<At>,
    engine: Loaded<may::StateRead>,
) -> Result<Json<StateReport>, Problem> {
    let (engine, asker) = (engine.0, allowed.subject());
    let report = match (at.at_position, &at.at_time) {
        (None, None) => engine.state(asker).await?,
        (Some(position), None) => engine.state_at(position, asker).await?,
        (None, Some(time)) => engine.state_at_time(micros("at_time", time)?, asker).await?,
        (Some(_), Some(_)) => return Err(bad("at_position", "left out where at_time is given")),
    };
    Ok(Json(report))
}
