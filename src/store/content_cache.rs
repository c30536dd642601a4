//! Sealed texts that were written or read lately, so that what is remembered costs no query.
//!
//! They stay sealed: a text is opened with its subject's key at each use, and erasing the subject takes
//! that key away. A position is never written twice, so nothing here can be out of date. Bounded in
//! bytes; the text used longest ago makes room. Deliberately not here: which texts a step may see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::{Content, Record, SealedContent};
use crate::domain::ids::Position;

/// Bytes entries for one engine: some ten thousand exchanges of a few sentences.
pub const CONTENT_CACHE_BYTES: usize = 8 << 20;

/// Bytes of an entry beside its text: ids, list and table.
const ENTRY_OVERHEAD: usize = 160;

/// The texts of one engine.
#[derive(Debug)]
pub struct ContentCache(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    entries: LruCache<Position, Arc<SealedContent>>,
    bytes: usize,
    bytes_max: usize,
}

impl ContentCache {
    /// An empty store of at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Mutex::new(Inner { entries: LruCache::unbounded(), bytes: 0, bytes_max }))
    }

    /// The texts at these positions that are here, and the positions of the others.
    pub fn get(&self, positions: &[Position]) -> (Vec<Arc<SealedContent>>, Vec<Position>) {
        let mut inner = self.inner();
        let (mut found, mut missing) = (Vec::with_capacity(positions.len()), Vec::new());
        for position in positions {
            match inner.entries.get(position) {
                Some(text) => found.push(Arc::clone(text)),
                None => missing.push(*position),
            }
        }
        (found, missing)
    }

    /// Keeps texts that were read.
    pub fn insert(&self, texts: impl IntoIterator<Item = Arc<SealedContent>>) {
        let mut inner = self.inner();
        texts.into_iter().for_each(|text| inner.insert(text));
    }

    /// Keeps the texts of a batch that is in the log.
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
    fn insert(&mut self, text: Arc<SealedContent>) {
        self.bytes += size(&text);
        if let Some((_, before)) = self.entries.push(text.position, text) {
            self.bytes -= size(&before);
        }
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.entries.pop_lru() else { break };
            self.bytes -= size(&oldest);
        }
    }
}

fn size(text: &SealedContent) -> usize {
    text.sealed.len() + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{CommandId, SubjectRef};

    fn text(position: Position, bytes: usize) -> Arc<SealedContent> {
        Arc::new(SealedContent {
            position,
            command_id: CommandId::new(1),
            subject_ref: SubjectRef::new(1),
            sealed: vec![0; bytes],
        })
    }

    fn here(texts: &ContentCache, positions: &[Position]) -> Vec<Position> {
        texts.get(positions).0.iter().map(|text| text.position).collect()
    }

    #[test]
    fn the_text_used_longest_ago_makes_room() {
        let texts = ContentCache::new(3 * (100 + ENTRY_OVERHEAD));
        texts.insert((1..=3).map(|position| text(position, 100)));
        assert_eq!(texts.get(&[1, 9]).1, [9]);
        texts.insert([text(4, 100)]);
        assert_eq!(here(&texts, &[1, 2, 3, 4]), [1, 3, 4]);
        texts.insert([text(5, 200)]);
        assert_eq!(here(&texts, &[1, 2, 3, 4, 5]), [4, 5], "in bytes, not in number");
    }

    #[test]
    fn one_that_does_not_fit_at_all_is_not_kept() {
        let texts = ContentCache::new(1_000);
        texts.insert([text(1, 10), text(2, 5_000), text(3, 10)]);
        assert_eq!(here(&texts, &[1, 2, 3]), [3]);
        assert!(texts.inner().bytes < 1_000);
    }

    #[test]
    fn the_same_text_counts_once() {
        let texts = ContentCache::new(1_000);
        for _ in 0..50 {
            texts.insert([text(1, 100)]);
        }
        assert_eq!(texts.inner().bytes, 100 + ENTRY_OVERHEAD);
    }
}
