//! The lattice search compared with brute force, and eviction under adverse sequences of
//! confidences.

use proptest::prelude::*;

use super::{
    CHUNK_BYTES, Hit, Item, Lattice, Query, ROW_BYTES, SearchResult, chunk::Chunk, kernel,
};
use crate::domain::{
    ids::{Position, Sha256, SubjectRef},
    vector::{UnitVector, VectorError},
};

/// A small deterministic generator, so that large cases are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From −1 to 1.
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    fn unit(&mut self, dimension: usize) -> UnitVector {
        let values: Vec<f32> = (0..dimension).map(|_| self.signed()).collect();
        UnitVector::normalise(&values, dimension).unwrap()
    }
}

fn subject(bits: u64) -> SubjectRef {
    SubjectRef::new(u128::from(bits))
}

fn item(position: Position) -> Item {
    Item {
        position,
        prompt_position: position - 1,
        number: position,
        subject: subject(1),
        content_hash: Sha256::default(),
        phase: 0.1,
        confidence: 1.0,
        consolidated: false,
        shared: false,
    }
}

fn all(vector: &UnitVector, k: usize) -> Query<'_> {
    Query { vector, phase: 0.1, phase_tolerance: 0.15, min_similarity: -2.0, k, subject: None }
}

fn brute_force(stored: &[(Item, Option<UnitVector>)], query: &Query<'_>) -> SearchResult {
    let mut hits: Vec<Hit> = stored
        .iter()
        .filter(|(item, _)| query.subject.is_none_or(|s| s == item.subject || item.shared))
        .filter(|(item, _)| {
            item.consolidated || (query.phase - item.phase).abs() <= query.phase_tolerance
        })
        .filter_map(|(item, vector)| {
            Some(Hit {
                position: item.position,
                prompt_position: item.prompt_position,
                subject: item.subject,
                score: query.vector.dot(vector.as_ref()?),
            })
        })
        .collect();
    let candidates = if query.k == 0 { 0 } else { hits.len() };
    hits.retain(|hit| hit.score >= query.min_similarity);
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.position.cmp(&a.position)));
    hits.truncate(query.k);
    SearchResult { hits, candidates }
}

fn lattice_of(dimension: usize, stored: &[(Item, Option<UnitVector>)]) -> Lattice {
    let mut lattice = Lattice::new(dimension, stored.len());
    for (item, vector) in stored {
        lattice.insert(item.clone(), vector.clone()).unwrap();
    }
    lattice
}

fn check(lattice: &Lattice, stored: &[(Item, Option<UnitVector>)], query: &Query<'_>) {
    let expected = brute_force(stored, query);
    assert_eq!(lattice.search(query).unwrap(), expected, "widest kernel");
    assert_eq!(lattice.search_with(kernel::portable, query).unwrap(), expected, "portable kernel");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn search_equals_brute_force(
        seed in 1_u64..,
        dimension in prop_oneof![1_usize..70, Just(384), Just(1536)],
        count in 0_usize..200,
        k in prop_oneof![0_usize..7, Just(1_000)],
        asker in prop::option::of(0_u64..3),
        min_similarity in prop_oneof![Just(-2.0), -0.3_f64..0.5],
    ) {
        let mut random = Random(seed);
        let stored: Vec<_> = (1..=count as u64)
            .map(|position| {
                let bits = random.next();
                let item = Item {
                    subject: subject(bits % 3),
                    phase: if bits & 8 == 0 { 0.1 } else { 0.9 },
                    consolidated: bits & 0x30 == 0,
                    shared: bits & 0x1c0 == 0,
                    ..item(position)
                };
                (item, (bits & 0x1e00 != 0).then(|| random.unit(dimension)))
            })
            .collect();
        let lattice = lattice_of(dimension, &stored);
        let vector = random.unit(dimension);
        let query = Query { min_similarity, subject: asker.map(subject), ..all(&vector, k) };
        check(&lattice, &stored, &query);
    }

    /// A removal moves rows; all indexes must follow.
    #[test]
    fn any_sequence_of_changes_keeps_the_indexes_consistent(
        seed in 1_u64..,
        changes in prop::collection::vec((0_u8..6, 1_u64..150), 1..300),
    ) {
        let mut random = Random(seed);
        let mut lattice = Lattice::new(7, 100);
        let mut model: Vec<(Item, Option<UnitVector>)> = Vec::new();
        for (number, (change, position)) in (1_u64..).zip(changes) {
            match change {
                0 => {
                    let held = model.iter().position(|(item, _)| item.position == position);
                    let removed = held.map(|at| model.remove(at).0);
                    prop_assert_eq!(lattice.remove(position), removed);
                }
                1 => {
                    lattice.consolidate(position);
                    for (item, _) in model.iter_mut().filter(|(i, _)| i.position == position) {
                        item.consolidated = true;
                    }
                }
                _ => {
                    let vector = (change > 2).then(|| random.unit(7));
                    let item = Item { number, ..item(position) };
                    model.retain(|(other, _)| other.position != position);
                    model.push((item.clone(), vector.clone()));
                    lattice.insert(item, vector).unwrap();
                }
            }
        }
        model.sort_by_key(|(item, _)| item.position);
        prop_assert!(lattice.items().eq(model.iter().map(|(item, _)| item)));
        let waiting = model.iter().filter(|(item, _)| !item.consolidated);
        prop_assert!(lattice.unconsolidated().eq(waiting.map(|(item, _)| item.position)));
        let consolidated = model.iter().filter(|(item, _)| item.consolidated).count();
        prop_assert_eq!(lattice.consolidated(), consolidated);
        let vector = random.unit(7);
        check(&lattice, &model, &all(&vector, 20));
        for position in lattice.surplus(0, usize::MAX) {
            prop_assert!(lattice.remove(position).is_some());
        }
        prop_assert_eq!(lattice.bytes(), 0);
    }
}

