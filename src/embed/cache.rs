//! A cache of recent vectors, in front of an embedder with a noticeable cost.
//!
//! The key is the SHA-256 of the text, so the cache holds no text. The size is bounded in bytes
//! with least-recently-used eviction. Concurrent requests for equal texts share one computation and
//! its outcome; it continues while at least one caller waits. Only successful results are cached.

use std::{
    collections::HashMap,
    future::Future,
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::{FutureExt as _, Shared, WeakShared};
use lru::LruCache;
use sha2::{Digest as _, Sha256};

use super::{EmbedError, metrics::CacheMetrics};
use crate::domain::vector::UnitVector;

/// The overhead of an entry in bytes: key, list node and table slot.
const ENTRY_OVERHEAD: usize = 160;

type TextDigest = [u8; 32];
type EmbedResult = Result<UnitVector, EmbedError>;
type Computation = Shared<Pin<Box<dyn Future<Output = EmbedResult> + Send>>>;
type WeakComputation = WeakShared<Pin<Box<dyn Future<Output = EmbedResult> + Send>>>;

/// A cache. Clones share its contents.
#[derive(Clone)]
pub(super) struct Cache(Arc<Mutex<Inner>>);

struct Inner {
    vectors: LruCache<TextDigest, UnitVector>,
    /// Running computations. The waiting callers own a computation: it is dropped when the last one
    /// goes away.
    running: HashMap<TextDigest, (u64, WeakComputation)>,
    started: u64,
    metrics: CacheMetrics,
}

fn key(text: &str) -> TextDigest {
    Sha256::digest(text).into()
}

/// Removes a computation from the map when it ends or is dropped.
struct RunningGuard {
    cache: Cache,
    key: TextDigest,
    number: u64,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        let mut inner = self.cache.inner();
        // a new computation may have started after the last caller of this one went away
        if inner.running.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            inner.running.remove(&self.key);
        }
    }
}

impl Cache {
    /// A cache of at most `bytes` bytes for vectors of `dimension` components; `None` if no vector
    /// fits.
    pub(super) fn new(bytes: usize, dimension: usize) -> Option<Self> {
        let entry = dimension * size_of::<f32>() + ENTRY_OVERHEAD;
        let vectors = LruCache::new(NonZeroUsize::new(bytes / entry)?);
        Some(Self(Arc::new(Mutex::new(Inner {
            vectors,
            running: HashMap::new(),
            started: 0,
            metrics: CacheMetrics::default(),
        }))))
    }

    /// True if the vector of a text is cached.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.inner().vectors.contains(&key(text))
    }

    /// The vector of a text: cached, from a running computation, or computed now.
    pub(super) async fn get<M, F>(&self, text: &str, make: M) -> EmbedResult
    where
        M: FnOnce(String) -> F + Send + 'static,
        F: Future<Output = EmbedResult> + Send,
    {
        let key = key(text);
        let computation = {
            let mut inner = self.inner();
            if let Some(vector) = inner.vectors.get(&key) {
                let vector = vector.clone();
                inner.metrics.hits.inc();
                return Ok(vector);
            }
            let joined = inner.running.get(&key).and_then(|(_, computation)| computation.upgrade());
            if let Some(computation) = joined {
                inner.metrics.joined.inc();
                computation
            } else {
                inner.metrics.misses.inc();
                self.begin(&mut inner, key, text, make)
            }
        };
        computation.await
    }

    fn begin<M, F>(&self, inner: &mut Inner, key: TextDigest, text: &str, make: M) -> Computation
    where
        M: FnOnce(String) -> F + Send + 'static,
        F: Future<Output = EmbedResult> + Send,
    {
        inner.started += 1;
        let number = inner.started;
        let guard = RunningGuard { cache: self.clone(), key, number };
        let text = text.to_owned();
        let computation = async move {
            let outcome = make(text).await;
            if let Ok(vector) = &outcome {
                guard.cache.inner().vectors.put(guard.key, vector.clone());
            }
            drop(guard);
            outcome
        };
        let computation = computation.boxed().shared();
        // just created, so it has not ended
        if let Some(weak) = computation.downgrade() {
            inner.running.insert(key, (number, weak));
        }
        computation
    }

    /// The vectors of texts in their order. Misses are computed in one call, each text once.
    /// Running computations of other callers are not joined.
    pub(super) async fn get_all<M, F>(
        &self,
        texts: &[&str],
        make: M,
    ) -> Result<Vec<UnitVector>, EmbedError>
    where
        M: FnOnce(Vec<String>) -> F + Send,
        F: Future<Output = Result<Vec<UnitVector>, EmbedError>> + Send,
    {
        let keys: Vec<TextDigest> = texts.iter().map(|text| key(text)).collect();
        let mut found: HashMap<TextDigest, Option<UnitVector>> = HashMap::with_capacity(keys.len());
        let mut missing = Vec::new();
        let mut wanted = Vec::new();
        {
            let mut inner = self.inner();
            for (key, &text) in keys.iter().zip(texts) {
                found.entry(*key).or_insert_with(|| {
                    let known = inner.vectors.get(key).cloned();
                    if known.is_some() {
                        inner.metrics.hits.inc();
                    } else {
                        inner.metrics.misses.inc();
                        missing.push(*key);
                        wanted.push(text.to_owned());
                    }
                    known
                });
            }
        }
        if !wanted.is_empty() {
            let vectors = make(wanted).await?;
            let mut inner = self.inner();
            for (key, vector) in missing.into_iter().zip(vectors) {
                inner.vectors.put(key, vector.clone());
                found.insert(key, Some(vector));
            }
        }
        let vector = |key| found.get(key).cloned().flatten();
        let vectors: Option<_> = keys.iter().map(vector).collect();
        vectors.ok_or(EmbedError::Malformed { what: "too few vectors" })
    }

    /// The lookup counters.
    pub(super) fn metrics(&self) -> CacheMetrics {
        self.inner().metrics.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
