//! Verification of one issuer's tokens, from text to principal.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{
    Principal, Reason, Rules,
    cache::TokenCache,
    provider::{CachedKeys, Provider},
    role::Roles,
    token::{TOKEN_BYTES_MAX, Unverified},
};

/// The source of the keys that verify tokens.
pub(super) enum KeySource {
    /// An identity provider.
    Provider(Arc<Provider>),
    /// This server.
    Own(Arc<CachedKeys>),
}

impl KeySource {
    fn cached(&self) -> Arc<CachedKeys> {
        match self {
            Self::Provider(provider) => provider.cached(),
            Self::Own(keys) => Arc::clone(keys),
        }
    }
}

/// A verifier for the tokens of one issuer.
pub(super) struct Tokens {
    rules: Rules,
    known_roles: Roles,
    pub(super) source: KeySource,
    cache: TokenCache,
}

impl Tokens {
    pub(super) fn new(rules: Rules, known_roles: Roles, source: KeySource) -> Self {
        Self { rules, known_roles, source, cache: TokenCache::default() }
    }

    /// Verifies a token. A token verified before costs one hash and one cache lookup.
    pub(super) async fn verify(&self, token: &str, now: i64) -> Result<Arc<Principal>, Reason> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        let digest = Sha256::digest(token).into();
        let keys = self.source.cached();
        if keys.is_valid(now)
            && let Some(principal) = self.cache.get(&digest, now, keys.generation)
        {
            return Ok(principal);
        }
        let unverified = Unverified::parse(token, &self.rules.algorithms)?;
        let keys = self.refreshed_if_unknown(keys, &unverified, now).await;
        let key = keys.find(unverified.kid.as_deref(), unverified.algorithm, now)?;
        let claims = unverified.verify(key)?;
        let principal = Arc::new(self.rules.principal(&claims, &self.known_roles, now)?);
        self.cache.put(digest, &principal, keys.generation);
        Ok(principal)
    }

    /// Fetches the keys again if they lack the key of this token.
    async fn refreshed_if_unknown(
        &self,
        keys: Arc<CachedKeys>,
        token: &Unverified<'_>,
        now: i64,
    ) -> Arc<CachedKeys> {
        let found = keys.find(token.kid.as_deref(), token.algorithm, now).map(|_| ());
        match (&self.source, found) {
            (KeySource::Provider(provider), Err(Reason::UnknownKey | Reason::KeysUnavailable)) => {
                provider.refresh(now).await;
                provider.cached()
            }
            _ => keys,
        }
    }
}
