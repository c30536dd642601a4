//! Events of memory items and of the contents that they refer to.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{EngineId, Position};

/// The maximum number of items in one event.
pub const POSITIONS_MAX: usize = 1_000;

/// The effect of a step on the lattice memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum MemoryOutcome {
    /// An item was stored.
    Stored {
        /// The store number: this is the `n`-th item ever stored, counted from 1.
        n: u64,
        /// Its eviction key when it was stored: `n + ⌊capacity · confidence⌋`.
        key: u64,
        /// Its phase value, in [0, 1].
        phase: f32,
        /// The item that was evicted to make room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        victim: Option<Position>,
    },
    /// Nothing was stored.
    NotStored {
        /// The reason.
        why: NotStoredReason,
    },
}

/// The reason for not storing an answer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotStoredReason {
    /// The confidence is below `min_store_confidence`.
    Confidence,
    /// The answer repeats itself.
    Looping,
    /// The data subject was erased while the step was running.
    Erased,
    /// The answer is a call of a tool.
    ToolCall,
    /// The request has no text to remember.
    MediaOnly,
    /// The policy or the request allows no remembering.
    MemoryOff,
    /// The answer is not whole: the model or a limit ended it early.
    Cut,
}

/// The origin of a copied memory item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemOrigin {
    /// The source engine.
    pub engine: EngineId,
    /// The position of the item in the source engine's log.
    pub position: Position,
}

/// `memory.added`
///
/// Its content holds the prompt and the answer together, so the item has one position for both. The
/// event belongs to no step and changes no step counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryAdded {
    /// The item that was copied; absent if the item is no copy, which needs version 2 of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ItemOrigin>,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The store number: this is the `n`-th item ever stored in this engine, counted from 1.
    pub n: u64,
    /// Its eviction key when it was stored: `n + ⌊capacity · confidence⌋`.
    pub key: u64,
    /// Its phase value, in [0, 1]; that of the source engine if it was copied.
    pub phase: f32,
    /// The confidence of its answer, in [0, 1].
    pub confidence: f64,
    /// True if it is consolidated.
    pub consolidated: bool,
    /// The item that was evicted to make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<Position>,
    /// Euclidean norms of L1, L2, L3 after the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_norms: Option<[f32; 3]>,
}

/// `memory.consolidated`, `memory.evicted`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The positions of the items, at most [`POSITIONS_MAX`].
    pub positions: Vec<Position>,
}

/// `memory.forgotten`
///
/// Deletes the contents of the items. Like an erasure, its fold removes the items and resets the
/// trace levels, to which the vectors of the items contributed: a replay no longer has these
/// vectors, and it must reach the state of a running process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryForgotten {
    /// The positions of the items, at most [`POSITIONS_MAX`].
    pub positions: Vec<Position>,
    /// An administrator as a plain name, or the pseudonym of the data subject.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `memory.shared`: all data subjects may find the items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryShared {
    /// The positions of the items, at most [`POSITIONS_MAX`].
    pub positions: Vec<Position>,
    /// An administrator as a plain name, or the pseudonym of the data subject.
    pub actor: String,
}

/// `content.read`: somebody read the contents of another data subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRead {
    /// The positions of the contents, at most [`POSITIONS_MAX`].
    pub positions: Vec<Position>,
    /// The reader, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `contents.expired`: the retention time of contents is over.
///
/// The contents of the events up to a position are deleted, except those of data subjects on hold.
/// The event names a position and not a time, so that its fold needs no time of the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentsExpired {
    /// The last position whose contents are deleted.
    pub through: Position,
}