#[cfg(target_pointer_width = "64")]
#[test]
fn the_estimated_sizes_equal_those_of_the_types() {
    assert!(size_of::<Chunk>() <= CHUNK_BYTES);
    assert!(size_of::<Item>() + size_of::<Option<UnitVector>>() <= ROW_BYTES);
}

#[test]
fn an_erased_vector_does_not_change_the_size_estimate() {
    let mut whole = Lattice::new(3, 10);
    let mut erased = whole.clone();
    whole.insert(item(1), Some(Random(1).unit(3))).unwrap();
    erased.insert(item(1), None).unwrap();
    assert_eq!(whole.bytes(), erased.bytes());
}

#[test]
fn near_duplicates_are_distinguished_exactly() {
    let mut random = Random(7);
    let theme = random.unit(384);
    let stored: Vec<_> = (1..=20_000)
        .map(|position| {
            // one in five is an exact duplicate, so that position breaks the tie
            let noise = if position % 5 == 0 { 0.0 } else { 1e-4 };
            let near: Vec<f32> =
                theme.as_slice().iter().map(|v| v + noise * random.signed()).collect();
            (item(position), Some(UnitVector::normalise(&near, 384).unwrap()))
        })
        .collect();
    let lattice = lattice_of(384, &stored);
    for k in [1, 5, 20] {
        check(&lattice, &stored, &all(&theme, k));
    }
    let other = random.unit(384);
    check(&lattice, &stored, &all(&other, 5));
}

#[test]
fn a_search_with_k_zero_or_in_an_empty_memory_finds_nothing() {
    let vector = Random(1).unit(4);
    let stored = [(item(1), Some(vector.clone()))];
    assert_eq!(lattice_of(4, &stored).search(&all(&vector, 0)).unwrap(), SearchResult::default());
    assert_eq!(Lattice::new(4, 10).search(&all(&vector, 5)).unwrap(), SearchResult::default());
}

#[test]
fn a_wrong_dimension_is_an_error_and_changes_nothing() {
    let wrong = Random(1).unit(5);
    let mut lattice = Lattice::new(4, 10);
    let error = VectorError::Dimension { expected: 4, actual: 5 };
    assert_eq!(lattice.insert(item(1), Some(wrong.clone())), Err(error));
    assert!(lattice.is_empty());
    assert_eq!(lattice.search(&all(&wrong, 5)), Err(error));
}

