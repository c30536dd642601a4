//! The MAC of an event, compared with the bare hash.

use std::{hint::black_box, time::Instant};

use sha2::{Digest as _, Sha256 as Hasher};

use super::table::{Row, median};
use crate::{
    domain::ids::{EngineId, Sha256},
    store::keys::ContentKey,
};

const ROUNDS: usize = 101;
/// MACs in a round.
const EVENTS: u64 = 10_000;
/// A message of three blocks of SHA-256 with its padding.
const THREE_BLOCKS: usize = 3 * 64 - 9;

pub(super) fn run(content_key: &str) -> anyhow::Result<Row> {
    let (key, _) = ContentKey::from_text(content_key)?.make_mac_key(1)?;
    let engine = EngineId::default();
    let mut chain_hash = Sha256::default();
    let macs = per_event(|position| {
        // each depends on the one before, as the events of a log do
        chain_hash = Sha256(key.sign(&engine, position, chain_hash).tag);
    });
    black_box(chain_hash);
    let mut message = [0; THREE_BLOCKS];
    let hashes = per_event(|_| {
        let digest = Hasher::digest(message);
        message[..32].copy_from_slice(&digest);
    });
    black_box(message);
    Ok(Row::new("the MAC of an event", macs, "ns").limit("three blocks of SHA-256", hashes))
}

/// The median of the rounds, in nanoseconds.
fn per_event(mut run: impl FnMut(u64)) -> f64 {
    let round = |_| {
        let started = Instant::now();
        (1..=EVENTS).for_each(&mut run);
        started.elapsed().as_secs_f64() * 1e9 / EVENTS as f64
    };
    median((0..ROUNDS).map(round).collect())
}
