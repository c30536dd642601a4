//! Exact nearest-neighbour search in two passes.
//!
//! The first pass scans quantised rows in integer arithmetic and gives each candidate a score with
//! a known error bound. The second computes the exact score of every candidate whose upper bound
//! reaches the k-th best lower bound, in the fixed order of [`UnitVector::dot`]. The result
//! therefore equals that of a full comparison, ties included, while the scan reads one byte per
//! component.
//!
//! Error bound: let a row be `v = s·c + e` and the query `q = t·d + f`, with codes `c`, `d`, scales
//! `s`, `t` and residuals `e`, `f`. Then `q·v = t·s·(d·c) + f·v + (t·d)·e`, and the error of
//! `t·s·(d·c)` is at most `‖f‖·‖v‖ + (‖q‖ + ‖f‖)·‖e‖`.

use super::{
    Chunk, Lattice,
    chunk::{ItemFilter, QuantisedQuery, ROWS, fits},
    kernel::{self, Kernel},
};
use crate::domain::{
    ids::{Position, SubjectRef},
    vector::{STORED_NORM_TOLERANCE, UnitVector, VectorError},
};

/// The maximum norm of a stored vector.
const LENGTH: f64 = 1.0 + STORED_NORM_TOLERANCE;

/// An allowance for the rounding of `f64` in bounds and exact scores.
const SLACK: f64 = 1e-9;

/// A search query.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The query vector.
    pub vector: &'a UnitVector,
    /// The phase value of the step.
    pub phase: f32,
    /// The maximum phase distance of an item, inclusive; consolidated items are exempt.
    pub phase_tolerance: f32,
    /// The minimum cosine similarity of a hit.
    pub min_similarity: f64,
    /// The maximum number of hits.
    pub k: usize,
    /// The data subject whose items are visible, in addition to shared ones; `None` makes all
    /// visible.
    pub subject: Option<SubjectRef>,
}

/// An item found by a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The position that identifies the item.
    pub position: Position,
    /// The position of the event that holds its prompt.
    pub prompt_position: Position,
    /// The data subject of its content.
    pub subject: SubjectRef,
    /// The cosine similarity.
    pub score: f64,
}

/// The outcome of a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchResult {
    /// The nearest items, by score descending, then position descending.
    pub hits: Vec<Hit>,
    /// The number of items that were visible and within the phase tolerance.
    pub candidates: usize,
}

impl Lattice {
    /// The `k` nearest visible items.
    ///
    /// # Errors
    /// The query has another dimension.
    pub fn search(&self, query: &Query<'_>) -> Result<SearchResult, VectorError> {
        self.search_with(kernel::widest, query)
    }

    /// The search with a given kernel; kernels differ in speed only.
    pub(super) fn search_with(
        &self,
        kernel: Kernel,
        query: &Query<'_>,
    ) -> Result<SearchResult, VectorError> {
        fits(query.vector, self.dimension)?;
        let k = query.k.min(self.len());
        if k == 0 {
            return Ok(SearchResult::default());
        }
        let filter = ItemFilter {
            phase: query.phase,
            phase_tolerance: query.phase_tolerance,
            subject: query.subject,
        };
        let mut scan = Scan::new(kernel, query, k);
        for (index, chunk) in self.chunks.iter().enumerate() {
            scan.chunk(chunk, index * ROWS, chunk.matching(&filter));
        }
        Ok(SearchResult {
            hits: self.rescore(query, k, scan.finish()),
            candidates: scan.candidates,
        })
    }

    /// Computes the exact scores of `contenders` (sorted by upper bound, descending) that can still
    /// reach the result.
    fn rescore(&self, query: &Query<'_>, k: usize, contenders: &[Contender]) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::with_capacity(k + 1);
        for contender in contenders {
            if hits.len() == k && hits.last().is_some_and(|worst| contender.upper < worst.score) {
                break;
            }
            let Some(hit) = self.score(query, contender.row) else {
                continue;
            };
            let place = hits
                .partition_point(|other| (other.score, other.position) > (hit.score, hit.position));
            if hit.score >= query.min_similarity && place < k {
                hits.insert(place, hit);
                hits.truncate(k);
            }
        }
        hits
    }