#[test]
fn the_largest_dimension_does_not_overflow() {
    let same = UnitVector::normalise(&[1.0; 4096], 4096).unwrap();
    let stored = [(item(1), Some(same.clone()))];
    check(&lattice_of(4096, &stored), &stored, &all(&same, 1));
}

#[test]
fn a_clone_is_an_independent_snapshot() {
    let mut random = Random(3);
    let stored: Vec<_> = (1..=200).map(|p| (item(p), Some(random.unit(16)))).collect();
    let mut lattice = lattice_of(16, &stored);
    let snapshot = lattice.clone();
    for position in 1..=150 {
        lattice.remove(position);
        lattice.insert(item(position + 1_000), Some(random.unit(16))).unwrap();
    }
    lattice.unconsolidated().collect::<Vec<_>>().into_iter().for_each(|p| lattice.consolidate(p));
    lattice.set_capacity(10);
    assert!(snapshot.items().eq(stored.iter().map(|(item, _)| item)));
    assert_eq!((snapshot.capacity(), snapshot.consolidated()), (200, 0));
    check(&snapshot, &stored, &all(&random.unit(16), 20));
}

/// Stores items one by one as a fold does; returns true if a new item was immediately the next
/// victim.
fn store(
    lattice: &mut Lattice,
    numbers: std::ops::RangeInclusive<u64>,
    confidence: fn(u64) -> f64,
) {
    for number in numbers {
        if let Some(victim) = lattice.victim() {
            let victim = victim.position;
            assert!(victim < number);
            assert!(lattice.remove(victim).is_some());
        }
        lattice.insert(Item { confidence: confidence(number), ..item(number) }, None).unwrap();
    }
}

/// Goal: for any confidences, the newest half of the capacity is always in memory. Method: 20,000
/// stores at capacity 1,000, and a reduction from 20,000 to 1,000.
#[test]
fn the_newest_items_are_never_evicted() {
    let patterns: [fn(u64) -> f64; 4] = [
        |_| 1.0,
        |_| 0.5,
        |n| if n % 2 == 0 { 1.0 } else { 0.5 },
        |n| 1.0 - n as f64 * (0.5 / 20_000.0),
    ];
    for (index, pattern) in patterns.into_iter().enumerate() {
        let mut lattice = Lattice::new(4, 1_000);
        store(&mut lattice, 1..=20_000, pattern);
        assert_eq!(lattice.len(), 1_000);
        assert!((19_501..=20_000).all(|n| lattice.get(n).is_some()), "pattern {index}");

        let mut lattice = Lattice::new(4, 20_000);
        store(&mut lattice, 1..=20_000, pattern);
        let surplus = lattice.surplus(1_000, usize::MAX);
        lattice.set_capacity(1_000);
        for position in surplus {
            assert_eq!(lattice.victim().map(|v| v.position), Some(position));
            lattice.remove(position);
        }
        assert_eq!(lattice.len(), 1_000);
        assert!((19_501..=20_000).all(|n| lattice.get(n).is_some()), "shrunk, pattern {index}");
        store(&mut lattice, 20_001..=22_000, pattern);
        assert!((21_501..=22_000).all(|n| lattice.get(n).is_some()), "after, pattern {index}");
    }
}

#[test]
fn the_surplus_respects_its_limit_and_order() {
    let mut lattice = Lattice::new(4, 100);
    store(&mut lattice, 1..=100, |n| if n <= 10 { 1.0 } else { 0.5 });
    assert!(lattice.surplus(100, 1_000).is_empty());
    // at capacity 50 the first ten have keys 51..=60, the 11th has 36
    assert_eq!(lattice.surplus(50, 3), [11, 12, 13]);
    assert_eq!(lattice.surplus(50, 1_000).len(), 50);
    assert_eq!(lattice.eviction_key(11, 0.5), 61);
}

#[test]
fn the_items_of_a_subject_are_found() {
    let mut lattice = Lattice::new(4, 100);
    for position in [5, 3, 9] {
        lattice.insert(Item { subject: subject(2), ..item(position) }, None).unwrap();
    }
    lattice.insert(item(4), None).unwrap();
    assert_eq!(lattice.positions_of(subject(2)), [3, 5, 9]);
    assert!(lattice.positions_of(subject(8)).is_empty());
}
