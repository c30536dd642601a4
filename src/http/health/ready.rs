//! `GET /health/ready`: readiness.

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{
    AppState, Code, Problem, access::Public, probe_cache, problem::responses::ReadyProblems,
};

/// The result of the readiness probe.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// Always `ready`; a server that is not ready answers 503.
    status: &'static str,
}

/// Check readiness.
///
/// Succeeds if the event log accepts writes, no writer has waited for it for 5 seconds, the keys of the identity provider are known (if it is the
/// only way to authenticate), and the default engine is loaded. If it fails, route traffic to other
/// replicas; do not restart the process.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "The server is ready for traffic", body = Ready),
        ReadyProblems,
    )
)]
pub async fn get(_: Public, state: Data<AppState>) -> Result<Json<Ready>, Problem> {
    if state.stop.is_leaving() {
        return Err(Problem::new(
            Code::Draining,
            "the server is stopping; route traffic to another replica",
        ));
    }
    if let Some(time) = probe_cache::stalled(&state.engines) {
        let detail = format!(
            "a writer has waited for the database of the event log for {} seconds; route traffic to \
             another replica",
            time.as_secs()
        );
        return Err(Problem::new(Code::LogUnavailable, detail));
    }
    state.probes.writable(&state.engines).await?;
    if !state.auth.is_ready() {
        let detail =
            "the keys of the identity provider could not be fetched yet; check auth.oidc.issuer";
        return Err(Problem::new(Code::Starting, detail));
    }
    state.probes.default_engine(&state.engines, &state.tasks).await?;
    Ok(Json(Ready { status: "ready" }))
}
