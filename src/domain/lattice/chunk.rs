//! A chunk: 64 rows of the lattice, laid out for scanning.
//!
//! The fields that a scan reads are arrays of their own: quantised rows, residuals of the
//! quantisation, data subjects and phases. The exact vectors are shared pointers, so copying a
//! chunk copies no exact vector.

use multiversion::multiversion;

use super::item::Item;
use crate::domain::{
    ids::SubjectRef,
    vector::{UnitVector, VectorError, norm},
};

/// Rows of a chunk, one bit each in a `u64`.
pub(super) const ROWS: usize = 64;

/// The largest magnitude of a quantised component of a row.
pub(super) const CODE_MAX: i32 = 127;

/// Up to [`ROWS`] rows, filled from the front.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    items: Vec<Item>,
    vectors: Vec<Option<UnitVector>>,
    codes: Box<[i8]>,
    scales: [f32; ROWS],
    residuals: [f32; ROWS],
    subjects: [SubjectRef; ROWS],
    phases: [f32; ROWS],
    searchable: u64,
    consolidated: u64,
    shared: u64,
}

/// The condition that a row must meet to be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct ItemFilter {
    pub(super) phase: f32,
    pub(super) phase_tolerance: f32,
    pub(super) subject: Option<SubjectRef>,
}

impl Chunk {
    pub(super) fn new(dimension: usize) -> Self {
        Self {
            items: Vec::with_capacity(ROWS),
            vectors: Vec::with_capacity(ROWS),
            codes: vec![0; ROWS * dimension].into(),
            scales: [0.0; ROWS],
            residuals: [0.0; ROWS],
            subjects: [SubjectRef::new(0); ROWS],
            phases: [0.0; ROWS],
            searchable: 0,
            consolidated: 0,
            shared: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() == ROWS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The exact vector of a row, if it has one.
    pub(super) fn vector(&self, row: usize) -> Option<&UnitVector> {
        self.vectors.get(row)?.as_ref()
    }

    /// The quantised rows, one after the other.
    pub(super) fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// The scale of each row: `row ≈ scale · codes`.
    pub(super) fn scales(&self) -> &[f32; ROWS] {
        &self.scales
    }

    /// An upper bound of the norm of each row's quantisation residual.
    pub(super) fn residuals(&self) -> &[f32; ROWS] {
        &self.residuals
    }

    /// Appends a row. The caller ensures that the chunk is not full and that the dimension matches.
    pub(super) fn push(&mut self, item: Item, vector: Option<UnitVector>) {
        let row = self.items.len();
        self.describe(row, &item, vector.as_ref());
        self.items.push(item);
        self.vectors.push(vector);
    }

    /// Removes the last row.
    pub(super) fn pop(&mut self) -> Option<(Item, Option<UnitVector>)> {
        let item = self.items.pop()?;
        let bit = 1 << self.items.len();
        self.searchable &= !bit;
        self.consolidated &= !bit;
        self.shared &= !bit;
        Some((item, self.vectors.pop().flatten()))
    }

    /// Replaces row `row` and returns its item.
    pub(super) fn replace(&mut self, row: usize, item: Item, vector: Option<UnitVector>) -> Item {
        self.describe(row, &item, vector.as_ref());
        self.vectors[row] = vector;
        std::mem::replace(&mut self.items[row], item)
    }

    /// Marks a row as shared.
    pub(super) fn share(&mut self, row: usize) {
        self.items[row].shared = true;
        self.shared |= 1 << row;
    }

    /// Marks a row as consolidated.
    pub(super) fn consolidate(&mut self, row: usize) {
        self.items[row].consolidated = true;
        self.consolidated |= 1 << row;
    }

    /// A bit mask of the rows that `filter` accepts and that have a vector.
    pub(super) fn matching(&self, filter: &ItemFilter) -> u64 {
        let mut rows = self.searchable;
        if let Some(subject) = filter.subject {
            rows &= self.shared | bits(&self.subjects, |owner| *owner == subject);
        }
        if rows & !self.consolidated != 0 {
            let near = |phase: &f32| (filter.phase - phase).abs() <= filter.phase_tolerance;
            rows &= self.consolidated | bits(&self.phases, near);
        }
        rows
    }

    fn describe(&mut self, row: usize, item: &Item, vector: Option<&UnitVector>) {
        self.subjects[row] = item.subject;
        self.phases[row] = item.phase;
        let set = |mask: &mut u64, on: bool| *mask = (*mask & !(1 << row)) | (u64::from(on) << row);
        set(&mut self.searchable, vector.is_some());
        set(&mut self.consolidated, item.consolidated);
        set(&mut self.shared, item.shared);
        if let Some(vector) = vector {
            let dimension = self.codes.len() / ROWS;
            let codes = &mut self.codes[row * dimension..][..dimension];
            (self.scales[row], self.residuals[row]) = quantise_row(vector.as_slice(), codes);
        }
    }
}

fn bits<T>(values: &[T; ROWS], test: impl Fn(&T) -> bool) -> u64 {
    values.iter().enumerate().fold(0, |mask, (row, value)| mask | u64::from(test(value)) << row)
}

/// Quantises to `i8`. Returns the scale and an upper bound of the residual's norm. The vector width
/// of the CPU changes the speed only.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl",
    "x86_64+avx2",
    "x86_64+sse4.1",
    "aarch64+neon"
))]
fn quantise_row(values: &[f32], codes: &mut [i8]) -> (f32, f32) {
    let largest = values.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
    let scale = largest / CODE_MAX as f32;
    let mut lost = Vec::with_capacity(values.len());
    for (code, &value) in codes.iter_mut().zip(values) {
        let exact = value / scale;
        // rounds to nearest with operations that vectorise; the residual is computed exactly
        *code = (exact + 0.5_f32.copysign(exact)) as i8;
        lost.push(value - scale * f32::from(*code));
    }
    (scale, (norm(&lost) + ROUNDING) as f32)
}

/// An upper bound of the rounding in a residual: each component is off by less than 1.3e-7 of its
/// value, so the norm is off by less than 1.3e-7 for a unit vector.
const ROUNDING: f64 = 1e-5;

/// A query quantised to `i16`, fine enough that the residuals of the rows dominate the error.
pub(super) struct QuantisedQuery {
    pub(super) codes: Vec<i16>,
    pub(super) scale: f64,
    pub(super) residual: f64,
}

impl QuantisedQuery {
    /// Quantises such that a sum of `dimension` products with row codes fits into `i32`.
    pub(super) fn new(query: &UnitVector) -> Self {
        let values = query.as_slice();
        let room = i64::from(i32::MAX) / (i64::from(CODE_MAX) * values.len().max(1) as i64);
        let code_max = room.clamp(1, i64::from(i16::MAX)) as f64;
        let largest = values.iter().fold(0.0_f64, |max, v| max.max(f64::from(v.abs())));
        let scale = largest / code_max;
        let codes: Vec<i16> =
            values.iter().map(|&v| (f64::from(v) / scale).round() as i16).collect();
        let lost: Vec<f32> = values
            .iter()
            .zip(&codes)
            .map(|(&v, &code)| (f64::from(v) - scale * f64::from(code)) as f32)
            .collect();
        Self { codes, scale, residual: norm(&lost) + ROUNDING }
    }
}

/// Checks that a vector has `dimension` components.
pub(super) fn fits(vector: &UnitVector, dimension: usize) -> Result<(), VectorError> {
    let actual = vector.as_slice().len();
    if actual == dimension {
        Ok(())
    } else {
        Err(VectorError::Dimension { expected: dimension, actual })
    }
}
