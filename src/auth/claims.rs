//! The claims of a verified token: checks that it is valid here and now, and builds the principal.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{EngineScope, Method, Permission, Principal, Reason, role::Roles};
use crate::domain::ids::EngineId;

/// Tolerated clock skew in seconds.
const LEEWAY: i64 = 30;
/// Maximum length of a subject and of a display name in characters.
const NAME_MAX: usize = 255;
/// Prefixes of subjects that only this server assigns; a token with one is refused.
const RESERVED: [&str; 3] = ["key:", "cert:", "anonymous"];
/// Encloses a segment of a path that contains dots.
const QUOTE: char = '"';
/// Claims that contain a display name, in order of preference.
const NAME_CLAIMS: [&str; 3] = ["name", "preferred_username", "email"];

/// The expected claims of an issuer's tokens, and the claims to read.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The exact value of `iss`.
    pub issuer: String,
    /// The value that `aud` must contain.
    pub audience: String,
    /// Accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The claim that lists roles: a name, or a path with dots whose segments may be quoted.
    pub roles_claim: String,
    /// The claim that lists engines, likewise.
    pub engines_claim: String,
    /// Roles of a token without the roles claim.
    pub default_roles: Vec<String>,
    /// The engine of a token without the engines claim.
    pub default_engine: EngineId,
    /// The authentication method of the principals.
    pub method: Method,
}

impl Rules {
    /// Builds the principal of a token that is valid for this server at `now`.
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
            Some(value) => strings(value, |name| roles.has(name)),
        };
        let (roles, permissions) = roles.resolve(named.into_iter());
        let engines = match claim(claims, &self.engines_claim) {
            Some(value) => EngineScope::named(strings(value, |_| false)),
            // a principal that creates engines must see them
            None if permissions.contains(Permission::EngineAdmin) => EngineScope::All,
            None => EngineScope::named([self.default_engine.as_str()]),
        };
        let name = NAME_CLAIMS.iter().find_map(|name| claims.get(*name)?.as_str());
        Ok(Principal {
            subject: subject(claims)?,
            name: name.filter(|name| is_name(name)).map(str::to_owned),
            roles,
            permissions,
            engines,
            method: self.method,
            key_id: None,
            expires_at: Some(expires_at),
            rate: None,
            budget: None,
        })
    }

    /// `aud` is a string or a list of strings (RFC 7519, section 4.1.3).
    fn check_audience(&self, audience: &Value) -> Result<(), Reason> {
        let matches = |value: &Value| value.as_str() == Some(&self.audience);
        match audience {
            Value::String(_) if matches(audience) => Ok(()),
            Value::Array(items) if !items.iter().all(Value::is_string) => Err(Reason::Claim),
            Value::Array(items) if items.iter().any(matches) => Ok(()),
            Value::String(_) | Value::Array(_) => Err(Reason::Audience),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                Err(Reason::Claim)
            }
        }
    }
}

/// Reads a time in seconds since the Unix epoch; none if the claim is absent.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Reason> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64();
    // above 2^53 a float is not a time
    let float = || value.as_f64().filter(|f| f.abs() < 9e15).map(|f| f.floor() as i64);
    whole.or_else(float).map(Some).ok_or(Reason::Claim)
}

fn subject(claims: &Map<String, Value>) -> Result<String, Reason> {
    let subject = claims.get("sub").and_then(Value::as_str).ok_or(Reason::Claim)?;
    let reserved = RESERVED.iter().any(|prefix| subject.starts_with(prefix));
    if reserved || !is_name(subject) || subject.trim() != subject {
        return Err(Reason::Claim);
    }
    Ok(subject.to_owned())
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Finds the claim of exactly this name, such as a URL, else follows the name as a path with dots.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    if name.contains("://") && !name.contains(QUOTE) {
        return None;
    }
    let (first, mut rest) = segment(name)?;
    let mut value = claims.get(first)?;
    while let Some(path) = rest {
        let (step, next) = segment(path)?;
        (value, rest) = (value.get(step)?, next);
    }
    Some(value)
}

/// The first segment of a path and the rest. A segment in quotes may contain dots, such as the id of a
/// client in `resource_access."my.client".roles`.
fn segment(path: &str) -> Option<(&str, Option<&str>)> {
    let Some(quoted) = path.strip_prefix(QUOTE) else {
        return Some(match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        });
    };
    let (segment, rest) = quoted.split_once(QUOTE)?;
    if rest.is_empty() {
        Some((segment, None))
    } else {
        Some((segment, Some(rest.strip_prefix('.')?)))
    }
}

/// A list of strings, or a string of one name or of several with a space between (RFC 6749, section
/// 3.3). A name that `is_known` may contain spaces. Any other value counts as an empty list.
fn strings(value: &Value, is_known: impl Fn(&str) -> bool) -> Vec<&str> {
    let all = match value {
        Value::String(text) if is_known(text) || text.split(' ').any(str::is_empty) => {
            Some(vec![text.as_str()])
        }
        Value::String(text) => Some(text.split(' ').collect()),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests;
