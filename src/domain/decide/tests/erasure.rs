//! `subject.erased`: a running replica and a replay without the erased vectors agree.

use super::{Log, admission, answer, subject};
use crate::domain::{
    command::Admit,
    digest,
    event::{Event, MemoryOutcome, NotStoredReason},
};

#[test]
fn an_erasure_removes_items_averages_and_traces() {
    let mut log = Log::new();
    for seed in 0..6 {
        log.step(u128::from(seed % 2), seed);
    }
    log.admit(Admit { caller_score: Some(0.0), ..admission(1) }).unwrap();
    assert_eq!(log.state.filter.subject_count(), 1);
    log.erase(subject(1));
    assert_eq!(log.state.lattice.positions_of(subject(1)), [0; 0]);
    assert_eq!(log.state.lattice.positions_of(subject(0)).len(), 3);
    assert_eq!(log.state.filter.subject_count(), 0);
    assert_eq!(log.state.trace_norms.map(f32::to_bits), [0; 3]);
    assert_eq!(log.state.traces.as_ref().unwrap().norms().map(f32::to_bits), [0; 3]);
    log.assert_replays();
    // both agree on later events
    log.step(0, 77);
    log.step(2, 78);
    log.assert_replays();
}

#[test]
fn the_steps_of_an_erased_subject_end_without_content() {
    let mut log = Log::new();
    log.admitted(1);
    log.admitted(1);
    log.admitted(2);
    log.erase(subject(1));
    let flagged: Vec<bool> = log.state.open.values().map(|open| open.erased).collect();
    assert_eq!(flagged, [true, true, false]);
    let completed = log.complete(answer(1, 1)).unwrap();
    assert_eq!(completed.memory, MemoryOutcome::NotStored { why: NotStoredReason::Erased });
    assert_eq!(completed.trace_norms, None);
    assert_eq!(log.rows.last().unwrap().envelope.content_hash, None);
    assert!(matches!(log.fail(2).unwrap()[..], [Event::StepFailed(_)]));
    assert_eq!(log.rows.last().unwrap().envelope.content_hash, None);
    log.complete(answer(3, 3)).unwrap();
    assert!(log.rows.last().unwrap().envelope.content_hash.is_some());
    assert_eq!(log.state.lattice.len(), 1);
    log.assert_replays();
}

#[test]
fn before_the_erasure_a_replay_has_the_items_but_not_the_traces() {
    let mut log = Log::new();
    log.step(1, 1);
    log.step(2, 2);
    let running = log.state.clone();
    log.erase(subject(1));
    log.rows.pop();
    let replayed = log.replay();
    assert_eq!(replayed.traces, None, "unknown until the next erasure");
    assert_eq!(replayed.lattice.len(), 2);
    // the digest does not depend on erased data
    assert_eq!(digest::state(&replayed), digest::state(&running));
}
