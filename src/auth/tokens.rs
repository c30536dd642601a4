//! Tokens of one issuer, from text to principal.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{
    Principal, Reason, Rules,
    cache::TokenCache,
    provider::{Held, Provider},
    role::Roles,
    token::{TOKEN_BYTES_MAX, Unverified},
};

/// Where the keys are that verify tokens.
pub(super) enum Source {
    /// At an identity provider.
    Provider(Arc<Provider>),
    /// Here.
    Own(Arc<Held>),
}

impl Source {
    pub(super) fn held(&self) -> Arc<Held> {
        match self {
            Self::Provider(provider) => provider.held(),
            Self::Own(held) => Arc::clone(held),
        }
    }
}

/// An issuer's tokens.
pub(super) struct Tokens {
    rules: Rules,
    known: Roles,
    pub(super) source: Source,
    cache: TokenCache,
}

impl Tokens {
    pub(super) fn new(rules: Rules, known: Roles, source: Source) -> Self {
        Self { rules, known, source, cache: TokenCache::default() }
    }

    /// Who a token is about. A token that was verified before costs a hash and a look.
    pub(super) async fn verify(&self, token: &str, now: i64) -> Result<Arc<Principal>, Reason> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        let digest = Sha256::digest(token).into();
        let held = self.source.held();
        if held.counts(now)
            && let Some(principal) = self.cache.get(&digest, now, held.generation)
        {
            return Ok(principal);
        }
        let unverified = Unverified::parse(token, &self.rules.algorithms)?;
        let held = self.holding(held, &unverified, now).await;
        let key = held.find(unverified.kid.as_deref(), unverified.algorithm, now)?;
        let claims = unverified.verify(key)?;
        let principal = Arc::new(self.rules.principal(&claims, &self.known, now)?);
        self.cache.put(digest, &principal, held.generation);
        Ok(principal)
    }

    /// The keys, fetched again if they lack the one of this token.
    async fn holding(&self, held: Arc<Held>, token: &Unverified<'_>, now: i64) -> Arc<Held> {
        let found = held.find(token.kid.as_deref(), token.algorithm, now).map(|_| ());
        match (&self.source, found) {
            (Source::Provider(provider), Err(Reason::UnknownKey | Reason::KeysUnavailable)) => {
                provider.refresh(now).await;
                provider.held()
            }
            _ => held,
        }
    }
}
