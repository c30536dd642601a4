//! The permissions and limits of an API key, and their validation.

use serde::{Deserialize, Serialize};

use crate::domain::{
    budget::Amount,
    ids::{EngineId, Micros},
};

/// The maximum length of the name of a key or a role in characters.
pub const NAME_MAX: usize = 100;
/// The maximum number of roles of a key.
pub const ROLES_MAX: usize = 16;
/// The maximum number of engines of a key.
pub const ENGINES_MAX: usize = 100;
/// The maximum window of a rate limit in seconds: one day.
pub const RATE_WINDOW_MAX: u32 = 86_400;
/// The maximum number of requests of a rate limit.
pub const RATE_REQUESTS_MAX: u32 = 1_000_000;
/// The engine list entry that means all engines.
pub const ALL_ENGINES: &str = "*";

/// The rate limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRate {
    /// The number of requests per window.
    pub requests: u32,
    /// The length of the window in seconds.
    pub window_seconds: u32,
}

/// The permissions and limits of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGrant {
    /// A display name, stored as plain text in the log.
    pub name: String,
    /// The names of its roles.
    pub roles: Vec<String>,
    /// The names of its engines; the single entry [`ALL_ENGINES`] means all.
    pub engines: Vec<String>,
    /// The expiry time; without one the key is valid until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Micros>,
    /// The rate limit; without one the limits of its roles apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<KeyRate>,
    /// The budget per window and engine; 0 means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Amount>,
}

/// A violated bound: the field and its condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {must}")]
pub struct InvalidKey {
    /// The field.
    pub field: &'static str,
    /// The condition, for use after "must be".
    pub must: &'static str,
}

const fn check(ok: bool, field: &'static str, must: &'static str) -> Result<(), InvalidKey> {
    if ok { Ok(()) } else { Err(InvalidKey { field, must }) }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.chars().count())
        && text.trim() == text
        && !text.chars().any(char::is_control)
}

impl KeyGrant {
    /// Checks all bounds; `now` is the log's time.
    ///
    /// # Errors
    /// The first violated bound.
    pub fn validate(&self, now: Micros) -> Result<(), InvalidKey> {
        check(is_name(&self.name), "name", "1 to 100 printable characters without space around")?;
        let roles = (1..=ROLES_MAX).contains(&self.roles.len());
        let roles = roles && self.roles.iter().all(|role| is_name(role));
        check(roles, "roles", "a list of 1 to 16 roles")?;
        let all = self.engines == [ALL_ENGINES];
        let named = (1..=ENGINES_MAX).contains(&self.engines.len())
            && self.engines.iter().all(|engine| engine.parse::<EngineId>().is_ok());
        check(all || named, "engines", "a list of 1 to 100 engines, or [\"*\"] for all")?;
        check(self.expires_at.is_none_or(|end| end > now), "expires_at", "in the future")?;
        let rate = |rate: KeyRate| {
            (1..=RATE_REQUESTS_MAX).contains(&rate.requests)
                && (1..=RATE_WINDOW_MAX).contains(&rate.window_seconds)
        };
        let must = "1 to 1000000 requests in a window of 1 to 86400 seconds";
        check(self.rate.is_none_or(rate), "rate", must)?;
        let limited = |budget: Amount| budget.tokens > 0 || budget.cost_micro_usd > 0;
        let must = "a limit of tokens, of cost_micro_usd, or of both";
        check(self.budget.is_none_or(limited), "budget", must)
    }
}
