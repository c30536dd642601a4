//! The places of recorded messages. A client sends the whole conversation with each request; the log
//! keeps each message of it once and refers to it afterwards.

use std::sync::{Mutex, PoisonError};

use lru::LruCache;

use crate::domain::ids::{Position, SubjectRef};

/// Maximum number of places per engine.
const ITEMS_MAX: usize = 65_536;

/// The first bytes of the SHA-256 of a message.
pub(in crate::engine) type ItemDigest = [u8; 16];

/// The place of a recorded message: an event, and the index in its list of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct ItemAt {
    /// The position of the event.
    pub(in crate::engine) at: Position,
    /// The index.
    pub(in crate::engine) item: usize,
}

/// The places of the messages of recent requests, by data subject and digest.
pub(in crate::engine) struct RecordedItems(Mutex<LruCache<(SubjectRef, ItemDigest), ItemAt>>);

impl Default for RecordedItems {
    fn default() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }
}

impl RecordedItems {
    /// The places of the messages with these digests.
    pub(in crate::engine) fn places(
        &self,
        subject: SubjectRef,
        digests: &[ItemDigest],
    ) -> Vec<Option<ItemAt>> {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        digests.iter().map(|digest| items.get(&(subject, *digest)).copied()).collect()
    }

    /// Adds the messages that an event has in its own list. The least recently used ones make room.
    pub(in crate::engine) fn add(
        &self,
        subject: SubjectRef,
        at: Position,
        own: &[(ItemDigest, usize)],
    ) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (digest, item) in own {
            items.put((subject, *digest), ItemAt { at, item: *item });
            if items.len() > ITEMS_MAX {
                items.pop_lru();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_subject_and_their_number_is_limited() {
        let items = RecordedItems::default();
        let (ann, bob) = (SubjectRef::new(1), SubjectRef::new(2));
        let digest = |n: usize| {
            let mut digest = [0; 16];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            digest
        };
        items.add(ann, 7, &[(digest(0), 3)]);
        assert_eq!(
            items.places(ann, &[digest(0), digest(1)]),
            [Some(ItemAt { at: 7, item: 3 }), None]
        );
        assert_eq!(items.places(bob, &[digest(0)]), [None]);
        let many: Vec<_> = (1..=ITEMS_MAX).map(|n| (digest(n), n)).collect();
        items.add(ann, 8, &many);
        assert_eq!(items.places(ann, &[digest(0)]), [None]);
    }
}
