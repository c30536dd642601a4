//! Requests for API keys, and the check against privilege escalation.

use serde::Deserialize;
use utoipa::ToSchema;

use super::show::{KeyBudget, RateLimit};
use crate::{
    auth::{EngineScope, Permission, Principal, role::Roles},
    clock,
    domain::{
        ids::EngineId,
        keys::{ApiKey, KeyGrant},
    },
    http::{Code, Problem},
};

/// A request to create an API key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Display name, 1 to 100 characters, stored unencrypted in the system log.
    #[schema(example = "the support bot", min_length = 1, max_length = 100)]
    name: String,
    /// 1 to 16 roles, whose permissions the caller must have.
    #[schema(example = json!(["service"]), min_items = 1, max_items = 16)]
    roles: Vec<String>,
    /// 1 to 100 engines that the key can see, of those that the caller can see; `*` alone stands for
    /// all. Default: the default engine.
    #[schema(min_items = 1, max_items = 100)]
    engines: Option<Vec<String>>,
    /// Time of expiry, RFC 3339. Default: never.
    #[schema(example = "2030-01-31T12:00:00Z")]
    expires_at: Option<String>,
    /// Rate limit on each replica. Default: that of its roles.
    rate: Option<RateLimit>,
    /// Budget in each engine, in addition to the budgets of its end users. Default: none.
    budget: Option<KeyBudget>,
}

/// A request to rotate an API key.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Time for which the previous secret stays valid, in seconds; at most 604800, default 0.
    #[serde(default)]
    #[schema(maximum = 604_800)]
    pub(super) grace_seconds: u32,
}

impl Rotation {
    /// Parses the body, which may be empty.
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let detail = "the body is not valid; send no body, or {\"grace_seconds\": <0 to 604800>}";
        serde_json::from_slice(body).map_err(|_| Problem::new(Code::BadField, detail))
    }
}

impl NewKey {
    /// The grant as an event records it. The domain checks its bounds.
    pub(super) fn grant(self, default: &EngineId) -> Result<KeyGrant, Problem> {
        let time = |text: String| -> Result<i64, Problem> {
            let detail = "expires_at must be a time such as 2030-01-31T12:00:00Z";
            clock::micros(&text).ok_or_else(|| Problem::new(Code::BadField, detail))
        };
        Ok(KeyGrant {
            name: self.name,
            roles: self.roles,
            engines: self.engines.unwrap_or_else(|| vec![default.to_string()]),
            expires_at: self.expires_at.map(time).transpose()?,
            rate: self.rate.map(Into::into),
            budget: self.budget.map(Into::into),
        })
    }
}

/// True if the principal can see all engines of the key.
pub(super) fn is_visible(principal: &Principal, key: &ApiKey) -> bool {
    principal.engines.covers(&engines(&key.grant))
}

fn engines(grant: &KeyGrant) -> EngineScope {
    EngineScope::named(grant.engines.iter().map(String::as_str))
}

/// Checks that the roles exist and that the principal has all permissions and engines of the grant.
pub(super) fn check(principal: &Principal, known: &Roles, grant: &KeyGrant) -> Result<(), Problem> {
    if let Some(unknown) = grant.roles.iter().find(|role| !known.has(role)) {
        let shown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
        let detail = format!(
            "roles: the role \"{shown}\" does not exist; use a built-in role or one of auth.roles"
        );
        return Err(Problem::new(Code::BadField, detail));
    }
    let (_, permissions) = known.resolve(grant.roles.iter().map(String::as_str));
    if let Some(more) = permissions.iter().find(|permission| !principal.may(*permission)) {
        return Err(denied(principal, &format!("the permission {more}, which you do not have")));
    }
    if !principal.engines.covers(&engines(grant)) {
        return Err(denied(principal, "an engine that you cannot see"));
    }
    Ok(())
}

fn denied(principal: &Principal, what: &str) -> Problem {
    tracing::warn!(
        event_type = "auth.forbidden",
        actor = principal.subject,
        permission = %Permission::KeyAdmin,
        "API key denied: it would have {what}"
    );
    let detail =
        format!("the key would have {what}; GET /v1/me lists your permissions and engines");
    Problem::new(Code::Forbidden, detail)
}
