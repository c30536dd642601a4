//! `GET /health/live`: liveness.

use std::future::{Ready, ready};

use actix_web::web::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::access::Public;

/// The result of the liveness probe.
#[derive(Debug, Serialize, ToSchema)]
pub struct Live {
    /// Always `alive`.
    status: &'static str,
}

/// Check liveness.
///
/// Succeeds whenever the process answers. If it fails, restart the process.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses((status = 200, description = "The process is alive", body = Live))
)]
pub fn get(_: Public) -> Ready<Json<Live>> {
    ready(Json(Live { status: "alive" }))
}
