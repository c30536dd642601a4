//! The items of the lattice memory.

use crate::domain::ids::{Position, Sha256, SubjectRef};

/// A memory item without its vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The position of the event that stored it; identifies the item.
    pub position: Position,
    /// The position of the event that holds its prompt.
    pub prompt_position: Position,
    /// Its store number `n`: it is the `n`-th item ever stored, counted from 1.
    pub number: u64,
    /// The data subject of its content.
    pub subject: SubjectRef,
    /// The hash of its content.
    pub content_hash: Sha256,
    /// The phase value with which it was stored, in [0, 1].
    pub phase: f32,
    /// The confidence of its answer, in [0, 1].
    pub confidence: f64,
    /// True if it was consolidated, so that it is found in every phase.
    pub consolidated: bool,
    /// True if every data subject may find it.
    pub shared: bool,
}
