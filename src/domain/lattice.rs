//! The phase-entangled lattice memory: a bounded memory of unit vectors, each with a phase.
//!
//! It holds at most `capacity` items in steady state and says who goes when another one comes;
//! its search is exact. Every part is a persistent structure, so a clone costs O(1) and is at
//! once the undo point of a fold and the view that searches run on while the fold goes on.
//!
//! Not here: whether an answer is worth remembering, and what an item's words were.

mod chunk;
mod kernel;
mod search;
#[cfg(test)]
mod tests;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync, VectorSync};

use self::chunk::{Chunk, ROWS};
pub use self::search::{Hit, Query, SearchResult};
use super::{
    ids::{Position, Sha256, SubjectRef},
    vector::{UnitVector, VectorError},
};

/// What is remembered of one step, besides its vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The position of the event that stored it: its identity.
    pub position: Position,
    /// The position of the event that holds its prompt.
    pub prompt_position: Position,
    /// Its store number: the n-th item ever stored, from 1.
    pub number: u64,
    /// Whose words it holds.
    pub subject: SubjectRef,
    /// The hash of its content.
    pub content_hash: Sha256,
    /// The phase in which it was stored.
    pub phase: f32,
    /// The confidence of its answer, from 0 to 1.
    pub confidence: f64,
    /// Whether a sleep has consolidated it, so that it is found in every phase.
    pub consolidated: bool,
    /// Whether every data subject may find it.
    pub shared: bool,
}

// What the memory is made of in bytes, as on 64-bit machines; a test compares. Constants, because
// answers record `bytes()`: every build has to compute the same from the same log.
/// A chunk without its rows.
const CHUNK_BYTES: usize = 1_888;
/// A row in its chunk beside its quantised components: the item and the pointer to its vector.
const ROW_BYTES: usize = 112;
/// An exact vector beside its components.
const VECTOR_BYTES: usize = 16;
/// An item outside its chunk: three tree entries with their nodes.
const INDEX_BYTES: usize = 320;

/// The memory. A clone is a snapshot: neither side sees later changes of the other.
#[derive(Clone, Debug)]
pub struct Lattice {
    dimension: usize,
    capacity: usize,
    /// Dense: every chunk but the last is full.
    chunks: VectorSync<Chunk>,
    /// Position → row number over all chunks.
    rows: RedBlackTreeMapSync<Position, usize>,
    /// (eviction key, store number) → position; the first goes first.
    order: RedBlackTreeMapSync<(u64, u64), Position>,
    unconsolidated: RedBlackTreeSetSync<Position>,
}

impl Lattice {
    /// An empty memory for `capacity` vectors of `dimension` components.
    pub fn new(dimension: usize, capacity: usize) -> Self {
        Self {
            dimension,
            capacity,
            chunks: VectorSync::new_sync(),
            rows: RedBlackTreeMapSync::new_sync(),
            order: RedBlackTreeMapSync::new_sync(),
            unconsolidated: RedBlackTreeSetSync::new_sync(),
        }
    }

    /// How many items there are. After the capacity shrank it may exceed it, until the surplus
    /// was evicted.
    pub fn len(&self) -> usize {
        self.rows.size()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many items it is meant to hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Components of each vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many items are consolidated.
    pub fn consolidated(&self) -> usize {
        self.len() - self.unconsolidated.size()
    }

    /// An estimate of the resident bytes. It depends on how many items there are and on nothing else:
    /// an item whose vector was erased counts as if it had it.
    pub fn bytes(&self) -> usize {
        let chunk = CHUNK_BYTES + ROWS * (self.dimension + ROW_BYTES);
        let item = self.dimension * size_of::<f32>() + VECTOR_BYTES + INDEX_BYTES;
        self.chunks.len() * chunk + self.len() * item
    }

    /// The item stored at `position`.
    pub fn get(&self, position: Position) -> Option<&Item> {
        self.item(*self.rows.get(&position)?)
    }

    /// All items, in the order of their positions.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.rows.values().filter_map(|&row| self.item(row))
    }

    /// Every item of one data subject, in the order of their positions. Reads the whole memory.
    pub fn positions_of(&self, subject: SubjectRef) -> Vec<Position> {
        let owned = |item: &&Item| item.subject == subject;
        let items = self.chunks.iter().flat_map(Chunk::items).filter(owned);
        let mut positions: Vec<_> = items.map(|item| item.position).collect();
        positions.sort_unstable();
        positions
    }

    /// The positions of the items not yet consolidated, ascending.
    pub fn unconsolidated(&self) -> impl Iterator<Item = Position> {
        self.unconsolidated.iter().copied()
    }

