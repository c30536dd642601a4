//! Vectors of texts that were embedded lately, in front of an embedder that costs something.
//!
//! Keyed by the SHA-256 of the text, so no text is kept. Bounded in bytes: the vector used longest
//! ago makes room. Equal texts asked for at the same time are embedded once, and all who asked get
//! that outcome; it goes on as long as one of them waits. Only success is kept.

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

/// Bytes of an entry beside its numbers: key, list and table.
const ENTRY_OVERHEAD: usize = 160;

type Key = [u8; 32];
type Outcome = Result<UnitVector, EmbedError>;
type Flight = Shared<Pin<Box<dyn Future<Output = Outcome> + Send>>>;
type WeakFlight = WeakShared<Pin<Box<dyn Future<Output = Outcome> + Send>>>;

/// A cache; a clone is the same one.
#[derive(Clone)]
pub(super) struct Cache(Arc<Mutex<Inner>>);

struct Inner {
    known: LruCache<Key, UnitVector>,
    /// Texts that are being embedded. Those who wait own the flight: nobody waits, it ends.
    flights: HashMap<Key, (u64, WeakFlight)>,
    flown: u64,
    metrics: CacheMetrics,
}

fn key(text: &str) -> Key {
    Sha256::digest(text).into()
}

/// Takes a flight off the board when it ends, or is given up.
struct Landing {
    cache: Cache,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut inner = self.cache.inner();
        // another may have begun since the last who waited for this one went away
        if inner.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            inner.flights.remove(&self.key);
        }
    }
}

impl Cache {
    /// A cache of at most so many bytes for vectors of this dimension; none if not one fits.
    pub(super) fn new(bytes: usize, dimension: usize) -> Option<Self> {
        let entry = dimension * size_of::<f32>() + ENTRY_OVERHEAD;
        let known = LruCache::new(NonZeroUsize::new(bytes / entry)?);
        Some(Self(Arc::new(Mutex::new(Inner {
            known,
            flights: HashMap::new(),
            flown: 0,
            metrics: CacheMetrics::default(),
        }))))
    }

    /// The vector of a text: known, on its way, or made now.
    pub(super) async fn get<M, F>(&self, text: &str, make: M) -> Outcome
    where
        M: FnOnce(String) -> F + Send + 'static,
        F: Future<Output = Outcome> + Send,
    {
        let key = key(text);
        let flight = {
            let mut inner = self.inner();
            if let Some(vector) = inner.known.get(&key) {
                let vector = vector.clone();
                inner.metrics.hits.inc();
                return Ok(vector);
            }
            let flying = inner.flights.get(&key).and_then(|(_, flight)| flight.upgrade());
            if let Some(flight) = flying {
                inner.metrics.joined.inc();
                flight
            } else {
                inner.metrics.misses.inc();
                self.begin(&mut inner, key, text, make)
            }
        };
        flight.await
    }

    fn begin<M, F>(&self, inner: &mut Inner, key: Key, text: &str, make: M) -> Flight
    where
        M: FnOnce(String) -> F + Send + 'static,
        F: Future<Output = Outcome> + Send,
    {
        inner.flown += 1;
        let number = inner.flown;
        let landing = Landing { cache: self.clone(), key, number };
        let text = text.to_owned();
        let flight = async move {
            let outcome = make(text).await;
            if let Ok(vector) = &outcome {
                landing.cache.inner().known.put(landing.key, vector.clone());
            }
            drop(landing);
            outcome
        };
        let flight = flight.boxed().shared();
        // just made, so it has not ended
        if let Some(weak) = flight.downgrade() {
            inner.flights.insert(key, (number, weak));
        }
        flight
    }

    /// The vectors of texts, in their order; those not known are made at once, each text once. What
    /// is on its way for others is not waited for.
    pub(super) async fn get_all<M, F>(
        &self,
        texts: &[&str],
        make: M,
    ) -> Result<Vec<UnitVector>, EmbedError>
    where
        M: FnOnce(Vec<String>) -> F + Send,
        F: Future<Output = Result<Vec<UnitVector>, EmbedError>> + Send,
    {
        let keys: Vec<Key> = texts.iter().map(|text| key(text)).collect();
        let mut found: HashMap<Key, Option<UnitVector>> = HashMap::with_capacity(keys.len());
        let mut missing = Vec::new();
        let mut wanted = Vec::new();
        {
            let mut inner = self.inner();
            for (key, &text) in keys.iter().zip(texts) {
                found.entry(*key).or_insert_with(|| {
                    let known = inner.known.get(key).cloned();
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
                inner.known.put(key, vector.clone());
                found.insert(key, Some(vector));
            }
        }
        let vector = |key| found.get(key).cloned().flatten();
        let vectors: Option<_> = keys.iter().map(vector).collect();
        vectors.ok_or(EmbedError::Malformed { what: "too few vectors" })
    }

    /// What was looked up so far.
    pub(super) fn metrics(&self) -> CacheMetrics {
        self.inner().metrics.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
