//! The phase-entangled lattice memory: a bounded set of unit vectors, each with a phase, and their
//! exact search.
//!
//! It holds at most `capacity` items and determines the next item to evict. All parts are
//! persistent data structures, so a clone costs O(1); clones serve as roll-back points of a fold
//! and as the read views of searches.
//!
//! Not here: the decision to store an answer, and the content of an item.

mod chunk;
mod item;
mod kernel;
mod search;
#[cfg(test)]
mod tests;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync, VectorSync};

use self::chunk::{Chunk, ROWS};
pub use self::item::Item;
pub use self::search::{Hit, Query, SearchResult};
use super::{
    ids::{Position, SubjectRef},
    vector::{UnitVector, VectorError},
};

// Sizes in bytes on 64-bit machines; a test compares them with `size_of`. They are constants
// because answers record `bytes()`: every build must compute the same value from the same log.
/// A chunk without its rows.
const CHUNK_BYTES: usize = 1_888;
/// A row in its chunk without its quantised components: the item and the pointer to its vector.
const ROW_BYTES: usize = 112;
/// The header of an exact vector.
const VECTOR_BYTES: usize = 16;
/// The index entries of an item: three tree nodes.
const INDEX_BYTES: usize = 320;

/// The memory. A clone is a snapshot, independent of later changes of the original.
#[derive(Clone, Debug)]
pub struct Lattice {
    dimension: usize,
    capacity: usize,
    /// Dense: all chunks except the last are full.
    chunks: VectorSync<Chunk>,
    /// Position → row number over all chunks.
    rows: RedBlackTreeMapSync<Position, usize>,
    /// (eviction key, store number) → position; the first entry is evicted first.
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

    /// The number of items. It can exceed the capacity after the capacity was reduced, until the
    /// surplus is evicted.
    pub fn len(&self) -> usize {
        self.rows.size()
    }

    /// True without items.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The maximum number of items.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of components of each vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The number of consolidated items.
    pub fn consolidated(&self) -> usize {
        self.len() - self.unconsolidated.size()
    }

    /// An estimate of the resident size in bytes. It depends on the number of items only: an item
    /// whose vector was erased counts like any other.
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

    /// The positions of all items of one data subject, ascending. Scans the whole memory.
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

    /// The eviction key of the `number`-th item ever stored: `number + ⌊capacity · confidence⌋`.
    /// The item with the smallest key is evicted first.
    pub fn eviction_key(&self, number: u64, confidence: f64) -> u64 {
        eviction_key(self.capacity, number, confidence)
    }

    /// The item to evict before another one is stored; `None` below capacity.
    pub fn victim(&self) -> Option<&Item> {
        if self.len() < self.capacity {
            return None;
        }
        let (_, position) = self.order.first()?;
        self.get(*position)
    }

    /// The items to evict for a reduced `capacity`: at most `limit` positions, in the order of
    /// eviction under that capacity.
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

    /// Inserts an item, replacing one with the same position. An item without a vector (it was
    /// erased) counts towards the capacity but is never found.
    ///
    /// Evicts no item: the caller removes the [`victim`](Self::victim) first.
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

    /// Removes an item. The last row moves into its place.
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

    /// Changes the capacity and recomputes the eviction order. Evicts no item.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        let mut order = RedBlackTreeMapSync::new_sync();
        for item in self.chunks.iter().flat_map(Chunk::items) {
            let key = eviction_key(capacity, item.number, item.confidence);
            order.insert_mut((key, item.number), item.position);
        }
        self.order = order;
    }

    /// Marks an item as consolidated. No effect if the item does not exist.
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

    /// Marks an item as visible to all data subjects. No effect if the item does not exist.
    pub fn share(&mut self, position: Position) {
        if let Some(&row) = self.rows.get(&position)
            && let Some(chunk) = self.chunks.get_mut(row / ROWS)
        {
            chunk.share(row % ROWS);
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

    /// Removes the last row.
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