    fn score(&self, query: &Query<'_>, row: usize) -> Option<Hit> {
        let chunk = self.chunks.get(row / ROWS)?;
        let (item, vector) = (chunk.items().get(row % ROWS)?, chunk.vector(row % ROWS)?);
        Some(Hit {
            position: item.position,
            prompt_position: item.prompt_position,
            subject: item.subject,
            score: query.vector.dot(vector),
        })
    }
}

/// A row that may belong to the result.
#[derive(Clone, Copy, Debug)]
struct Contender {
    upper: f64,
    row: usize,
}

/// The integer scan: tracks the k best lower bounds and all rows whose upper bound reaches the
/// worst of them.
struct Scan {
    kernel: Kernel,
    query: QuantisedQuery,
    k: usize,
    /// At most `k` lower bounds, descending.
    lower: Vec<f64>,
    /// Rows with an upper bound below this are out: the k-th lower bound, or `min_similarity`.
    floor: f64,
    /// At most one for each row.
    contenders: Vec<Contender>,
    candidates: usize,
}

impl Scan {
    fn new(kernel: Kernel, query: &Query<'_>, k: usize) -> Self {
        Self {
            kernel,
            query: QuantisedQuery::new(query.vector),
            k,
            lower: Vec::with_capacity(k + 1),
            floor: query.min_similarity - SLACK,
            contenders: Vec::new(),
            candidates: 0,
        }
    }

    /// Scans the rows of `mask` in one chunk whose first row has number `first`.
    fn chunk(&mut self, chunk: &Chunk, first: usize, mask: u64) {
        if mask == 0 {
            return;
        }
        self.candidates += mask.count_ones() as usize;
        let mut products = [0; ROWS];
        self.multiply(chunk, mask, &mut products);
        let (mut scores, mut errors) = ([0.0; ROWS], [0.0; ROWS]);
        let (scale, lost) = (self.query.scale, self.query.residual);
        for row in 0..ROWS {
            let residual = f64::from(chunk.residuals()[row]);
            scores[row] = f64::from(products[row]) * (scale * f64::from(chunk.scales()[row]));
            errors[row] = LENGTH * lost + (LENGTH + lost) * residual + SLACK;
        }
        let mut left = mask;
        while left != 0 {
            let row = left.trailing_zeros() as usize;
            left &= left - 1;
            let upper = scores[row] + errors[row];
            if upper >= self.floor {
                self.contenders.push(Contender { upper, row: first + row });
                self.raise(scores[row] - errors[row]);
            }
        }
    }

    /// Runs the kernel over each unbroken run of rows in `mask`.
    fn multiply(&self, chunk: &Chunk, mask: u64, products: &mut [i32; ROWS]) {
        let dimension = self.query.codes.len();
        let mut row = mask.trailing_zeros() as usize;
        while row < ROWS {
            let run = (mask >> row).trailing_ones() as usize;
            let codes = &chunk.codes()[row * dimension..(row + run) * dimension];
            (self.kernel)(codes, &self.query.codes, &mut products[row..row + run]);
            row += run;
            row += mask.checked_shr(row as u32).map_or(ROWS, |rest| rest.trailing_zeros() as usize);
        }
    }

    /// Records a lower bound; the floor rises once k of them are known.
    fn raise(&mut self, lower: f64) {
        if self.lower.len() == self.k && lower <= self.floor {
            return;
        }
        self.lower.insert(self.lower.partition_point(|other| *other > lower), lower);
        self.lower.truncate(self.k);
        if self.lower.len() == self.k
            && let Some(&worst) = self.lower.last()
        {
            self.floor = self.floor.max(worst);
        }
    }

    /// The remaining contenders by upper bound, descending.
    fn finish(&mut self) -> &[Contender] {
        let floor = self.floor;
        self.contenders.retain(|contender| contender.upper >= floor);
        self.contenders.sort_unstable_by(|a, b| b.upper.total_cmp(&a.upper));
        &self.contenders
    }
}
