//! Message authentication codes of events, which make a forged event evident.
//!
//! ```text
//! mac = HMAC-SHA-256(K, "mlsdm event" ‖ length of engine ‖ engine ‖ position ‖ chain_hash)
//! ```
//! Integers are 8 bytes, big-endian. Nothing in the hash chain is secret, so whoever may insert into
//! `events` can append a well-formed event; without K it has no valid MAC. `chain_hash` covers all
//! columns and all events before, so a MAC is valid in one place of one history only.
//!
//! The keys are rows of `mac_keys`, wrapped by the content key. [`MacRing`] holds the keys that this
//! process has read; reading and making them is in `mac_keys`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hmac::{Hmac as HmacOf, Mac};
use sha2::Sha256 as Hasher;
use zeroize::Zeroizing;

use super::{
    records::EventMac,
    seal::{KEY_BYTES, Secret},
};
use crate::domain::ids::{EngineId, MacKeyId, Position, Sha256};

/// Maximum number of MAC keys in memory.
pub const MAC_KEYS_MAX: usize = 1_024;

/// The block size of SHA-256.
const BLOCK_BYTES: usize = 64;

const LABEL: &[u8] = b"mlsdm event";

/// One MAC key. The padded key is hashed in advance, so that a MAC costs three blocks of SHA-256.
pub struct MacKey {
    id: MacKeyId,
    keyed: HmacOf<Hasher>,
}

impl MacKey {
    pub(super) fn new(id: MacKeyId, key: &Secret) -> Self {
        // a key of a whole block is used as it is, and the construction cannot fail
        let mut block = Zeroizing::new([0; BLOCK_BYTES]);
        block[..KEY_BYTES].copy_from_slice(key.as_slice());
        Self { id, keyed: <HmacOf<Hasher> as Mac>::new((&*block).into()) }
    }

    /// Its id in `mac_keys`.
    pub const fn id(&self) -> MacKeyId {
        self.id
    }

    /// The MAC of the event with this chain hash.
    pub fn sign(&self, engine: &EngineId, position: Position, chain_hash: Sha256) -> EventMac {
        let tag = self.over(engine, position, chain_hash).finalize().into_bytes().into();
        EventMac { key: self.id, tag }
    }

    /// True if this is the MAC of the event with this chain hash. Takes the same time for every tag.
    pub fn verify(
        &self,
        engine: &EngineId,
        position: Position,
        chain_hash: Sha256,
        mac: &EventMac,
    ) -> bool {
        let computed = self.over(engine, position, chain_hash);
        mac.key == self.id && computed.verify_slice(&mac.tag).is_ok()
    }

    fn over(&self, engine: &EngineId, position: Position, chain_hash: Sha256) -> HmacOf<Hasher> {
        let name = engine.as_str().as_bytes();
        self.keyed
            .clone()
            .chain_update(LABEL)
            .chain_update((name.len() as u64).to_be_bytes())
            .chain_update(name)
            .chain_update(position.to_be_bytes())
            .chain_update(chain_hash.0)
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({})", self.id)
    }
}

/// The MAC keys of one database, as far as this process has read them; shared by all folds and
/// writers.
#[derive(Debug, Default)]
pub struct MacRing(RwLock<Keys>);

#[derive(Debug, Default)]
struct Keys {
    by_id: BTreeMap<MacKeyId, Arc<MacKey>>,
    selected: Option<MacKeyId>,
}

impl MacRing {
    /// The key with this id, if it was read.
    pub fn get(&self, id: MacKeyId) -> Option<Arc<MacKey>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The key of new events: the selected one, else the newest.
    pub fn current(&self) -> Option<Arc<MacKey>> {
        let keys = self.read();
        let selected = keys.selected.and_then(|id| keys.by_id.get(&id));
        selected.or_else(|| keys.by_id.values().next_back()).cloned()
    }

    /// The newest key.
    pub fn newest(&self) -> Option<Arc<MacKey>> {
        self.read().by_id.values().next_back().cloned()
    }

    /// Makes the key with this id the key of new events, from the moment at which it is read. An
    /// earlier key does not come back.
    pub fn select(&self, id: MacKeyId) {
        let mut keys = self.write();
        keys.selected = keys.selected.max(Some(id));
    }

    /// Adds a key. A full ring is emptied except for the key of new events.
    pub fn add(&self, key: MacKey) {
        let mut keys = self.write();
        if keys.by_id.len() >= MAC_KEYS_MAX {
            let kept = keys.selected;
            keys.by_id.retain(|id, _| Some(*id) == kept);
        }
        keys.by_id.insert(key.id, Arc::new(key));
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
