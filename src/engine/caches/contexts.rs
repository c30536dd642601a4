//! The contexts of running tool loops. Each request of a loop repeats the prompt: with the same
//! context, the provider finds the beginning of the chat in its prompt cache, and the model does not see
//! its own past change.

use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::domain::{context::ContextMessage, event::ContextUse, ids::SubjectRef};

/// Maximum number of contexts per engine.
const CONTEXTS_MAX: usize = 1_024;

/// Maximum size of the contexts of an engine in bytes.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The prompt of a loop: its data subject, its digest and the index of its message.
pub(in crate::engine) type ContextKey = (SubjectRef, [u8; 32], usize);

/// The context of a prompt.
#[derive(Clone, Debug)]
pub(in crate::engine) struct KeptContext {
    /// Its facts.
    pub(in crate::engine) facts: ContextUse,
    /// The message; `None` if nothing was found.
    pub(in crate::engine) message: Option<ContextMessage>,
}

impl KeptContext {
    fn bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.text.len())
    }
}

/// Recent contexts by prompt.
pub(in crate::engine) struct ContextCache(Mutex<Inner>);

struct Inner {
    contexts: LruCache<ContextKey, Arc<KeptContext>>,
    bytes: usize,
}

impl Default for ContextCache {
    fn default() -> Self {
        Self(Mutex::new(Inner { contexts: LruCache::unbounded(), bytes: 0 }))
    }
}

impl ContextCache {
    /// The context of an earlier request with this prompt.
    pub(in crate::engine) fn get(&self, key: &ContextKey) -> Option<Arc<KeptContext>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contexts.get(key).cloned()
    }

    /// Keeps the context of a prompt. The least recently used ones make room.
    pub(in crate::engine) fn put(&self, key: ContextKey, context: KeptContext) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.bytes += context.bytes();
        if let Some(old) = inner.contexts.put(key, Arc::new(context)) {
            inner.bytes -= old.bytes();
        }
        while inner.contexts.len() > CONTEXTS_MAX || inner.bytes > BYTES_MAX {
            let Some((_, oldest)) = inner.contexts.pop_lru() else { return };
            inner.bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(bytes: usize) -> KeptContext {
        let message = ContextMessage { text: "x".repeat(bytes), used: Vec::new(), chars: bytes };
        KeptContext { facts: ContextUse::default(), message: Some(message) }
    }

    #[test]
    fn the_number_and_the_size_of_contexts_are_limited() {
        let cache = ContextCache::default();
        let key = |n: usize| (SubjectRef::new(1), [0; 32], n);
        for n in 0..=CONTEXTS_MAX {
            cache.put(key(n), context(1));
        }
        assert!(cache.get(&key(0)).is_none() && cache.get(&key(1)).is_some());
        for n in 0..3 {
            cache.put(key(n), context(BYTES_MAX / 2));
        }
        assert!(cache.get(&key(0)).is_none() && cache.get(&key(1)).is_some());
        cache.put(key(2), context(1));
        cache.put(key(3), context(BYTES_MAX / 2 - 1));
        assert!(cache.get(&key(1)).is_some(), "a replaced context no longer counts");
    }
}
