//! What an engine keeps of recent requests besides its state. Losing it changes no decision.

mod contexts;
mod messages;
mod readers;

pub(super) use contexts::{ContextCache, ContextKey, KeptContext};
pub(super) use messages::{ItemAt, ItemDigest, RecordedItems};
pub(super) use readers::Readers;

use crate::score::ScoreCache;

/// The caches of an engine.
#[derive(Default)]
pub(super) struct Caches {
    /// Results of scorers.
    pub(super) scores: ScoreCache,
    /// Contexts of running tool loops.
    pub(super) contexts: ContextCache,
    /// Places of recorded messages.
    pub(super) recorded: RecordedItems,
    /// Limits the searches that hold contents.
    pub(super) readers: Readers,
}
