//! Commits of unknown outcome: each command is in the log once, at the position that its caller gets.

use std::{collections::HashMap, sync::Arc};

use mlsdm::{
    domain::ids::CommandId,
    store::{
        StoreError,
        faults::Fault,
        state_fold::PAGE,
        writer::{Limits, Outcome, Proposal, View, WriteError},
    },
    testkit::{eventually, on_every_database},
};

use super::{
    fixture::{Prompt, TestLog, TestReplica, is_admitted, started, step_of},
    tails::{attested, foreign},
};

on_every_database!(
    TestLog:
    after_an_unknown_commit_every_command_is_in_the_log_once,
    a_command_found_after_an_unknown_commit_is_found_again_after_a_failure,
    an_outcome_that_stays_unknown_is_an_error,
    a_step_that_nobody_runs_is_closed_when_its_admission_is_found,
    a_key_survives_an_unknown_commit,
);

async fn admissions(fixture: &TestLog, replica: &TestReplica, count: usize) -> Vec<Proposal> {
    let mut batch = Vec::new();
    for i in 0..count {
        let (by, text) = (format!("new {i}"), format!("prompt {i}"));
        batch.push(replica.admission(fixture, Prompt { by: &by, text: &text, key: None }).await);
    }
    batch
}

/// Every command stands in the log exactly once, where its caller was answered.
async fn assert_answers_match_the_log(
    fixture: &TestLog,
    replica: &TestReplica,
    ids: &[CommandId],
    outcomes: Vec<Result<Outcome, WriteError>>,
) {
    let mut positions: HashMap<CommandId, Vec<u64>> = HashMap::new();
    let mut chain = HashMap::new();
    for record in fixture.log(replica).await {
        positions.entry(record.command_id).or_default().push(record.position);
        chain.insert(record.position, record.chain_hash);
    }
    assert_eq!(ids.len(), outcomes.len());
    for (id, outcome) in ids.iter().zip(outcomes) {
        let Ok(Outcome::Committed(answered)) = outcome else { panic!("{outcome:?}") };
        let at: Vec<u64> = answered.events.iter().map(|(envelope, _)| envelope.position).collect();
        assert_eq!(positions[id], at);
        assert_eq!(answered.chain_hash, chain[&at[0]]);
        assert!(is_admitted(&answered));
        let subject = answered.subject.unwrap();
        assert_eq!(answered.events[0].0.subject, Some(subject.subject_ref));
        assert!(subject.fresh.is_none(), "the log knows it now");
    }
    fixture.assert_replays(replica).await;
}

async fn after_an_unknown_commit_every_command_is_in_the_log_once(fixture: TestLog) {
    let replica = fixture.replica().await;
    for (round, fault) in
        [Fault::CommitLost, Fault::CommitUnheard, Fault::CommitLate].into_iter().enumerate()
    {
        let batch = admissions(&fixture, &replica, 7).await;
        let ids: Vec<CommandId> = batch.iter().map(|proposal| proposal.command_id).collect();
        replica.faults.plan([fault]);
        let outcomes = replica.together(batch).await;
        assert!(replica.faults.all_happened());
        assert_answers_match_the_log(&fixture, &replica, &ids, outcomes).await;
        assert_eq!(replica.writer.view().state.step, 7 * (round as u64 + 1));
    }
}

/// The first part of a batch is committed with unknown outcome. The next attempt finds it, writes the
/// rest and fails: the attempt after that must find the first part again.
async fn a_command_found_after_an_unknown_commit_is_found_again_after_a_failure(fixture: TestLog) {
    let limits = Limits { batch_events: 5, ..Limits::default() };
    let replica = fixture.limited(limits).await;
    // the eighth admission consolidates: with its two events the fifth command is left over
    let warm: Vec<Proposal> = admissions(&fixture, &replica, 5).await;
    for proposal in warm {
        let Outcome::Committed(admitted) = replica.writer.propose(proposal).await.unwrap() else {
            panic!("a duplicate")
        };
        let ending = replica.completion(&admitted, "an answer");
        replica.writer.propose(ending).await.unwrap();
    }
    let batch = admissions(&fixture, &replica, 9).await;
    let ids: Vec<CommandId> = batch.iter().map(|proposal| proposal.command_id).collect();
    let again = || StoreError::Serialization("injected".to_owned());
    replica.faults.plan([Fault::CommitUnheard, Fault::CommitFails(again()), Fault::CommitUnheard]);
    let outcomes = replica.together(batch).await;
    assert!(replica.faults.all_happened());
    assert_answers_match_the_log(&fixture, &replica, &ids, outcomes).await;
    assert_eq!(replica.writer.view().state.step, 14);
}

