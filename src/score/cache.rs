//! Recent results of scorers. A tool loop sends the same text with each request: it is scored again,
//! and a scorer that is slow or not deterministic gives the same result.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;

use crate::domain::event::ScorerResult;

/// Maximum number of results per engine.
const RESULTS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);

/// The results of an engine by a digest of the judged texts, their data subject and the scorer. It
/// holds no text.
pub struct ScoreCache(Mutex<LruCache<[u8; 32], Option<ScorerResult>>>);

impl Default for ScoreCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(RESULTS_MAX)))
    }
}

impl fmt::Debug for ScoreCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScoreCache")
    }
}

impl ScoreCache {
    /// The result for a digest.
    pub fn get(&self, digest: &[u8; 32]) -> Option<Option<ScorerResult>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Adds a result. The least recently used one makes room.
    pub fn put(&self, digest: [u8; 32], result: Option<ScorerResult>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(digest, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_results_is_limited() {
        let cache = ScoreCache::default();
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            digest
        };
        for n in 0..=RESULTS_MAX.get() {
            cache.put(digest(n), None);
        }
        assert_eq!(cache.get(&digest(0)), None);
        assert_eq!(cache.get(&digest(1)), Some(None));
    }
}
