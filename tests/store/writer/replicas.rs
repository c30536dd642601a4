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
    let rig = TestLog::postgres().await;
    let (one, other) = (rig.replica().await, rig.replica().await);
    (rig, one, other)
}

fn plain<'a>(by: &'a str, text: &'a str) -> Prompt<'a> {
    Prompt { by, text, key: None }
}

#[tokio::test]
async fn a_subject_made_by_another_replica_first_is_used() {
    let (rig, one, other) = two().await;
    // both make the same person before either has the lock
    let theirs = one.admission(&rig, plain("ann", "from one")).await;
    let mut ours = other.admission(&rig, plain("ann", "from the other")).await;
    let made = ours.subject.clone().unwrap().subject_ref;
    let id = ours.command_id;
    // an operator's proxy may act for her: its own name is new as well
    let proxy = other.subject(&rig.engine, "proxy").await;
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
    let texts = one.store.sealed_contents(&rig.engine, &[position]).await.unwrap();
    assert_eq!(texts[0].subject_ref, ann.subject_ref);
    assert_eq!(ann.key.open(id, Column::Text, &texts[0].sealed).unwrap(), b"from the other");
    let log = rig.log(&other).await;
    let record = log.iter().find(|record| record.command_id == id).unwrap();
    assert_eq!(record.actor, Some(proxy.subject_ref.to_string()));
    // and each goes on with the one person
    let third = other.step(&rig, "ann", "again").await;
    assert_eq!(third.events[0].0.subject, Some(ann.subject_ref));
    rig.assert_replays(&other).await;
}

#[tokio::test]
async fn a_subject_that_acts_for_itself_is_one_even_if_made_twice() {
    let (rig, one, other) = two().await;
    let theirs = one.admission(&rig, plain("ann", "a")).await;
    let ours = other.admission(&rig, plain("ann", "b")).await;
    let id = ours.command_id;
    let ann = committed(one.writer.propose(theirs).await).subject.unwrap();
    committed(other.writer.propose(ours).await);
    let log = rig.log(&other).await;
    let record = log.iter().find(|record| record.command_id == id).unwrap();
    assert_eq!(record.actor, Some(ann.subject_ref.to_string()));
}

#[tokio::test]
async fn a_key_taken_elsewhere_is_taken_here() {
    let (rig, one, other) = two().await;
    let prompt = || Prompt { by: "ann", text: "once", key: Some("key") };
    // both make the person, so the body's hash hangs on another key at first
    let ours = other.admission(&rig, prompt()).await;
    let first = committed(one.admit(&rig, prompt()).await);
    let told = other.writer.propose(ours).await.unwrap();
    let Outcome::Duplicate(earlier) = told else { panic!("{told:?}") };
    assert_eq!(earlier.step, step_of(&first));
    let ending = committed(one.writer.propose(one.completion(&first, "the answer")).await);
    let told = other.admit(&rig, prompt()).await.unwrap();
    let Outcome::Duplicate(earlier) = told else { panic!("{told:?}") };
    assert_eq!(earlier.ended, Some(ending.events[0].0.position));
}

#[tokio::test]
async fn writers_take_turns_without_a_gap() {
    let (rig, one, other) = two().await;
    for round in 0..12 {
        let text = format!("round {round}");
        let (a, b) = tokio::join!(one.step(&rig, "a", &text), other.step(&rig, "b", &text));
        assert_ne!(step_of(&a), step_of(&b));
    }
    // whoever is behind folds the rest with its next command
    one.step(&rig, "a", "last").await;
    other.step(&rig, "b", "last").await;
    one.step(&rig, "a", "very last").await;
    rig.assert_replays(&one).await;
    let log = rig.log(&one).await;
    assert!(log.iter().enumerate().all(|(i, record)| record.position == i as u64 + 1));
    assert_eq!(one.writer.view().state.counts.completed, 27);
}

#[tokio::test]
async fn the_time_of_the_log_never_falls() {
    let rig = TestLog::postgres().await;
    let start = 1_800_000_000_000_000;
    let ahead = rig.with_clock(start + 5_000_000).await;
    let behind = rig.with_clock(start).await;
    for round in 0..4 {
        ahead.step(&rig, "a", &format!("ahead {round}")).await;
        behind.step(&rig, "b", &format!("behind {round}")).await;
    }
    let log = rig.log(&behind).await;
    let times: Vec<i64> = log.iter().map(|record| record.recorded_at).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(*times.last().unwrap(), start + 5_000_000);
    let told = committed(behind.admit(&rig, plain("b", "deadline")).await);
    let (envelope, Event::StepAdmitted(admitted)) = &told.events[0] else { panic!("{told:?}") };
    assert!(is_admitted(&told));
    assert_eq!(admitted.deadline, envelope.recorded_at + super::fixture::DEADLINE);
    rig.assert_replays(&behind).await;
}
