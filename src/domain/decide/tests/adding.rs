//! `memory.added`: items of another engine are added once, in order, and without a step.

use proptest::prelude::*;

use super::{Log, answer, fold, subject, vector};
use crate::domain::{
    command::{Add, Command, Refusal},
    decide::tests::driver::{Row, small_policy},
    digest,
    event::{Envelope, Event, ItemOrigin, MemoryAdded},
    ids::{Position, Sha256},
    lattice::Query,
    policy::Policy,
    vector::UnitVector,
};

const SOURCE: &str = "old";

fn source(position: Position) -> ItemOrigin {
    ItemOrigin { engine: SOURCE.parse().unwrap(), position }
}

/// An item of the source, to be added after another.
fn item(after: Position, position: Position) -> Add {
    Add {
        subject: subject(u128::from(position % 3)),
        source: Some(source(position)),
        after,
        actor: "operator".to_owned(),
        phase: 0.9,
        confidence: 0.8,
        consolidated: position.is_multiple_of(2),
        vector: Some(vector(position)),
    }
}

impl Log {
    fn add(&mut self, add: Add) -> Result<MemoryAdded, Refusal> {
        let mut events = self.when(&Command::Add(Box::new(add)))?;
        assert_eq!(events.len(), 1);
        let Some(Event::MemoryAdded(added)) = events.pop() else { panic!("{events:?}") };
        Ok(*added)
    }
}

#[test]
fn an_added_item_keeps_its_values_and_belongs_to_no_step() {
    let mut log = Log::of(Policy { capacity: 2, ..small_policy() });
    let first = log.add(item(0, 4)).unwrap();
    let norms = log.state.trace_norms;
    // capacity 2, confidence 0.8
    let expected = MemoryAdded {
        source: Some(source(4)),
        actor: "operator".to_owned(),
        n: 1,
        key: 2,
        phase: 0.9,
        confidence: 0.8,
        consolidated: true,
        victim: None,
        trace_norms: Some(norms),
    };
    assert_eq!(first, expected);
    assert!(norms[0] > 0.0);
    let row = log.rows.last().unwrap();
    assert_eq!((row.envelope.step, row.envelope.subject), (None, Some(subject(1))));
    assert!(row.envelope.content_hash.is_some());
    let stored = log.state.lattice.get(2).unwrap();
    assert_eq!((stored.position, stored.prompt_position, stored.number), (2, 2, 1));
    assert_eq!((stored.subject, stored.consolidated), (subject(1), true));
    log.add(item(4, 5)).unwrap();
    assert_eq!(log.state.lattice.unconsolidated().collect::<Vec<_>>(), [3]);
    let third = log.add(item(5, 9)).unwrap();
    assert_eq!((third.n, third.victim), (3, Some(2)));
    assert_eq!((log.state.step, log.state.lattice.len()), (0, 2));
    assert_eq!(log.state.counts, crate::domain::state::StepCounts::default());
    log.assert_replays();
    // steps continue with the next store number
    log.step(1, 1);
    log.assert_replays();
}

#[test]
fn an_item_below_the_confidence_limit_is_added_unchanged() {
    let mut log = Log::new();
    let doubtful = Add { confidence: 0.1, ..item(0, 4) };
    assert_eq!(log.add(doubtful).unwrap().n, 1);
}

#[test]
fn a_subject_finds_only_its_own_added_items() {
    let mut log = Log::new();
    log.add(item(0, 4)).unwrap();
    let (wanted, lattice) = (vector(4), &log.state.lattice);
    let found = |by| {
        let query = Query {
            vector: &wanted,
            phase: 0.1,
            phase_tolerance: 0.15,
            min_similarity: 0.5,
            k: 5,
            subject: Some(subject(by)),
        };
        lattice.search(&query).unwrap().hits.len()
    };
    assert_eq!((found(1), found(2)), (1, 0));
}

#[test]
fn no_item_is_added_twice_or_out_of_order() {
    let mut log = Log::new();
    log.add(item(0, 4)).unwrap();
    log.add(item(4, 7)).unwrap();
    let before = digest::state(&log.state);
    for (after, position) in [(0, 4), (4, 7), (7, 7), (7, 4), (0, 9), (8, 9), (9, 10)] {
        let refused = log.add(item(after, position)).unwrap_err();
        assert_eq!(refused, Refusal::OutOfOrder { position, last: 7 });
    }
    let other = Add {
        source: Some(ItemOrigin { engine: "x".parse().unwrap(), position: 9 }),
        ..item(7, 9)
    };
    let refused = log.add(other).unwrap_err();
    assert_eq!(refused, Refusal::OtherSource { engine: SOURCE.parse().unwrap() });
    let short = UnitVector::normalise(&[1.0], 1).unwrap();
    let refused = log.add(Add { vector: Some(short), ..item(7, 9) }).unwrap_err();
    assert_eq!(refused, Refusal::Dimension { expected: 8, found: 1 });
    assert_eq!(digest::state(&log.state), before);
    log.add(item(7, 9)).unwrap();
}

