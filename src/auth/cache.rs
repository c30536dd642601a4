//! Tokens that were verified, so that a token that comes again costs a hash and a look.
//!
//! Keyed by SHA-256, so that no token stays in memory. An entry counts until the token expires, and
//! only as long as the issuer's keys are those that verified it.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;

use super::Principal;

/// Most tokens remembered; the one used longest ago makes room.
pub(super) const ENTRIES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

struct Entry {
    principal: Arc<Principal>,
    expires_at: i64,
    generation: u64,
}

/// The tokens.
pub(super) struct TokenCache(Mutex<LruCache<Digest, Entry>>);

impl Default for TokenCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(ENTRIES_MAX)))
    }
}

impl TokenCache {
    /// Who a token was found to be about, if that still counts.
    pub(super) fn get(&self, token: &Digest, now: i64, generation: u64) -> Option<Arc<Principal>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(token)?;
        if now < entry.expires_at && entry.generation == generation {
            return Some(Arc::clone(&entry.principal));
        }
        entries.pop(token);
        None
    }

    /// Remembers a token that the keys of this generation verified.
    pub(super) fn put(&self, token: Digest, principal: &Arc<Principal>, generation: u64) {
        let Some(expires_at) = principal.expires_at else { return };
        let entry = Entry { principal: Arc::clone(principal), expires_at, generation };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(token, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(expires_at: i64) -> Arc<Principal> {
        Arc::new(Principal { expires_at: Some(expires_at), ..Principal::anonymous() })
    }

    #[test]
    fn an_entry_counts_until_the_token_expires_or_the_keys_change() {
        let cache = TokenCache::default();
        cache.put([1; 32], &principal(100), 1);
        assert!(cache.get(&[1; 32], 99, 1).is_some());
        assert!(cache.get(&[2; 32], 99, 1).is_none());
        assert!(cache.get(&[1; 32], 100, 1).is_none(), "expired");
        assert!(cache.get(&[1; 32], 99, 1).is_none(), "and forgotten");
        cache.put([1; 32], &principal(100), 1);
        assert!(cache.get(&[1; 32], 99, 2).is_none(), "other keys");
    }

    #[test]
    fn it_is_bounded() {
        let cache = TokenCache::default();
        for n in 0..20_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            cache.put(digest, &principal(100), 1);
        }
        assert_eq!(cache.0.lock().unwrap().len(), ENTRIES_MAX.get());
    }
}
