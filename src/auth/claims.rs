//! What a verified token says: whether it is for this server and now, and who it is about.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{EngineScope, Method, Permission, Principal, Reason, role::Roles};
use crate::domain::ids::EngineId;

/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 30;
/// Longest name of a subject, in characters, and of what people call it.
const NAME_MAX: usize = 255;
/// Subjects that are this server's own to give: no token may claim one.
const RESERVED: [&str; 3] = ["key:", "cert:", "anonymous"];
/// Claims with the name that people call somebody, the best first.
const NAMES: [&str; 3] = ["name", "preferred_username", "email"];

/// What is expected of an issuer's tokens, and how they are read.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `iss`, exactly.
    pub issuer: String,
    /// The one that must be in `aud`.
    pub audience: String,
    /// Algorithms that are taken.
    pub algorithms: Vec<Algorithm>,
    /// The claim with the roles: a name, or a path with dots.
    pub roles_claim: String,
    /// The claim with the engines: likewise.
    pub engines_claim: String,
    /// Roles of a token without that claim.
    pub default_roles: Vec<String>,
    /// The engine of a token without that claim.
    pub default_engine: EngineId,
    /// How callers are said to have proved who they are.
    pub method: Method,
}

impl Rules {
    /// Who a token is about, if it is for this server and now.
    pub(super) fn principal(
        &self,
        claims: &Map<String, Value>,
        roles: &Roles,
        now: i64,
    ) -> Result<Principal, Reason> {
        if claims.get("iss").and_then(Value::as_str).ok_or(Reason::Claim)? != self.issuer {
            return Err(Reason::Issuer);
        }
        self.check_audience(claims.get("aud").ok_or(Reason::Claim)?)?;
        let expires_at = time(claims, "exp")?.ok_or(Reason::Claim)?;
        let issued_at = time(claims, "iat")?.ok_or(Reason::Claim)?;
        let not_before = time(claims, "nbf")?.unwrap_or(issued_at);
        if now >= expires_at.saturating_add(LEEWAY) {
            return Err(Reason::Expired);
        }
        if issued_at.max(not_before) > now.saturating_add(LEEWAY) {
            return Err(Reason::NotYetValid);
        }
        let named = match claim(claims, &self.roles_claim) {
            None => self.default_roles.iter().map(String::as_str).collect(),
            Some(value) => texts(value),
        };
        let (roles, permissions) = roles.resolve(named.into_iter());
        let engines = match claim(claims, &self.engines_claim) {
            Some(value) => EngineScope::named(texts(value)),
            // who makes engines must see them
            None if permissions.contains(Permission::EngineAdmin) => EngineScope::All,
            None => EngineScope::named([self.default_engine.as_str()]),
        };
        let name = NAMES.iter().find_map(|name| claims.get(*name)?.as_str());
        Ok(Principal {
            subject: subject(claims)?,
            name: name.filter(|name| is_name(name)).map(str::to_owned),
            roles,
            permissions,
            engines,
            method: self.method,
            expires_at: Some(expires_at),
            rate: None,
            budget: None,
        })
    }

    /// A text or a list of texts, among them exactly the expected one.
    fn check_audience(&self, audience: &Value) -> Result<(), Reason> {
        let own = |value: &Value| value.as_str() == Some(&self.audience);
        match audience {
            Value::String(_) if own(audience) => Ok(()),
            Value::Array(items) if !items.iter().all(Value::is_string) => Err(Reason::Claim),
            Value::Array(items) if items.iter().any(own) => Ok(()),
            Value::String(_) | Value::Array(_) => Err(Reason::Audience),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                Err(Reason::Claim)
            }
        }
    }
}

/// Seconds since the Unix epoch, if the claim is there.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Reason> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64();
    // beyond 2^53 a float is no time
    let float = || value.as_f64().filter(|f| f.abs() < 9e15).map(|f| f.floor() as i64);
    whole.or_else(float).map(Some).ok_or(Reason::Claim)
}

fn subject(claims: &Map<String, Value>) -> Result<String, Reason> {
    let subject = claims.get("sub").and_then(Value::as_str).ok_or(Reason::Claim)?;
    let own = RESERVED.iter().any(|reserved| subject.starts_with(reserved));
    if own || !is_name(subject) || subject.trim() != subject {
        return Err(Reason::Claim);
    }
    Ok(subject.to_owned())
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// The claim of exactly this name, such as a URL; else the one that a path with dots leads to.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    if name.contains("://") {
        return None;
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, step| value.get(step))
}

/// A text or a list of texts; anything else, in part or whole, says nothing.
fn texts(value: &Value) -> Vec<&str> {
    let all = match value {
        Value::String(text) => Some(vec![text.as_str()]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests;
