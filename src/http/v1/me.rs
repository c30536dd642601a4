//! `GET /v1/me`: identity and permissions of the caller.

use std::future::{Ready, ready};

use actix_web::{HttpMessage as _, HttpRequest, web::Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Permission,
    http::access::{Authenticated, Authorized},
    rates::Allowance,
};

/// The authenticated caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The actor in the event log, and the data subject of the caller's prompts.
    subject: String,
    /// Display name.
    name: Option<String>,
    /// Roles.
    roles: Vec<String>,
    /// Permissions that the roles grant.
    permissions: Vec<&'static str>,
    /// Engines that the caller can see; `*` stands for all.
    engines: Vec<String>,
    /// Authentication method: `oidc`, `key`, `dev`, or `none` if the server requires no authentication.
    method: &'static str,
    /// Expiry of the credential, RFC 3339.
    expires_at: Option<String>,
    /// Rate limit of the caller; absent if the server has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

/// The rate limit of a caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct Limits {
    /// Requests per window, on average.
    requests: u32,
    /// Length of the window in seconds.
    window_seconds: u64,
    /// Requests that may arrive at once.
    burst: u32,
    /// Requests that would be granted now.
    remaining: u32,
}

impl From<&Allowance> for Limits {
    fn from(allowance: &Allowance) -> Self {
        Self {
            requests: allowance.rate.requests.get(),
            window_seconds: allowance.rate.window.as_secs(),
            burst: allowance.rate.burst.get(),
            remaining: allowance.remaining,
        }
    }
}

/// Get the caller.
///
/// Returns identity, roles, permissions, visible engines and rate limit of the caller.
#[utoipa::path(
    get,
    path = "/v1/me",
    tag = "identity",
    responses((status = 200, description = "The caller", body = Me))
)]
#[expect(clippy::needless_pass_by_value, reason = "a handler owns what it extracts")]
pub fn get(authorized: Authorized<Authenticated>, request: HttpRequest) -> Ready<Json<Me>> {
    let principal = &authorized.principal;
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
        limits: request.extensions().get::<Allowance>().map(Limits::from),
    }))
}
