//! The memory context of a step.

use serde::{Deserialize, Serialize};

use crate::domain::ids::Position;

/// The maximum number of found items that one event records: the bound of `context.top_k`.
pub const HITS_MAX: usize = 20;

/// The memory context of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContextUse {
    /// The log position of the state that was searched.
    pub view: Position,
    /// The phase value of the search.
    pub phase: f32,
    /// The number of items that were visible to the search.
    pub candidates: usize,
    /// The positions of the items quoted to the model, best match first.
    pub used: Vec<Position>,
    /// The length of the context in characters.
    pub chars: usize,
    /// The items that the search found and their use, best match first, at most [`HITS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<ContextHit>,
    /// HMAC of the context message under a key derived from the data subject's, in hexadecimal. It
    /// shows that a rebuilt context is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// An item that the search found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextHit {
    /// The position of the item.
    pub position: Position,
    /// Its cosine similarity to the prompt.
    pub score: f64,
    /// The use of the item.
    pub outcome: HitOutcome,
}

/// The use of an item that the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HitOutcome {
    /// It was quoted completely.
    Used,
    /// It was quoted in part.
    Truncated,
    /// Its text is already part of the request.
    AlreadyInRequest,
    /// The context had no room for it.
    NoRoom,
    /// Its content was deleted.
    ContentMissing,
}