    /// The place in the eviction order of the `number`-th item ever stored, at the present
    /// capacity: `number + ⌊capacity · confidence⌋`. The smallest goes first.
    pub fn eviction_key(&self, number: u64, confidence: f64) -> u64 {
        eviction_key(self.capacity, number, confidence)
    }

    /// Who has to go if one more item is stored now; nobody while there is room.
    pub fn victim(&self) -> Option<&Item> {
        if self.len() < self.capacity {
            return None;
        }
        let (_, position) = self.order.first()?;
        self.get(*position)
    }

    /// Who has to go to fit `capacity`: at most `limit` positions, in the order of eviction
    /// under that capacity.
    pub fn surplus(&self, capacity: usize, limit: usize) -> Vec<Position> {
        let count = self.len().saturating_sub(capacity).min(limit);
        if count == 0 {
            return Vec::new();
        }
        let key = |item: &Item| eviction_key(capacity, item.number, item.confidence);
        let items = self.chunks.iter().flat_map(Chunk::items);
        let mut order: Vec<_> = items.map(|i| (key(i), i.number, i.position)).collect();
        order.select_nth_unstable(count - 1);
        order.truncate(count);
        order.sort_unstable();
        order.into_iter().map(|(_, _, position)| position).collect()
    }

    /// Remembers an item, in place of one that has its position. Without a vector (it was
    /// erased) the item counts like any other but is never found.
    ///
    /// Evicts nobody: the caller removes the [`victim`](Self::victim) first, by name.
    ///
    /// # Errors
    /// The vector has another dimension; the memory is then unchanged.
    pub fn insert(&mut self, item: Item, vector: Option<UnitVector>) -> Result<(), VectorError> {
        if let Some(vector) = &vector {
            chunk::fits(vector, self.dimension)?;
        }
        self.remove(item.position);
        self.enter(&item);
        self.rows.insert_mut(item.position, self.len());
        match self.chunks.len().checked_sub(1).and_then(|last| self.chunks.get_mut(last)) {
            Some(chunk) if !chunk.is_full() => chunk.push(item, vector),
            _ => {
                let mut chunk = Chunk::new(self.dimension);
                chunk.push(item, vector);
                self.chunks.push_back_mut(chunk);
            }
        }
        Ok(())
    }

    /// Forgets an item; the last row moves into its place.
    pub fn remove(&mut self, position: Position) -> Option<Item> {
        let row = *self.rows.get(&position)?;
        let (last, vector) = self.pop()?;
        let item = if last.position == position {
            last
        } else {
            self.rows.insert_mut(last.position, row);
            self.chunks.get_mut(row / ROWS)?.replace(row % ROWS, last, vector)
        };
        self.rows.remove_mut(&position);
        self.order.remove_mut(&(self.eviction_key(item.number, item.confidence), item.number));
        self.unconsolidated.remove_mut(&position);
        Some(item)
    }

    /// Changes the capacity and with it every item's place in the eviction order. Evicts nobody.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        let mut order = RedBlackTreeMapSync::new_sync();
        for item in self.chunks.iter().flat_map(Chunk::items) {
            let key = eviction_key(capacity, item.number, item.confidence);
            order.insert_mut((key, item.number), item.position);
        }
        self.order = order;
    }

    /// Marks an item consolidated; one that is not there (any more) is passed over.
    pub fn consolidate(&mut self, position: Position) {
        if !self.unconsolidated.remove_mut(&position) {
            return;
        }
        if let Some(&row) = self.rows.get(&position)
            && let Some(chunk) = self.chunks.get_mut(row / ROWS)
        {
            chunk.consolidate(row % ROWS);
        }
    }

    fn item(&self, row: usize) -> Option<&Item> {
        self.chunks.get(row / ROWS)?.items().get(row % ROWS)
    }

    fn enter(&mut self, item: &Item) {
        let key = (self.eviction_key(item.number, item.confidence), item.number);
        self.order.insert_mut(key, item.position);
        if !item.consolidated {
            self.unconsolidated.insert_mut(item.position);
        }
    }

    /// Takes the last row out of the chunks.
    fn pop(&mut self) -> Option<(Item, Option<UnitVector>)> {
        let last = self.chunks.get_mut(self.chunks.len().checked_sub(1)?)?;
        let row = last.pop();
        if last.is_empty() {
            self.chunks.drop_last_mut();
        }
        row
    }
}

fn eviction_key(capacity: usize, number: u64, confidence: f64) -> u64 {
    number.saturating_add((capacity as f64 * confidence) as u64)
}
