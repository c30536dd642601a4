//! Idempotency keys: one step for each key.

use mlsdm::{
    domain::{
        command::{Command, Intervene},
        event::FailStage,
    },
    store::writer::{Actor, Earlier, Outcome, Proposal, WriteError},
    testkit::on_every_database,
};

use super::fixture::{Prompt, TestLog, TestReplica, committed, is_admitted, step_of};

on_every_database!(
    TestLog:
    a_second_command_with_the_same_key_is_a_duplicate,
    a_key_with_another_body_is_refused,
    subjects_do_not_share_keys,
    an_ended_step_answers_for_its_key,
    a_key_answers_where_a_new_step_would_be_refused,
    an_expired_key_is_free,
    transient_failures_release_the_key,
);

const WEEK: i64 = 7 * 24 * 60 * 60 * 1_000_000;

fn prompt<'a>(by: &'a str, text: &'a str) -> Prompt<'a> {
    Prompt { by, text, key: Some("key") }
}

async fn duplicate(fixture: &TestLog, replica: &TestReplica, prompt: Prompt<'_>) -> Earlier {
    match replica.admit(fixture, prompt).await.unwrap() {
        Outcome::Duplicate(earlier) => earlier,
        Outcome::Committed(answered) => panic!("step {} began", step_of(&answered)),
    }
}

async fn a_second_command_with_the_same_key_is_a_duplicate(fixture: TestLog) {
    let replica = fixture.replica().await;
    let batch = vec![
        replica.admission(&fixture, prompt("s", "same")).await,
        replica.admission(&fixture, prompt("s", "same")).await,
        replica.admission(&fixture, prompt("s", "other")).await,
    ];
    let [first, second, third] = <[_; 3]>::try_from(replica.together(batch).await).unwrap();
    let first = committed(first);
    let Ok(Outcome::Duplicate(earlier)) = second else { panic!("{second:?}") };
    assert_eq!((earlier.step, earlier.ended), (step_of(&first), None));
    assert_eq!(earlier.subject.subject_ref, first.subject.unwrap().subject_ref);
    assert!(matches!(third, Err(WriteError::OtherBody)));
    assert_eq!(replica.writer.view().state.step, 1);
    fixture.assert_replays(&replica).await;
}

async fn a_key_with_another_body_is_refused(fixture: TestLog) {
    let replica = fixture.replica().await;
    committed(replica.admit(&fixture, prompt("s", "one")).await);
    let refused = replica.admit(&fixture, prompt("s", "two")).await;
    assert!(matches!(refused, Err(WriteError::OtherBody)));
    assert_eq!(replica.writer.view().state.step, 1);
}

async fn subjects_do_not_share_keys(fixture: TestLog) {
    let replica = fixture.replica().await;
    let one = committed(replica.admit(&fixture, prompt("one", "same")).await);
    let two = committed(replica.admit(&fixture, prompt("two", "same")).await);
    assert_eq!((step_of(&one), step_of(&two)), (1, 2));
}

async fn an_ended_step_answers_for_its_key(fixture: TestLog) {
    let replica = fixture.replica().await;
    let admitted = committed(replica.admit(&fixture, prompt("s", "x")).await);
    assert_eq!(duplicate(&fixture, &replica, prompt("s", "x")).await.ended, None);
    // its ending and a repetition in one batch
    let batch = vec![
        replica.completion(&admitted, "the answer"),
        replica.admission(&fixture, prompt("s", "x")).await,
    ];
    let [ending, repeated] = <[_; 2]>::try_from(replica.together(batch).await).unwrap();
    let ended = committed(ending).events[0].0.position;
    let Ok(Outcome::Duplicate(repeated)) = repeated else { panic!("{repeated:?}") };
    assert_eq!(repeated.ended, Some(ended));
    assert_eq!(duplicate(&fixture, &replica, prompt("s", "x")).await.ended, Some(ended));
}

async fn a_key_answers_where_a_new_step_would_be_refused(fixture: TestLog) {
    let replica = fixture.replica().await;
    let admitted = committed(replica.admit(&fixture, prompt("s", "x")).await);
    let act = Intervene { actor: "test".to_owned(), reason: "none".to_owned() };
    let shutdown = Command::Shutdown(act);
    let shutdown = Proposal::of_engine(mlsdm::ids::command_id(), shutdown, Actor::Server);
    committed(replica.writer.propose(shutdown).await);
    let new = replica.admit(&fixture, Prompt { by: "s", text: "new", key: None }).await;
    assert!(matches!(new, Err(WriteError::Refused(_))));
    assert_eq!(duplicate(&fixture, &replica, prompt("s", "x")).await.step, step_of(&admitted));
    let other = replica.admit(&fixture, prompt("s", "y")).await;
    assert!(matches!(other, Err(WriteError::OtherBody)), "{other:?}");
}

async fn an_expired_key_is_free(fixture: TestLog) {
    let replica = fixture.replica().await;
    let admitted = committed(replica.admit(&fixture, prompt("s", "x")).await);
    committed(replica.writer.propose(replica.completion(&admitted, "the answer")).await);
    fixture.pass(WEEK - 1);
    assert_eq!(duplicate(&fixture, &replica, prompt("s", "x")).await.step, 1);
    fixture.pass(1);
    // two at once: the first takes the key, the second waits for it; another body is no matter now
    let batch = vec![
        replica.admission(&fixture, prompt("s", "another")).await,
        replica.admission(&fixture, prompt("s", "another")).await,
    ];
    let [anew, again] = <[_; 2]>::try_from(replica.together(batch).await).unwrap();
    assert_eq!(step_of(&committed(anew)), 2);
    assert!(matches!(again, Ok(Outcome::Duplicate(Earlier { step: 2, ended: None, .. }))));
    assert_eq!(duplicate(&fixture, &replica, prompt("s", "another")).await.step, 2);
}

async fn transient_failures_release_the_key(fixture: TestLog) {
    let replica = fixture.replica().await;
    let mut step = 0;
    for stage in [FailStage::Embedding, FailStage::Llm, FailStage::Cancelled, FailStage::Abandoned]
    {
        step += 1;
        let admitted = committed(replica.admit(&fixture, prompt("s", "x")).await);
        assert_eq!(step_of(&admitted), step, "{stage:?}");
        committed(replica.writer.propose(replica.failure(&admitted, stage)).await);
    }
    // freed and taken again in one batch
    let admitted = committed(replica.admit(&fixture, prompt("s", "x")).await);
    let batch = vec![
        replica.failure(&admitted, FailStage::Llm),
        replica.admission(&fixture, prompt("s", "x")).await,
    ];
    let [_, anew] = <[_; 2]>::try_from(replica.together(batch).await).unwrap();
    let anew = committed(anew);
    assert!(is_admitted(&anew));
    // an empty answer stays the answer
    let failed = replica.failure(&anew, FailStage::EmptyResponse);
    let ended = committed(replica.writer.propose(failed).await).events[0].0.position;
    let earlier = duplicate(&fixture, &replica, prompt("s", "x")).await;
    assert_eq!((earlier.step, earlier.ended), (step_of(&anew), Some(ended)));
    fixture.assert_replays(&replica).await;
}
