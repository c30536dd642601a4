//! `evolve` refuses logs that `decide` cannot have written.

use super::{Log, answer, fold, fold_page, subject, vector};
use crate::domain::{
    budget::{Amount, Reservation},
    decide::tests::driver::{Row, small_policy},
    digest,
    event::{Envelope, Event, MemoryOutcome, Positions},
    policy::Policy,
    vector::UnitVector,
};

fn log() -> Log {
    let mut log = Log::of(Policy { capacity: 2, ..small_policy() });
    for seed in 1..=3 {
        log.step(1, seed);
    }
    log
}

/// Changes one row of a valid log; returns the position and the error.
fn damage(at: usize, change: impl FnOnce(&mut Row)) -> (u64, &'static str) {
    let mut rows = log().rows;
    change(&mut rows[at]);
    let mut state = fold_page(rows[..at].to_vec()).unwrap();
    let before = digest::state(&state);
    let error = fold(&mut state, &rows[at]).unwrap_err();
    assert_eq!(digest::state(&state), before, "{}", error.what);
    (error.position, error.what)
}

fn completed(row: &mut Row, change: impl FnOnce(&mut MemoryOutcome)) {
    let Event::StepCompleted(event) = &mut row.event else { panic!("{:?}", row.event) };
    change(&mut event.memory);
}

#[test]
fn a_damaged_sequence_of_events_is_refused() {
    // 1 created, then admitted and completed three times
    assert_eq!(damage(2, |row| row.envelope.position = 4).1, "it does not follow the one before");
    let created = log().rows[0].event.clone();
    assert_eq!(damage(1, |row| row.event = created).1, "the engine was created already");
    assert_eq!(
        damage(1, |row| row.envelope.step = None).1,
        "a step event needs a step and a subject"
    );
    assert_eq!(damage(1, |row| row.envelope.subject = None).0, 2);
    assert_eq!(damage(3, |row| row.envelope.step = Some(3)).1, "its step number does not follow");
    assert_eq!(damage(2, |row| row.envelope.step = Some(9)).1, "it ends a step that is not open");
    assert_eq!(
        damage(2, |row| row.envelope.subject = Some(subject(2))).1,
        "it ends a step of another subject"
    );
    let number = |memory: &mut MemoryOutcome| match memory {
        MemoryOutcome::Stored { n, .. } => *n += 1,
        MemoryOutcome::NotStored { .. } => panic!(),
    };
    assert_eq!(damage(4, |row| completed(row, number)), (5, "its store number does not follow"));
    let victim = |memory: &mut MemoryOutcome| match memory {
        MemoryOutcome::Stored { victim, .. } => *victim = Some(2),
        MemoryOutcome::NotStored { .. } => panic!(),
    };
    assert_eq!(damage(6, |row| completed(row, victim)), (7, "its victim is not in memory"));
    let short = UnitVector::normalise(&[1.0], 1).unwrap();
    assert_eq!(damage(2, |row| row.vector = Some(short)).1, "its vector has another dimension");
    let late = |row: &mut Row| {
        let Event::StepAdmitted(event) = &mut row.event else { panic!("{:?}", row.event) };
        let (limit, reserved) = (Amount::default(), Amount::default());
        event.budget = Some(Reservation { holder: subject(1), limit, window: 0, reserved });
    };
    assert_eq!(damage(3, late).1, "its reservation is for another window");
    // 5 is in memory, 2 is not
    let evicted = Event::MemoryEvicted(Positions { positions: vec![5, 2] });
    assert_eq!(damage(6, |row| row.event = evicted).1, "it evicts an item that is not in memory");
}

#[test]
fn a_log_starts_with_engine_created() {
    let rows = log().rows;
    let what = "a log begins with engine.created at position 1";
    assert_eq!(fold_page(rows[1..].to_vec()).unwrap_err().what, what);
    let mut rows = rows;
    rows[0].envelope.position = 2;
    assert_eq!(fold_page(rows).unwrap_err().what, what);
}

#[test]
fn an_ending_is_folded_once() {
    let mut log = log();
    log.admitted(1);
    log.complete(answer(4, 4)).unwrap();
    let again = log.rows.last().unwrap().clone();
    let position = again.envelope.position + 1;
    let again =
        Row { envelope: Envelope { position, ..again.envelope }, vector: Some(vector(4)), ..again };
    let error = fold(&mut log.state, &again).unwrap_err();
    assert_eq!((error.position, error.what), (position, "it ends a step that is not open"));
}