#[test]
fn the_digest_includes_the_origin_only_for_a_copy() {
    let mut log = Log::new();
    log.add(item(0, 4)).unwrap();
    let mut digests = vec![digest::state(&log.state)];
    let others =
        [None, Some(source(5)), Some(ItemOrigin { engine: "x".parse().unwrap(), position: 4 })];
    for copied in others {
        log.state.copied = copied;
        let digest = digest::state(&log.state);
        assert!(!digests.contains(&digest));
        digests.push(digest);
    }
}

#[test]
fn an_erasure_removes_added_items_and_their_traces() {
    let mut log = Log::new();
    log.add(item(0, 4)).unwrap();
    log.add(item(4, 5)).unwrap();
    log.erase(subject(1));
    assert_eq!(log.state.lattice.len(), 1);
    assert_eq!(log.state.trace_norms.map(f32::to_bits), [0; 3]);
    log.assert_replays();
    // an erased item is not added again
    assert!(log.add(item(0, 4)).is_err());
}

#[test]
fn a_log_that_decide_cannot_write_is_refused() {
    let mut log = Log::of(Policy { capacity: 1, ..small_policy() });
    log.add(item(0, 4)).unwrap();
    let good = log.add(item(4, 7)).unwrap();
    let envelope = Envelope {
        position: 4,
        recorded_at: log.now,
        step: None,
        subject: Some(subject(1)),
        content_hash: Some(Sha256([7; 32])),
    };
    let next = MemoryAdded { source: Some(source(9)), n: 3, victim: Some(3), ..good };
    let row = |added: &MemoryAdded, subject| {
        let event = Event::MemoryAdded(Box::new(added.clone()));
        Row { envelope: Envelope { subject, ..envelope.clone() }, event, vector: Some(vector(9)) }
    };
    let other = ItemOrigin { engine: "x".parse().unwrap(), position: 9 };
    let follows = "its source does not follow that of the item added before";
    let cases = [
        (row(&next, None), "an added item needs a subject"),
        (row(&MemoryAdded { source: Some(source(7)), ..next.clone() }, envelope.subject), follows),
        (row(&MemoryAdded { source: Some(other), ..next.clone() }, envelope.subject), follows),
        (
            row(&MemoryAdded { n: 4, ..next.clone() }, envelope.subject),
            "its store number does not follow",
        ),
        (
            row(&MemoryAdded { victim: Some(2), ..next.clone() }, envelope.subject),
            "its victim is not in memory",
        ),
    ];
    let before = digest::state(&log.state);
    for (bad, what) in cases {
        assert_eq!(fold(&mut log.state, &bad).unwrap_err().what, what);
        assert_eq!(digest::state(&log.state), before, "{what}");
    }
    fold(&mut log.state, &row(&next, envelope.subject)).unwrap();
}

/// A random action.
#[derive(Clone, Debug)]
enum Act {
    /// A migration adds items, starting from the one it considers next.
    Run {
        from: usize,
        items: usize,
    },
    /// A step of the engine.
    Step(u128),
    Erase(u128),
    Capacity(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..40_usize, 1..20_usize).prop_map(|(from, items)| Act::Run { from, items }),
        2 => (0..3_u128).prop_map(Act::Step),
        1 => (0..3_u128).prop_map(Act::Erase),
        1 => (1..30_usize).prop_map(Act::Capacity),
    ]
}

proptest! {
    /// For any number of migrations from any position, each item is added at most once, in order
    /// and without gaps, and a replay agrees.
    #[test]
    fn any_runs_add_a_prefix_of_the_items_once(acts in proptest::collection::vec(act(), 1..12)) {
        // the positions of the source's items; 0 stands before the first
        let at = |index: usize| if index == 0 { 0 } else { index as Position * 3 + 1 };
        let mut log = Log::of(Policy { capacity: 10, ..small_policy() });
        for act in acts {
            match act {
                Act::Run { from, items } => for index in from + 1..=from + items {
                    // the next item is added even if this one was refused
                    log.add(item(at(index - 1), at(index))).ok();
                },
                Act::Step(by) => {
                    log.admitted(by);
                    let step = log.state.step;
                    log.complete(answer(step, step)).unwrap();
                }
                Act::Erase(by) => log.erase(subject(by)),
                Act::Capacity(capacity) => {
                    log.change(|policy| policy.capacity = capacity).unwrap();
                }
            }
            prop_assert!(log.state.lattice.len() <= log.state.lattice.capacity());
        }
        let source = |row: &Row| {
            if let Event::MemoryAdded(added) = &row.event { added.source.as_ref().map(|s| s.position) } else { None }
        };
        let added: Vec<Position> = log.rows.iter().filter_map(source).collect();
        prop_assert_eq!(&added, &(1..=added.len()).map(at).collect::<Vec<_>>());
        prop_assert_eq!(log.state.copied.as_ref().map_or(0, |last| last.position), at(added.len()));
        log.assert_replays();
    }
}
