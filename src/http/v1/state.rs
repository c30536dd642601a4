//! `GET /v1/state`: the state of an engine.

use actix_web::web::{Json, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::ids::Position,
    engine::StateReport,
    http::{
        Problem,
        access::permission,
        engine::EngineCall,
        parameters::{bad, micros},
        problem::responses::StateProblems,
    },
};

/// A point in time.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// Return the state after the event at this position. Default: the current state.
    #[param(example = 1)]
    at_position: Option<Position>,
    /// Return the state at this time, RFC 3339. A time in the future gives the current state.
    #[param(example = "2030-01-31T12:00:00Z")]
    at_time: Option<String>,
}

/// Get the state of an engine.
///
/// Returns the current state, or a past state that is computed from the event log. That takes longer the
/// later it is in a long log; if `api.timeout` is too short for it, the response is 504.
#[utoipa::path(
    get,
    path = "/v1/state",
    tag = "state",
    params(At),
    responses(
        (status = 200, description = "The state", body = StateReport),
        StateProblems,
    )
)]
pub async fn get(
    call: EngineCall<permission::StateRead>,
    at: Query<At>,
) -> Result<Json<StateReport>, Problem> {
    let (engine, subject) = (&call.engine, call.subject());
    let report = match (at.at_position, &at.at_time) {
        (None, None) => engine.state(subject).await?,
        (Some(position), None) => engine.state_at(position, subject).await?,
        (None, Some(time)) => engine.state_at_time(micros("at_time", time)?, subject).await?,
        (Some(_), Some(_)) => return Err(bad("at_position", "omitted if at_time is given")),
    };
    Ok(Json(report))
}
