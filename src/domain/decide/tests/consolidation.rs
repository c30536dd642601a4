//! The effect of sleep on the memory.

use super::{Log, answer, subject, vector};
use crate::domain::{
    decide::tests::driver::small_policy,
    event::{Event, POSITIONS_MAX},
    ids::Position,
    lattice::Query,
    policy::{Policy, Rhythm},
    rhythm::Phase,
};

fn log(wake_duration: u32, sleep_duration: u32) -> Log {
    let rhythm = Rhythm { wake_duration, sleep_duration, ..Rhythm::default() };
    Log::of(Policy { rhythm, capacity: 5_000, ..small_policy() })
}

/// The items that a step of this phase finds with the vector of a seed.
fn found(log: &Log, seed: u64, phase: Phase) -> Vec<Position> {
    let vector = vector(seed);
    let policy = &log.state.policy.lattice;
    let query = Query {
        vector: &vector,
        phase: log.state.phase_value(phase),
        phase_tolerance: policy.phase_tolerance,
        min_similarity: 0.999,
        k: 5,
        subject: log.state.visible_to(subject(1)),
    };
    log.state.lattice.search(&query).unwrap().hits.iter().map(|hit| hit.position).collect()
}

fn consolidated(events: &[Event]) -> Vec<&[Position]> {
    let pages = events.iter().map(|event| {
        let Event::MemoryConsolidated(page) = event else { panic!("{event:?}") };
        page.positions.as_slice()
    });
    pages.collect()
}

#[test]
fn an_item_stored_in_sleep_is_found_awake_after_consolidation() {
    let mut log = log(2, 2);
    log.step(1, 1);
    log.step(1, 2);
    assert_eq!(log.state.rhythm.phase, Phase::Sleep);
    log.step(1, 33);
    let said_in_sleep = log.state.position;
    log.step(1, 4);
    assert_eq!(log.state.rhythm.phase, Phase::Wake);
    assert_eq!(found(&log, 33, Phase::Sleep), [said_in_sleep]);
    assert_eq!(found(&log, 33, Phase::Wake), [0; 0], "not found before its consolidation");
    log.step(1, 5);
    // the next transition to sleep consolidates
    let (_, events) = log.admitted(1);
    assert!(consolidated(&events)[0].contains(&said_in_sleep));
    assert_eq!(found(&log, 33, Phase::Wake), [said_in_sleep]);
    assert_eq!(found(&log, 33, Phase::Sleep), [said_in_sleep]);
}

#[test]
fn an_item_stored_awake_is_found_in_the_next_sleep() {
    let mut log = log(2, 2);
    log.step(1, 11);
    let said = log.state.position;
    assert_eq!(found(&log, 11, Phase::Sleep), [0; 0]);
    let (_, events) = log.admitted(1);
    assert_eq!(consolidated(&events), [&[said]]);
    assert_eq!(found(&log, 11, Phase::Sleep), [said]);
    let item = log.state.lattice.get(said).unwrap();
    assert!(
        item.consolidated && item.phase < 0.5 && item.confidence > 0.5,
        "no other field changes"
    );
    log.assert_replays();
}

#[test]
fn without_sleep_every_wake_duration_consolidates() {
    let mut log = log(3, 0);
    for cycle in 0..4_u64 {
        for step in 0..2 {
            log.step(1, cycle * 3 + step);
        }
        let (admitted, events) = log.admitted(1);
        // the step that was open during the last consolidation, and two more
        let expected = if cycle == 0 { 2 } else { 3 };
        assert_eq!(consolidated(&events)[0].len(), expected);
        assert_eq!((admitted.tick.phase, admitted.tick.counter), (Phase::Wake, 3));
        log.complete(answer(log.state.step, cycle * 3 + 2)).unwrap();
    }
}

#[test]
fn a_transition_without_new_items_records_no_event() {
    let mut log = log(1, 1);
    let (_, events) = log.admitted(1);
    assert_eq!(events, []);
}

#[test]
fn many_items_are_consolidated_in_pages() {
    let mut log = log(2_500, 1);
    for seed in 0..2_499 {
        log.step(1, seed);
    }
    let (_, events) = log.admitted(1);
    let pages = consolidated(&events);
    let sizes: Vec<usize> = pages.iter().map(|page| page.len()).collect();
    assert_eq!(sizes, [POSITIONS_MAX, POSITIONS_MAX, 499]);
    assert!(pages.concat().is_sorted());
    assert_eq!(log.state.lattice.consolidated(), 2_499);
    log.assert_replays();
}
