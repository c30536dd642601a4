//! Metrics of the embedding cache.

use crate::metrics::{Counter, EncodeLabelSet, Registry, specs};

specs! {
    EMBED_CACHE = Counter "mlsdm_embedding_cache_lookups_total" ["result"] "" "Lookups in the embedding cache: found, joined to a running request for the same text, or missing"
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Lookups by result; a clone counts in the same ones.
#[derive(Clone, Debug, Default)]
pub struct CacheMetrics {
    /// The vector was in the cache.
    pub hits: Counter,
    /// The same text was being embedded for another caller.
    pub joined: Counter,
    /// The text had to be embedded.
    pub misses: Counter,
}

impl CacheMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let results = [("hit", &self.hits), ("joined", &self.joined), ("miss", &self.misses)];
        let results = results.map(|(result, counter)| (ResultLabels { result }, counter.clone()));
        registry.family(&EMBED_CACHE, results);
    }
}
