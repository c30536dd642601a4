//! API keys, stored and looked up by their SHA-256 hash.
//!
//! Up to two keys come from configuration. The others are managed keys, recorded in the system log
//! ([`crate::domain::keys`]); their principals are computed when that log changes. Authenticating a
//! request therefore costs one hash and one lookup, however many keys exist.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    EngineScope, Method, Principal, Reason,
    role::{ADMIN, Roles, USER},
};
use crate::{
    domain::{
        ids::{self, KeyId, Micros, Position},
        keys::{ApiKey, KeyRate},
    },
    rates::Rate,
    store::seal::{SealError, random_key},
};

/// Maximum length of a key in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// Prefix of managed keys, by which secret scanners recognise them:
/// `mlsdm_[0-9a-f]{32}_[0-9a-f]{64}`, the id of the key and 256 random bits.
pub const PREFIX: &str = "mlsdm_";

type Digest = [u8; 32];

/// The API keys of a server.
pub struct Keys {
    fixed: Vec<(Digest, Arc<Principal>)>,
    roles: Roles,
    managed: ArcSwap<Managed>,
}

/// The managed keys at one position of the system log.
#[derive(Default)]
struct Managed {
    changed: Position,
    by_hash: HashMap<Digest, Arc<Principal>>,
}

impl Keys {
    /// The keys of configuration: that of applications with its role, and that of administrators.
    /// Managed keys are added by [`Self::manage`].
    pub fn fixed(
        user: Option<(&SecretString, &str)>,
        admin: Option<&SecretString>,
        engines: &EngineScope,
        roles: Roles,
    ) -> Self {
        let key = |key: &SecretString, id: &str, role: &str, engines: EngineScope| {
            let (named, permissions) = roles.resolve([role].into_iter());
            let principal = Principal {
                subject: subject(id),
                name: None,
                roles: named,
                permissions,
                engines,
                method: Method::Key,
                key_id: None,
                expires_at: None,
                rate: None,
                budget: None,
            };
            (digest(key.expose_secret()), Arc::new(principal))
        };
        // its data subject stays the same whatever its role is
        let user = user.map(|(user, role)| key(user, USER, role, engines.clone()));
        let admin = admin.map(|admin| key(admin, ADMIN, ADMIN, EngineScope::All));
        let fixed = user.into_iter().chain(admin).collect();
        Self { fixed, roles, managed: ArcSwap::default() }
    }

    /// The roles of the server.
    pub const fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Replaces the managed keys. `changed` is the position of the last change in the system log; an
    /// update older than the current one is ignored.
    pub fn manage<'k>(
        &self,
        changed: Position,
        keys: impl IntoIterator<Item = (&'k KeyId, &'k Arc<ApiKey>)>,
    ) {
        if changed <= self.managed.load().changed {
            return;
        }
        let mut by_hash = HashMap::new();
        for (id, key) in keys {
            let principal = self.principal(*id, key);
            if let Some(previous) = key.previous {
                let until = seconds(previous.until);
                let end = principal.expires_at.map_or(until, |end| end.min(until));
                let previous_principal = Principal { expires_at: Some(end), ..principal.clone() };
                by_hash.insert(previous.hash.0, Arc::new(previous_principal));
            }
            by_hash.insert(key.hash.0, Arc::new(principal));
        }
        let fresh = Arc::new(Managed { changed, by_hash });
        self.managed
            .rcu(|current| Arc::clone(if current.changed < changed { &fresh } else { current }));
    }

    fn principal(&self, id: KeyId, key: &ApiKey) -> Principal {
        let grant = &key.grant;
        let (roles, permissions) = self.roles.resolve(grant.roles.iter().map(String::as_str));
        Principal {
            subject: subject(&id.to_string()),
            name: Some(grant.name.clone()),
            roles,
            permissions,
            engines: EngineScope::named(grant.engines.iter().map(String::as_str)),
            method: Method::Key,
            key_id: Some(id),
            expires_at: grant.expires_at.map(seconds),
            rate: grant.rate.and_then(rate),
            budget: grant.budget,
        }
    }

    /// Authenticates a key. All keys of configuration are compared in constant time, whichever matches.
    /// Managed keys are looked up by hash, whose timing reveals nothing of a key.
    pub fn find(&self, key: &str, now: i64) -> Result<Arc<Principal>, Reason> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        let digest = digest(key);
        let mut found = None;
        for (fixed, principal) in &self.fixed {
            if bool::from(fixed.ct_eq(&digest)) {
                found = Some(Arc::clone(principal));
            }
        }
        let found = found.or_else(|| self.managed.load().by_hash.get(&digest).cloned());
        let principal = found.ok_or(Reason::UnknownApiKey)?;
        if principal.expires_at.is_some_and(|end| now >= end) {
            return Err(Reason::Expired);
        }
        Ok(principal)
    }
}

/// Generates a secret for a key. Only the hash is stored.
pub fn mint(id: KeyId) -> Result<(SecretString, ids::Sha256), SealError> {
    let secret = format!("{PREFIX}{id}_{}", hex::encode(*random_key()?));
    let hash = ids::Sha256(digest(&secret));
    Ok((secret.into(), hash))
}

/// The subject of a key's principal, recorded as the actor of its requests.
pub fn subject(id: &str) -> String {
    format!("key:{id}")
}

fn digest(key: &str) -> Digest {
    Sha256::digest(key).into()
}

/// Rounds down to whole seconds: a key that expires within a second expires at its start.
const fn seconds(time: Micros) -> i64 {
    time.div_euclid(1_000_000)
}

fn rate(rate: KeyRate) -> Option<Rate> {
    Rate::new(rate.requests, u64::from(rate.window_seconds), None)
}

#[cfg(test)]
mod tests;
