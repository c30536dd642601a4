//! Two writers on one log.

use std::sync::Arc;

use mlsdm::{
    domain::event::Event,
    store::{
        keys::Column,
        writer::{Actor, Outcome, prompt_hmac},
    },
};

use super::fixture::{Prompt, TestLog, TestReplica, committed, fake_digest, is_admitted, step_of};

async fn two() -> (TestLog, TestReplica, TestReplica) {
    let fixture = TestLog::postgres().await;
    let (one, other) = (fixture.replica().await, fixture.replica().await);
    (fixture, one, other)
}

fn plain<'a>(by: &'a str, text: &'a str) -> Prompt<'a> {
    Prompt { by, text, key: None }
}

#[tokio::test]
async fn a_subject_made_by_another_replica_first_is_used() {
    let (fixture, one, other) = two().await;
    // both make the same person before either has the lock
    let theirs = one.admission(&fixture, plain("ann", "from one")).await;
    let mut ours = other.admission(&fixture, plain("ann", "from the other")).await;
    let made = ours.subject.clone().unwrap().subject_ref;
    let id = ours.command_id;
    // an operator's proxy may act for her: its own name is new as well
    let proxy = other.subject(&fixture.engine, "proxy").await;
    ours.actor = Actor::Subject(Arc::clone(&proxy));
    let first = committed(one.writer.propose(theirs).await);
    let ann = first.subject.clone().unwrap();
    let second = committed(other.writer.propose(ours).await);
    let kept = second.subject.clone().unwrap();
    assert_ne!(kept.subject_ref, made, "the other's pseudonym was dropped");
    assert_eq!(kept.subject_ref, ann.subject_ref);
    assert_eq!(second.events[0].0.subject, Some(ann.subject_ref));
    let Event::StepAdmitted(admitted) = &second.events[0].1 else { panic!("{second:?}") };
    assert_eq!(admitted.request.prompt_hmac, prompt_hmac(&ann.key, &fake_digest("from the other")));
    let position = second.events[0].0.position;
    let texts = one.store.sealed_contents(&fixture.engine, &[position]).await.unwrap();
    assert_eq!(texts[0].subject_ref, ann.subject_ref);
    assert_eq!(ann.key.open(id, Column::Text, &texts[0].sealed).unwrap(), b"from the other");
    let log = fixture.log(&other).await;
    let record = log.iter().find(|record| record.command_id == id).unwrap();
    assert_eq!(record.actor, Some(proxy.subject_ref.to_string()));
    // and each goes on with the one person
    let third = other.step(&fixture, "ann", "again").await;
    assert_eq!(third.events[0].0.subject, Some(ann.subject_ref));
    fixture.assert_replays(&other).await;
}

#[tokio::test]
async fn a_subject_that_acts_for_itself_is_one_even_if_made_twice() {
    let (fixture, one, other) = two().await;
    let theirs = one.admission(&fixture, plain("ann", "a")).await;
    let ours = other.admission(&fixture, plain("ann", "b")).await;
    let id = ours.command_id;
    let ann = committed(one.writer.propose(theirs).await).subject.unwrap();
    committed(other.writer.propose(ours).await);
    let log = fixture.log(&other).await;
    let record = log.iter().find(|record| record.command_id == id).unwrap();
    assert_eq!(record.actor, Some(ann.subject_ref.to_string()));
}

#[tokio::test]
async fn a_key_taken_by_another_replica_is_found() {
    let (fixture, one, other) = two().await;
    let prompt = || Prompt { by: "ann", text: "once", key: Some("key") };
    // both make the person, so the body's hash hangs on another key at first
    let ours = other.admission(&fixture, prompt()).await;
    let first = committed(one.admit(&fixture, prompt()).await);
    let answered = other.writer.propose(ours).await.unwrap();
    let Outcome::Duplicate(earlier) = answered else { panic!("{answered:?}") };
    assert_eq!(earlier.step, step_of(&first));
    let ending = committed(one.writer.propose(one.completion(&first, "the answer")).await);
    let answered = other.admit(&fixture, prompt()).await.unwrap();
    let Outcome::Duplicate(earlier) = answered else { panic!("{answered:?}") };
    assert_eq!(earlier.ended, Some(ending.events[0].0.position));
}

#[tokio::test]
async fn writers_take_turns_without_a_gap() {
    let (fixture, one, other) = two().await;
    for round in 0..12 {
        let text = format!("round {round}");
        let (a, b) = tokio::join!(one.step(&fixture, "a", &text), other.step(&fixture, "b", &text));
        assert_ne!(step_of(&a), step_of(&b));
    }
    // whoever is behind folds the rest with its next command
    one.step(&fixture, "a", "last").await;
    other.step(&fixture, "b", "last").await;
    one.step(&fixture, "a", "very last").await;
    fixture.assert_replays(&one).await;
    let log = fixture.log(&one).await;
    assert!(log.iter().enumerate().all(|(i, record)| record.position == i as u64 + 1));
    assert_eq!(one.writer.view().state.counts.completed, 27);
}

#[tokio::test]
async fn the_time_of_the_log_never_falls() {
    let fixture = TestLog::postgres().await;
    let start = 1_800_000_000_000_000;
    let ahead = fixture.with_clock(start + 5_000_000).await;
    let behind = fixture.with_clock(start).await;
    for round in 0..4 {
        ahead.step(&fixture, "a", &format!("ahead {round}")).await;
        behind.step(&fixture, "b", &format!("behind {round}")).await;
    }
    let log = fixture.log(&behind).await;
    let times: Vec<i64> = log.iter().map(|record| record.recorded_at).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(*times.last().unwrap(), start + 5_000_000);
    let answered = committed(behind.admit(&fixture, plain("b", "deadline")).await);
    let (envelope, Event::StepAdmitted(admitted)) = &answered.events[0] else {
        panic!("{answered:?}")
    };
    assert!(is_admitted(&answered));
    assert_eq!(admitted.deadline, envelope.recorded_at + super::fixture::DEADLINE);
    fixture.assert_replays(&behind).await;
}
