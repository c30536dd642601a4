//! What is asked for with a key, and whether the caller may give it.

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

/// A new API key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What people call it: 1 to 100 characters. Clear text in the log.
    #[schema(example = "the support bot", min_length = 1, max_length = 100)]
    name: String,
    /// Its roles, 1 to 16, which may do nothing that the caller may not.
    #[schema(example = json!(["service"]), min_items = 1, max_items = 16)]
    roles: Vec<String>,
    /// The engines that exist for it, 1 to 100 of the caller's; `*` alone for all. Default: the
    /// default engine.
    #[schema(min_items = 1, max_items = 100)]
    engines: Option<Vec<String>>,
    /// When it ends, RFC 3339. Default: when it is revoked.
    #[schema(example = "2030-01-31T12:00:00Z")]
    expires_at: Option<String>,
    /// How often it may be used, on each replica. Default: as often as its roles may.
    rate: Option<RateLimit>,
    /// What it may spend in each engine. Default: what the end users it speaks for may.
    budget: Option<KeyBudget>,
}

/// How a key is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// For how many seconds the secret before still counts, at most 604800.
    #[serde(default)]
    #[schema(maximum = 604_800)]
    pub(super) grace_seconds: u32,
}

impl Rotation {
    /// The body may be missing altogether.
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let detail = "send nothing, or {\"grace_seconds\": 0 to 604800}";
        serde_json::from_slice(body).map_err(|_| Problem::new(Code::BadField, detail))
    }
}

impl NewKey {
    /// As it is recorded; its bounds are checked when it is.
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

/// Whether a key exists for somebody: all its engines do.
pub(super) fn is_visible(principal: &Principal, key: &ApiKey) -> bool {
    principal.engines.covers(&engines(&key.grant))
}

fn engines(grant: &KeyGrant) -> EngineScope {
    EngineScope::named(grant.engines.iter().map(String::as_str))
}

/// Whether somebody may give this: roles that there are, and nothing that they do not have.
pub(super) fn check(principal: &Principal, known: &Roles, grant: &KeyGrant) -> Result<(), Problem> {
    if let Some(unknown) = grant.roles.iter().find(|role| !known.has(role)) {
        let shown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
        let detail = format!("roles: \"{shown}\" is neither built in nor one of auth.roles");
        return Err(Problem::new(Code::BadField, detail));
    }
    let (_, permissions) = known.resolve(grant.roles.iter().map(String::as_str));
    if let Some(more) = permissions.iter().find(|permission| !principal.may(*permission)) {
        return Err(refused(principal, &format!("the permission {more}, which you do not have")));
    }
    if !principal.engines.covers(&engines(grant)) {
        return Err(refused(principal, "an engine that is not among yours"));
    }
    Ok(())
}

fn refused(principal: &Principal, what: &str) -> Problem {
    tracing::warn!(
        event_type = "auth.forbidden",
        actor = principal.subject,
        permission = %Permission::KeyAdmin,
        "a key would be given {what}"
    );
    let detail = format!("the key would have {what}; GET /v1/me shows what you may give");
    Problem::new(Code::Forbidden, detail)
}
