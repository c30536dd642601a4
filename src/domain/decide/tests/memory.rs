//! The memory stores new items at its capacity.

use super::{Log, answer};
use crate::domain::{
    command::Complete,
    decide::tests::driver::small_policy,
    event::{Event, MemoryOutcome, NotStoredReason, POSITIONS_MAX},
    ids::Position,
    policy::Policy,
};

/// Runs steps with these confidences; returns the position of each stored item.
fn run(log: &mut Log, confidences: impl Iterator<Item = f64>) -> Vec<Position> {
    let mut stored = Vec::new();
    for confidence in confidences {
        log.admitted(1);
        let step = log.state.step;
        let completed = log.complete(Complete { confidence, ..answer(step, step) }).unwrap();
        assert!(matches!(completed.memory, MemoryOutcome::Stored { .. }), "the new item is stored");
        stored.push(log.state.position);
        assert!(log.state.lattice.len() <= log.state.lattice.capacity());
        log.rows.truncate(1);
    }
    stored
}

fn assert_the_last_are_in(log: &Log, stored: &[Position], how: &str) {
    let last = &stored[stored.len() - 500..];
    let missing = last.iter().filter(|position| log.state.lattice.get(**position).is_none());
    assert_eq!(missing.count(), 0, "missing of the last 500, {how}");
    assert_eq!(log.state.lattice.len(), 1_000);
}

#[test]
fn a_full_memory_stores_new_items() {
    let alternating = |i: u32| if i.is_multiple_of(2) { 1.0 } else { 0.5 };
    let falling = |i: u32| 1.0 - f64::from(i) / 40_000.0;
    let ways: [(&str, &dyn Fn(u32) -> f64); 3] =
        [("equal", &|_| 0.8), ("alternating", &alternating), ("falling", &falling)];
    for (how, confidence) in ways {
        let mut log = Log::new();
        let stored = run(&mut log, (0..20_000).map(confidence));
        assert_the_last_are_in(&log, &stored, how);
    }
}

#[test]
fn a_memory_stores_new_items_after_its_capacity_was_reduced() {
    let mut log = Log::of(Policy { capacity: 20_000, ..small_policy() });
    run(&mut log, (0..20_000).map(|i| if i % 2 == 0 { 1.0 } else { 0.5 }));
    log.change(|policy| policy.capacity = 1_000).unwrap();
    assert_eq!(log.state.lattice.len(), 1_000);
    let stored = run(&mut log, (0..1_500).map(|_| 0.6));
    assert_the_last_are_in(&log, &stored, "after shrinking");
}

#[test]
fn a_reduced_capacity_evicts_in_pages_by_the_new_keys() {
    let mut log = Log::of(Policy { capacity: 3_000, ..small_policy() });
    for step in 1..=3_000_u32 {
        log.admitted(1);
        let confidence = if step.is_multiple_of(3) { 1.0 } else { 0.5 };
        log.complete(Complete { confidence, ..answer(step.into(), step.into()) }).unwrap();
    }
    let key = |number: u64, confidence: f64| number + (500.0 * confidence) as u64;
    let mut expected: Vec<(u64, u64, Position)> = log
        .state
        .lattice
        .items()
        .map(|item| (key(item.number, item.confidence), item.number, item.position))
        .collect();
    expected.sort_unstable();
    let events = log.change(|policy| policy.capacity = 500).unwrap();
    let [Event::PolicyChanged(changed), pages @ ..] = &events[..] else { panic!("{events:?}") };
    assert_eq!(changed.diff, ["capacity"]);
    let pages: Vec<&[Position]> = pages
        .iter()
        .map(|event| {
            let Event::MemoryEvicted(page) = event else { panic!("{event:?}") };
            page.positions.as_slice()
        })
        .collect();
    let sizes: Vec<usize> = pages.iter().map(|page| page.len()).collect();
    assert_eq!(sizes, [POSITIONS_MAX, POSITIONS_MAX, 500]);
    let order: Vec<Position> = expected.iter().map(|(_, _, position)| *position).collect();
    assert_eq!(pages.concat(), order[..2_500]);
    assert_eq!(log.state.lattice.victim().unwrap().position, order[2_500], "re-keyed");
    log.assert_replays();
}

#[test]
fn the_event_records_number_key_and_victim() {
    let mut log = Log::of(Policy { capacity: 2, ..small_policy() });
    let first = log.step(1, 1);
    let at = log.state.position;
    log.step(1, 2);
    let third = log.step(1, 3);
    let phase = log.state.policy.lattice.wake_phase;
    // capacity 2, confidence 0.8
    assert_eq!(first.memory, MemoryOutcome::Stored { n: 1, key: 2, phase, victim: None });
    assert_eq!(third.memory, MemoryOutcome::Stored { n: 3, key: 4, phase, victim: Some(at) });
    assert_eq!(third.trace_norms, Some(log.state.trace_norms));
    let norms = log.state.traces.as_ref().unwrap().norms();
    assert_eq!(norms.map(f32::to_bits), log.state.trace_norms.map(f32::to_bits));
}

#[test]
fn doubtful_and_looping_answers_are_not_stored() {
    let mut log = Log::new();
    let mut tell = |confidence, looping| {
        log.admitted(1);
        let step = log.state.step;
        let complete = Complete { confidence, looping, ..answer(step, step) };
        let completed = log.complete(complete).unwrap();
        let content = log.rows.last().unwrap().envelope.content_hash;
        assert!(content.is_some(), "the text is stored nevertheless");
        let stored = matches!(completed.memory, MemoryOutcome::Stored { .. });
        assert_eq!(completed.trace_norms.is_some(), stored);
        (completed.memory, completed.quality, log.state.lattice.len())
    };
    let not = |why| MemoryOutcome::NotStored { why };
    assert_eq!(tell(0.499, false), (not(NotStoredReason::Confidence), vec![], 0));
    assert_eq!(tell(1.0, true), (not(NotStoredReason::Looping), vec!["looping".to_owned()], 0));
    let (memory, _, len) = tell(0.5, false);
    assert!(matches!(memory, MemoryOutcome::Stored { n: 1, .. }), "inclusive");
    assert_eq!(len, 1);
}
