//! A cache of sealed contents that were recently written or read, so that memory retrieval needs no
//! query.
//!
//! Entries stay sealed: each use opens them with the subject's key, so an erasure of the subject,
//! which deletes the key, makes them unreadable. A position is written once, so no entry becomes
//! stale. The size is bounded in bytes with least-recently-used eviction. Not here: access control
//! to contents.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::{Content, Record, SealedContent};
use crate::domain::ids::Position;

/// The capacity per engine in bytes: about ten thousand exchanges of a few sentences.
pub const CONTENT_CACHE_BYTES: usize = 8 << 20;

/// The overhead of an entry in bytes: ids, list node and table slot.
const ENTRY_OVERHEAD: usize = 160;

/// The content cache of one engine.
#[derive(Debug)]
pub struct ContentCache(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    entries: LruCache<Position, Arc<SealedContent>>,
    bytes: usize,
    bytes_max: usize,
}

impl ContentCache {
    /// An empty cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Mutex::new(Inner { entries: LruCache::unbounded(), bytes: 0, bytes_max }))
    }

    /// The cached contents at these positions, and the positions of the others.
    pub fn get(&self, positions: &[Position]) -> (Vec<Arc<SealedContent>>, Vec<Position>) {
        let mut inner = self.inner();
        let (mut found, mut missing) = (Vec::with_capacity(positions.len()), Vec::new());
        for position in positions {
            match inner.entries.get(position) {
                Some(content) => found.push(Arc::clone(content)),
                None => missing.push(*position),
            }
        }
        (found, missing)
    }

    /// Inserts contents that were read from the store.
    pub fn insert(&self, contents: impl IntoIterator<Item = Arc<SealedContent>>) {
        let mut inner = self.inner();
        contents.into_iter().for_each(|content| inner.insert(content));
    }

    /// Inserts the contents of a committed batch.
    pub(super) fn insert_committed(&self, records: &[Record], contents: Vec<(Position, Content)>) {
        let mut records = records.iter();
        // both are in the order of their positions
        let sealed = contents.into_iter().filter_map(|(position, content)| {
            let record = records.find(|record| record.position == position)?;
            Some(Arc::new(SealedContent {
                position,
                command_id: record.command_id,
                subject_ref: record.subject_ref?,
                sealed: content.sealed,
            }))
        });
        self.insert(sealed);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, content: Arc<SealedContent>) {
        self.bytes += size(&content);
        if let Some((_, before)) = self.entries.push(content.position, content) {
            self.bytes -= size(&before);
        }
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.entries.pop_lru() else { break };
            self.bytes -= size(&oldest);
        }
    }
}

fn size(content: &SealedContent) -> usize {
    content.sealed.len() + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{CommandId, SubjectRef};

    fn content(position: Position, bytes: usize) -> Arc<SealedContent> {
        Arc::new(SealedContent {
            position,
            command_id: CommandId::new(1),
            subject_ref: SubjectRef::new(1),
            sealed: vec![0; bytes],
        })
    }

    fn cached(cache: &ContentCache, positions: &[Position]) -> Vec<Position> {
        cache.get(positions).0.iter().map(|content| content.position).collect()
    }

    #[test]
    fn the_least_recently_used_content_is_evicted() {
        let cache = ContentCache::new(3 * (100 + ENTRY_OVERHEAD));
        cache.insert((1..=3).map(|position| content(position, 100)));
        assert_eq!(cache.get(&[1, 9]).1, [9]);
        cache.insert([content(4, 100)]);
        assert_eq!(cached(&cache, &[1, 2, 3, 4]), [1, 3, 4]);
        cache.insert([content(5, 200)]);
        assert_eq!(
            cached(&cache, &[1, 2, 3, 4, 5]),
            [4, 5],
            "the limit is in bytes, not in entries"
        );
    }

    #[test]
    fn a_content_larger_than_the_cache_is_not_cached() {
        let cache = ContentCache::new(1_000);
        cache.insert([content(1, 10), content(2, 5_000), content(3, 10)]);
        assert_eq!(cached(&cache, &[1, 2, 3]), [3]);
        assert!(cache.inner().bytes < 1_000);
    }

    #[test]
    fn a_content_inserted_again_counts_once() {
        let cache = ContentCache::new(1_000);
        for _ in 0..50 {
            cache.insert([content(1, 100)]);
        }
        assert_eq!(cache.inner().bytes, 100 + ENTRY_OVERHEAD);
    }
}
