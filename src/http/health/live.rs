//! GET /health/live

use std::future::{Ready, ready};

use actix_web::web::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::access::Anyone;

/// That the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Live {
    /// Always `alive`.
    status: &'static str,
}

/// Whether the process is alive: it is, if it answers. A failure means: restart it.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses((status = 200, description = "The process answers", body = Live))
)]
pub fn get(_: Anyone) -> Ready<Json<Live>> {
    ready(Json(Live { status: "alive" }))
}