async fn an_outcome_that_stays_unknown_is_an_error(fixture: TestLog) {
    let replica = fixture.replica().await;
    let away = || Fault::Begin(StoreError::Unavailable("injected".to_owned()));
    // written, but nobody could look
    replica.faults.plan([Fault::CommitUnheard, away()]);
    let refused = replica.admit(&fixture, Prompt { by: "s", text: "written", key: None }).await;
    assert!(matches!(refused, Err(WriteError::InDoubt(StoreError::Unavailable(_)))));
    closed(&replica, 1).await;
    // neither split nor tried again one by one: that would double it
    let batch = admissions(&fixture, &replica, 3).await;
    let broken = Fault::Begin(StoreError::Other("injected".to_owned()));
    replica.faults.plan([Fault::CommitUnheard, broken]);
    for outcome in replica.together(batch).await {
        assert!(matches!(outcome, Err(WriteError::InDoubt(StoreError::Other(_)))));
    }
    closed(&replica, 4).await;
    replica.step(&fixture, "s", "later").await;
    assert_eq!(replica.writer.view().state.step, 5, "the log shows what became of them");
    // a command that was never sent is not in doubt
    replica.faults.plan([away()]);
    let refused = replica.admit(&fixture, Prompt { by: "s", text: "not sent", key: None }).await;
    assert!(matches!(refused, Err(WriteError::Store(StoreError::Unavailable(_)))));
    fixture.assert_replays(&replica).await;
}

/// Waits until no step is open and so many have failed.
async fn closed(replica: &TestReplica, failed: u64) {
    let closed =
        |view: &Arc<View>| view.state.counts.failed == failed && view.state.open.is_empty();
    replica.writer.watch().wait_for(closed).await.unwrap();
}

/// The answer to the caller is that the outcome is unknown: nobody runs the step.
async fn a_step_that_nobody_runs_is_closed_when_its_admission_is_found(fixture: TestLog) {
    let replica = fixture.replica().await;
    let away = || Fault::Begin(StoreError::Unavailable("injected".to_owned()));
    let prompt = Prompt { by: "s", text: "written", key: Some("key") };
    for (round, (fault, steps)) in
        [(Fault::CommitLost, 0), (Fault::CommitUnheard, 1), (Fault::CommitUnheard, 2)]
            .into_iter()
            .enumerate()
    {
        replica.faults.plan([fault, away(), away()]);
        let refused = replica.admit(&fixture, prompt.clone()).await;
        assert!(matches!(refused, Err(WriteError::InDoubt(_))), "{round}: {refused:?}");
        eventually("the tail is searched again", async || {
            if replica.faults.all_happened() { Ok(()) } else { Err("a fault is planned") }
        })
        .await;
        closed(&replica, steps).await;
        assert_eq!(replica.writer.view().state.step, steps);
    }
    // the key is free again
    let admitted = replica.admit(&fixture, prompt).await;
    let Ok(Outcome::Committed(admitted)) = admitted else { panic!("{admitted:?}") };
    assert_eq!(step_of(&admitted), 3);
    fixture.assert_replays(&replica).await;
}

async fn a_key_survives_an_unknown_commit(fixture: TestLog) {
    let replica = fixture.replica().await;
    for (i, fault) in
        [Fault::CommitUnheard, Fault::CommitLost, Fault::CommitLate].into_iter().enumerate()
    {
        let key = format!("key {i}");
        let prompt = Prompt { by: "s", text: "once", key: Some(&key) };
        replica.faults.plan([fault]);
        let batch = vec![
            replica.admission(&fixture, prompt.clone()).await,
            replica.admission(&fixture, prompt.clone()).await,
        ];
        let outcomes = <[_; 2]>::try_from(replica.together(batch).await).unwrap();
        let [Ok(Outcome::Committed(first)), Ok(Outcome::Duplicate(second))] = outcomes else {
            panic!("{outcomes:?}")
        };
        assert_eq!(second.step, step_of(&first));
        assert_eq!(second.position, first.events[0].0.position);
    }
    assert_eq!(replica.writer.view().state.step, 3);
    fixture.assert_replays(&replica).await;
}

/// While the outcome was unknown, another replica wrote more events than are usually folded under the
/// lock.
#[tokio::test]
async fn an_unknown_commit_is_found_behind_a_long_tail() {
    let fixture = TestLog::postgres().await;
    let (replica, other) = (fixture.replica().await, fixture.replica().await);
    let proposal = admissions(&fixture, &replica, 1).await.remove(0);
    let ids = [proposal.command_id];
    replica.faults.plan([Fault::CommitUnheard, Fault::BeginHeld]);
    let begun = replica.faults.begun();
    let waiting = started(replica.writer.propose(proposal)).await;
    replica.faults.begun_after(begun + 1).await;
    let tail = (0..PAGE + 100).map(|_| attested()).collect();
    foreign(&fixture, &other.store, tail).await;
    replica.faults.release();
    assert_answers_match_the_log(&fixture, &replica, &ids, vec![waiting.await]).await;
}
