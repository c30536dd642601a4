//! Retrieval from the lattice memory, compared with the time to read the same bytes.

use std::{hint::black_box, time::Instant};

use super::table::{Row, median};
use crate::domain::{
    ids::{Sha256, SubjectRef},
    lattice::{Item, Lattice, Query},
    vector::UnitVector,
};

const DIMENSION: usize = 384;
const RUNS: usize = 101;

/// Retrieves the top 5 from a full memory of `items`.
pub(super) fn run(items: usize) -> anyhow::Result<Vec<Row>> {
    let lattice = filled(items)?;
    let mut random = Random(7);
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let vector = random.vector()?;
        let query = Query {
            vector: &vector,
            phase: 0.1,
            phase_tolerance: 0.15,
            min_similarity: 0.0,
            k: 5,
            subject: None,
        };
        let started = Instant::now();
        black_box(lattice.search(&query)?);
        times.push(milliseconds(started));
    }
    let bytes: Vec<u8> = vec![1; items * DIMENSION];
    let scans = (0..RUNS).map(|_| {
        let started = Instant::now();
        black_box(sum(black_box(&bytes)));
        milliseconds(started)
    });
    let name = format!("search {items} × {DIMENSION}, top 5, rescored");
    let resident = lattice.bytes() as f64 / (1024.0 * 1024.0);
    Ok(vec![
        Row::new(name, median(times), "ms")
            .limit("reading its 8-bit rows", median(scans.collect())),
        Row::new(format!("memory of {items} × {DIMENSION}"), resident, "MiB"),
    ])
}

/// Sums bytes in wide strides, limited by memory bandwidth.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
    words.fold(0, u64::wrapping_add)
}

fn filled(items: usize) -> anyhow::Result<Lattice> {
    let mut lattice = Lattice::new(DIMENSION, items);
    let mut random = Random(1);
    for n in 1..=items as u64 {
        let item = Item {
            position: n * 2,
            prompt_position: n * 2 - 1,
            number: n,
            subject: SubjectRef::new(1),
            content_hash: Sha256::default(),
            phase: 0.1,
            confidence: 1.0,
            consolidated: false,
            shared: false,
        };
        lattice.insert(item, Some(random.vector()?))?;
    }
    Ok(lattice)
}

fn milliseconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1_000.0
}

/// A fixed generator, so that the benchmark is the same everywhere.
struct Random(u64);

impl Random {
    fn vector(&mut self) -> anyhow::Result<UnitVector> {
        let values: Vec<f32> = (0..DIMENSION).map(|_| self.next()).collect();
        Ok(UnitVector::normalise(&values, DIMENSION)?)
    }

    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1_u32 << 23) as f32) - 1.0
    }
}
