//! A cache of verified tokens: a repeated token costs one hash and one lookup.
//!
//! The key is the SHA-256 of a token, so that no token stays in memory. An entry is valid until the token
//! expires or the issuer's keys change.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;

use super::Principal;

/// Maximum number of entries; the least recently used one is evicted.
const ENTRIES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

struct Entry {
    principal: Arc<Principal>,
    expires_at: i64,
    generation: u64,
}

/// A bounded LRU cache of verified tokens.
pub(super) struct TokenCache(Mutex<LruCache<Digest, Entry>>);

impl Default for TokenCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(ENTRIES_MAX)))
    }
}

impl TokenCache {
    /// The principal of a token, if its entry is still valid.
    pub(super) fn get(&self, token: &Digest, now: i64, generation: u64) -> Option<Arc<Principal>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(token)?;
        if now < entry.expires_at && entry.generation == generation {
            return Some(Arc::clone(&entry.principal));
        }
        entries.pop(token);
        None
    }

    /// Stores a token that the keys of this generation verified.
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
    fn an_entry_is_valid_until_the_token_expires_or_the_keys_change() {
        let cache = TokenCache::default();
        cache.put([1; 32], &principal(100), 1);
        assert!(cache.get(&[1; 32], 99, 1).is_some());
        assert!(cache.get(&[2; 32], 99, 1).is_none());
        assert!(cache.get(&[1; 32], 100, 1).is_none(), "expired");
        assert!(cache.get(&[1; 32], 99, 1).is_none(), "and removed");
        cache.put([1; 32], &principal(100), 1);
        assert!(cache.get(&[1; 32], 99, 2).is_none(), "the keys changed");
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = TokenCache::default();
        for n in 0..20_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            cache.put(digest, &principal(100), 1);
        }
        assert_eq!(cache.0.lock().unwrap().len(), ENTRIES_MAX.get());
    }
}
