//! The API keys of a server: what its own log, `_system`, folds to.
//!
//! A key is known by the SHA-256 of its secret, which is 256 random bits: nothing here, and nothing in
//! the log, opens anything. What a key was given is recorded as names; what a role may do is
//! configuration, and read anew by every server. Keys that have expired stay until another is created,
//! so that they can be seen for a while. Deliberately not here: secrets, and who may create a key.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    budget::Amount,
    event::{KeyCreated, KeyRevoked, KeyRotated},
    ids::{EngineId, KeyId, Micros, Position, Sha256},
};

/// Most keys that count at once; another one is refused.
pub const KEYS_MAX: usize = 10_000;
/// Longest name of a key and of a role, in characters.
pub const NAME_MAX: usize = 100;
/// Most roles of a key.
pub const ROLES_MAX: usize = 16;
/// Most engines of a key.
pub const ENGINES_MAX: usize = 100;
/// Longest time for which the secret before a rotation still counts, in seconds: a week.
pub const GRACE_SECONDS_MAX: u32 = 604_800;
/// Longest window of a rate, in seconds: a day.
pub const RATE_WINDOW_MAX: u32 = 86_400;
/// Most requests of a rate.
pub const RATE_REQUESTS_MAX: u32 = 1_000_000;
/// What stands for all engines.
pub const ALL_ENGINES: &str = "*";

const MICROS_PER_SECOND: i64 = 1_000_000;

/// How often a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRate {
    /// Requests in a window.
    pub requests: u32,
    /// The window's length.
    pub window_seconds: u32,
}

/// What a key was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGrant {
    /// What people call it; clear text in the log.
    pub name: String,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Names of engines; [`ALL_ENGINES`] alone for all.
    pub engines: Vec<String>,
    /// When it ends; without: when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Micros>,
    /// How often it may be used; without: as often as its roles may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<KeyRate>,
    /// What it may spend in each window of each engine's budget, 0 for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Amount>,
}

/// A key that must not be recorded: the field, and what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {must}")]
pub struct InvalidKey {
    /// The field.
    pub field: &'static str,
    /// The condition it violates.
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
    /// Checks every bound; the first violated one is named. `now` is the log's clock.
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

/// The secret before the last rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// SHA-256 of it.
    pub hash: Sha256,
    /// Until when it still counts.
    pub until: Micros,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What it was given.
    pub grant: KeyGrant,
    /// SHA-256 of its secret.
    pub hash: Sha256,
    /// When it was created.
    pub created_at: Micros,
    /// By whom, by clear name.
    pub created_by: String,
    /// When its secret was replaced last.
    pub rotated_at: Option<Micros>,
    /// The secret before that, if it was given time.
    pub previous: Option<Previous>,
}

impl ApiKey {
    /// Whether its time is over.
    pub fn is_expired(&self, now: Micros) -> bool {
        self.grant.expires_at.is_some_and(|end| end <= now)
    }
}

/// All keys.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    keys: RedBlackTreeMapSync<KeyId, Arc<ApiKey>>,
    changed: Position,
}

impl Default for ApiKeys {
    fn default() -> Self {
        Self { keys: RedBlackTreeMapSync::new_sync(), changed: 0 }
    }
}

impl ApiKeys {
    /// One of them, expired or not.
    pub fn get(&self, id: KeyId) -> Option<&Arc<ApiKey>> {
        self.keys.get(&id)
    }

    /// All of them, in the order in which they were created.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&KeyId, &Arc<ApiKey>)> {
        self.keys.iter()
    }

    /// How many count at a time.
    pub fn count(&self, now: Micros) -> usize {
        self.keys.values().filter(|key| !key.is_expired(now)).count()
    }

    /// The position of the event that changed them last; 0 for none.
    pub const fn changed(&self) -> Position {
        self.changed
    }

    pub(super) fn created(
        &mut self,
        event: &KeyCreated,
        (position, now): (Position, Micros),
    ) -> Result<(), &'static str> {
        if self.keys.contains_key(&event.id) {
            return Err("it creates a key that there is");
        }
        let over: Vec<KeyId> =
            self.iter().filter(|(_, k)| k.is_expired(now)).map(|k| *k.0).collect();
        for id in over {
            self.keys.remove_mut(&id);
        }
        let key = ApiKey {
            grant: event.grant.clone(),
            hash: event.hash,
            created_at: now,
            created_by: event.actor.clone(),
            rotated_at: None,
            previous: None,
        };
        self.keys.insert_mut(event.id, Arc::new(key));
        self.changed = position;
        Ok(())
    }

    pub(super) fn revoked(
        &mut self,
        event: &KeyRevoked,
        position: Position,
    ) -> Result<(), &'static str> {
        if !self.keys.remove_mut(&event.id) {
            return Err("it revokes a key that there is not");
        }
        self.changed = position;
        Ok(())
    }

    pub(super) fn rotated(
        &mut self,
        event: &KeyRotated,
        (position, now): (Position, Micros),
    ) -> Result<(), &'static str> {
        let Some(key) = self.keys.get(&event.id) else {
            return Err("it rotates a key that there is not");
        };
        let previous = event.previous_until.map(|until| Previous { hash: key.hash, until });
        let rotated =
            ApiKey { hash: event.hash, rotated_at: Some(now), previous, ..ApiKey::clone(key) };
        self.keys.insert_mut(event.id, Arc::new(rotated));
        self.changed = position;
        Ok(())
    }
}

/// A time so many seconds later.
pub(super) const fn after(now: Micros, seconds: u32) -> Micros {
    now.saturating_add((seconds as i64).saturating_mul(MICROS_PER_SECOND))
}
