//! The API keys of a server, folded from its own log, `_system`.
//!
//! The log holds the SHA-256 of a key's secret, which is 256 random bits, so the log discloses no
//! usable key. The grant names roles and engines; the configuration defines the permissions of a
//! role, so they can differ between servers. Expired keys remain listed until the next key is
//! created. Not here: secrets, and the permission to create keys.

mod grant;

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{
    event::{KeyCreated, KeyRevoked, KeyRotated},
    ids::{KeyId, Micros, Position, Sha256},
};

pub use grant::{
    ALL_ENGINES, ENGINES_MAX, InvalidKey, KeyGrant, KeyRate, NAME_MAX, RATE_REQUESTS_MAX,
    RATE_WINDOW_MAX, ROLES_MAX,
};

/// The maximum number of valid keys.
pub const KEYS_MAX: usize = 10_000;
/// The maximum validity of the previous secret after a rotation, in seconds: one week.
pub const GRACE_SECONDS_MAX: u32 = 604_800;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// The secret that a rotation replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// SHA-256 of the secret.
    pub hash: Sha256,
    /// The end of its validity.
    pub until: Micros,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its permissions and limits.
    pub grant: KeyGrant,
    /// SHA-256 of its secret.
    pub hash: Sha256,
    /// The time of its creation.
    pub created_at: Micros,
    /// The administrator who created it, as a plain name.
    pub created_by: String,
    /// The time of the last rotation.
    pub rotated_at: Option<Micros>,
    /// The previous secret, if the last rotation had a grace period.
    pub previous: Option<Previous>,
}

impl ApiKey {
    /// True if the key has expired at `now`.
    pub fn is_expired(&self, now: Micros) -> bool {
        self.grant.expires_at.is_some_and(|end| end <= now)
    }
}

/// The API keys of a server.
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
    /// The key with this id, valid or expired.
    pub fn get(&self, id: KeyId) -> Option<&Arc<ApiKey>> {
        self.keys.get(&id)
    }

    /// All keys, ordered by id. Ids are UUIDs of version 7, so this is the order of creation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&KeyId, &Arc<ApiKey>)> {
        self.keys.iter()
    }

    /// The number of keys that are valid at `now`.
    pub fn count(&self, now: Micros) -> usize {
        self.keys.values().filter(|key| !key.is_expired(now)).count()
    }

    /// The position of the last event that changed the keys; 0 for none.
    pub const fn changed(&self) -> Position {
        self.changed
    }

    pub(super) fn created(
        &mut self,
        event: &KeyCreated,
        (position, now): (Position, Micros),
    ) -> Result<(), &'static str> {
        if self.keys.contains_key(&event.id) {
            return Err("it creates a key that exists");
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
            return Err("it revokes a key that does not exist");
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
            return Err("it rotates a key that does not exist");
        };
        let previous = event.previous_until.map(|until| Previous { hash: key.hash, until });
        let rotated =
            ApiKey { hash: event.hash, rotated_at: Some(now), previous, ..ApiKey::clone(key) };
        self.keys.insert_mut(event.id, Arc::new(rotated));
        self.changed = position;
        Ok(())
    }
}

/// `now` plus `seconds`, saturating.
pub(super) const fn after(now: Micros, seconds: u32) -> Micros {
    now.saturating_add((seconds as i64).saturating_mul(MICROS_PER_SECOND))
}
