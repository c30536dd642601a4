//! GET /health/ready

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{AppState, Code, Problem, access::Anyone, problem::ProblemBody};

/// That traffic is welcome.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// Always `ready`; anything else is a 503.
    status: &'static str,
}

/// Whether traffic is welcome: the log can be written, tokens can be verified where nothing else
/// counts, and the default engine is loaded. A failure means: send it elsewhere, do not restart.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "Send traffic", body = Ready),
        (status = 503, description = "Send no traffic (E4xx, E702, E705)", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub async fn get(_: Anyone, state: Data<AppState>) -> Result<Json<Ready>, Problem> {
    if state.stop.is_leaving() {
        return Err(Problem::new(Code::Draining, "the server is stopping; send no traffic"));
    }
    state.pulse.writable(&state).await?;
    if !state.auth.is_ready() {
        let detail = "the identity provider's keys could not be fetched yet; see its address";
        return Err(Problem::new(Code::Starting, detail));
    }
    state.pulse.default_engine(&state).await?;
    Ok(Json(Ready { status: "ready" }))
}
