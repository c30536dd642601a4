//! The hash chain, which makes edits of the log evident.
//!
//! ```text
//! leaf = SHA-256(0x00 ‖ format ‖ all columns in table order except leaf_hash and chain_hash)
//! chain_0 = SHA-256(0x02 ‖ engine_id)
//! chain_n = SHA-256(0x02 ‖ chain_{n−1} ‖ position ‖ leaf)
//! ```
//! A column is encoded as one tag byte (0 = NULL, 1 = a value) and, for a value, its length (8
//! bytes, big-endian) and its bytes as stored; integers are 8 bytes big-endian, two's complement.
//! NULL and the empty value therefore differ, and no two rows have the same encoding.

use sha2::{Digest, Sha256 as Hasher};

use super::{
    mac::MacKey,
    records::{Head, Record},
};
use crate::domain::ids::{EngineId, Micros, Position, Sha256};

/// The version of the leaf encoding.
const LEAF_FORMAT: u8 = 1;
/// Domain separation as in RFC 6962: leaves start with 0x00, inner nodes with 0x01, links with
/// 0x02.
const LEAF: u8 = 0x00;
const LINK: u8 = 0x02;

fn value(hash: &mut Hasher, bytes: &[u8]) {
    hash.update([1]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn maybe(hash: &mut Hasher, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => value(hash, bytes),
        None => hash.update([0]),
    }
}

/// The hash of one event, excluding the record's `leaf_hash` and `chain_hash`.
pub fn leaf(engine: &EngineId, record: &Record) -> Sha256 {
    let mut hash = Hasher::new();
    hash.update([LEAF, LEAF_FORMAT]);
    value(&mut hash, engine.as_str().as_bytes());
    value(&mut hash, &record.position.to_be_bytes());
    value(&mut hash, &record.command_id.get().to_be_bytes());
    value(&mut hash, record.kind.as_bytes());
    value(&mut hash, &u64::from(record.schema_version).to_be_bytes());
    value(&mut hash, &u64::from(record.decide_version).to_be_bytes());
    value(&mut hash, &record.recorded_at.to_be_bytes());
    maybe(&mut hash, record.step.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    maybe(&mut hash, record.request_id.as_deref().map(str::as_bytes));
    maybe(&mut hash, record.actor.as_deref().map(str::as_bytes));
    let subject = record.subject_ref.map(|subject| subject.get().to_be_bytes());
    maybe(&mut hash, subject.as_ref().map(<[u8; 16]>::as_slice));
    maybe(&mut hash, record.trace_id.as_ref().map(<[u8; 16]>::as_slice));
    value(&mut hash, &record.payload);
    maybe(&mut hash, record.content_hash.as_ref().map(|hash| hash.0.as_slice()));
    Sha256(hash.finalize().into())
}

/// The chain hash before the first event.
pub fn genesis(engine: &EngineId) -> Sha256 {
    Sha256(Hasher::new().chain_update([LINK]).chain_update(engine.as_str()).finalize().into())
}

impl Head {
    /// The head of an empty log.
    pub fn before_first(engine: &EngineId) -> Self {
        Self { position: 0, chain_hash: genesis(engine), recorded_at: Micros::MIN }
    }
}

/// The chain hash after the event at `position`.
pub fn link(previous: Sha256, position: Position, leaf: Sha256) -> Sha256 {
    let hash = Hasher::new()
        .chain_update([LINK])
        .chain_update(previous.0)
        .chain_update(position.to_be_bytes())
        .chain_update(leaf.0);
    Sha256(hash.finalize().into())
}

/// Fills in the hashes of an event that follows the event with the chain hash `previous`, and its MAC
/// if the log has a key.
pub fn extend(engine: &EngineId, previous: Sha256, key: Option<&MacKey>, record: &mut Record) {
    record.leaf_hash = leaf(engine, record);
    record.chain_hash = link(previous, record.position, record.leaf_hash);
    record.mac = key.map(|key| key.sign(engine, record.position, record.chain_hash));
}

/// The hash of a contents row: both sealed parts, encoded like columns.
pub fn content_hash(sealed: &[u8], vector: Option<&[u8]>) -> Sha256 {
    let mut hash = Hasher::new();
    value(&mut hash, sealed);
    maybe(&mut hash, vector);
    Sha256(hash.finalize().into())
}

#[cfg(test)]
mod tests;
