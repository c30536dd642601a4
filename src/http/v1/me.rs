//! GET /v1/me

use std::future::{Ready, ready};

use actix_web::{HttpMessage as _, HttpRequest, web::Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Permission,
    http::access::{Allowed, may},
    rates::Left,
};

/// Who the caller is, as far as this server knows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The actor of everything the caller does, and whose words theirs are.
    subject: String,
    /// What people call them.
    name: Option<String>,
    /// Their roles.
    roles: Vec<String>,
    /// What these let them do.
    permissions: Vec<&'static str>,
    /// The engines that exist for them; `*` is all.
    engines: Vec<String>,
    /// How they proved who they are: `oidc`, `key`, `dev`, or `none` where nobody has to.
    method: &'static str,
    /// Until when that counts, RFC 3339.
    expires_at: Option<String>,
    /// How often they may still ask; missing where rates are not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

/// How often a caller may still ask.
#[derive(Debug, Serialize, ToSchema)]
pub struct Limits {
    /// Requests in a window, in the long run.
    requests: u32,
    /// The window in seconds.
    window_seconds: u64,
    /// Requests that may come at once.
    burst: u32,
    /// Requests that would be granted now.
    remaining: u32,
}

impl From<&Left> for Limits {
    fn from(left: &Left) -> Self {
        Self {
            requests: left.rate.requests.get(),
            window_seconds: left.rate.window.as_secs(),
            burst: left.rate.burst.get(),
            remaining: left.remaining,
        }
    }
}

/// Who the caller is and what they may do.
#[utoipa::path(
    get,
    path = "/v1/me",
    tag = "identity",
    responses((status = 200, description = "The caller", body = Me))
)]
#[expect(clippy::needless_pass_by_value, reason = "a handler owns what it extracts")]
pub fn get(allowed: Allowed<may::BeKnown>, request: HttpRequest) -> Ready<Json<Me>> {
    let principal = &allowed.principal;
    ready(Json(Me {
        subject: principal.subject.clone(),
        name: principal.name.clone(),
        roles: principal.roles.clone(),
        permissions: principal.permissions.iter().map(Permission::as_str).collect(),
        engines: principal.engines.names().into_iter().map(str::to_owned).collect(),
        method: principal.method.as_str(),
        expires_at: principal
            .expires_at
            .map(|s| crate::clock::rfc3339(s.saturating_mul(1_000_000))),
        limits: request.extensions().get::<Left>().map(Limits::from),
    }))
}
