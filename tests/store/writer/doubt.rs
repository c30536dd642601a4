//! Commits whose outcome is unknown: each command is in the log once, and its caller knows where.

use std::collections::HashMap;

use mlsdm::{
    domain::ids::CommandId,
    store::{
        StoreError,
        faults::Fault,
        state_fold::PAGE,
        writer::{Limits, Outcome, Proposal, WriteError},
    },
    testkit::on_every_database,
};

use super::{
    fixture::{Prompt, TestLog, TestReplica, is_admitted, started, step_of},
    tails::{attested, foreign},
};

on_every_database!(
    TestLog:
    whether_written_or_not_every_command_is_there_once,
    a_doubtful_commit_and_a_failing_one_after_it,
    doubt_that_is_not_cleared_up_is_told,
    a_key_survives_a_doubtful_commit,
);

async fn admissions(rig: &TestLog, replica: &TestReplica, count: usize) -> Vec<Proposal> {
    let mut batch = Vec::new();
    for i in 0..count {
        let (by, text) = (format!("new {i}"), format!("prompt {i}"));
        batch.push(replica.admission(rig, Prompt { by: &by, text: &text, key: None }).await);
    }
    batch
}

/// Every command stands in the log exactly once, where its caller was told.
async fn assert_told_right(
    rig: &TestLog,
    replica: &TestReplica,
    ids: &[CommandId],
    outcomes: Vec<Result<Outcome, WriteError>>,
) {
    let mut positions: HashMap<CommandId, Vec<u64>> = HashMap::new();
    let mut chain = HashMap::new();
    for record in rig.log(replica).await {
        positions.entry(record.command_id).or_default().push(record.position);
        chain.insert(record.position, record.chain_hash);
    }
    assert_eq!(ids.len(), outcomes.len());
    for (id, outcome) in ids.iter().zip(outcomes) {
        let Ok(Outcome::Committed(told)) = outcome else { panic!("{outcome:?}") };
        let at: Vec<u64> = told.events.iter().map(|(envelope, _)| envelope.position).collect();
        assert_eq!(positions[id], at);
        assert_eq!(told.chain_hash, chain[&at[0]]);
        assert!(is_admitted(&told));
        let subject = told.subject.unwrap();
        assert_eq!(told.events[0].0.subject, Some(subject.subject_ref));
        assert!(subject.fresh.is_none(), "the log knows it now");
    }
    rig.assert_replays(replica).await;
}

async fn whether_written_or_not_every_command_is_there_once(rig: TestLog) {
    let replica = rig.replica().await;
    for (round, fault) in
        [Fault::CommitLost, Fault::CommitUnheard, Fault::CommitLate].into_iter().enumerate()
    {
        let batch = admissions(&rig, &replica, 7).await;
        let ids: Vec<CommandId> = batch.iter().map(|proposal| proposal.command_id).collect();
        replica.faults.plan([fault]);
        let outcomes = replica.together(batch).await;
        assert!(replica.faults.all_happened());
        assert_told_right(&rig, &replica, &ids, outcomes).await;
        assert_eq!(replica.writer.view().state.step, 7 * (round as u64 + 1));
    }
}

/// The first part of a batch is written unheard; the attempt that finds it there writes the rest
/// and fails: the next attempt must find the first part again.
async fn a_doubtful_commit_and_a_failing_one_after_it(rig: TestLog) {
    let limits = Limits { batch_events: 5, ..Limits::default() };
    let replica = rig.limited(limits).await;
    // the eighth admission consolidates: with its two events the fifth command is left over
    let warm: Vec<Proposal> = admissions(&rig, &replica, 5).await;
    for proposal in warm {
        let Outcome::Committed(admitted) = replica.writer.propose(proposal).await.unwrap() else {
            panic!("a duplicate")
        };
        let ending = replica.completion(&admitted, "an answer");
        replica.writer.propose(ending).await.unwrap();
    }
    let batch = admissions(&rig, &replica, 9).await;
    let ids: Vec<CommandId> = batch.iter().map(|proposal| proposal.command_id).collect();
    let again = || StoreError::Serialization("injected".to_owned());
    replica.faults.plan([Fault::CommitUnheard, Fault::CommitFails(again()), Fault::CommitUnheard]);
    let outcomes = replica.together(batch).await;
    assert!(replica.faults.all_happened());
    assert_told_right(&rig, &replica, &ids, outcomes).await;
    assert_eq!(replica.writer.view().state.step, 14);
}

async fn doubt_that_is_not_cleared_up_is_told(rig: TestLog) {
    let replica = rig.replica().await;
    let away = || Fault::Begin(StoreError::Unavailable("injected".to_owned()));
    // written, but nobody could look
    replica.faults.plan([Fault::CommitUnheard, away()]);
    let refused = replica.admit(&rig, Prompt { by: "s", text: "written", key: None }).await;
    assert!(matches!(refused, Err(WriteError::Store(StoreError::Unavailable(_)))));
    // neither split nor tried again one by one: that would double it
    let batch = admissions(&rig, &replica, 3).await;
    let broken = Fault::Begin(StoreError::Other("injected".to_owned()));
    replica.faults.plan([Fault::CommitUnheard, broken]);
    for outcome in replica.together(batch).await {
        assert!(matches!(outcome, Err(WriteError::Store(StoreError::Other(_)))));
    }
    replica.step(&rig, "s", "later").await;
    assert_eq!(replica.writer.view().state.step, 5, "the log shows what became of them");
    rig.assert_replays(&replica).await;
}

async fn a_key_survives_a_doubtful_commit(rig: TestLog) {
    let replica = rig.replica().await;
    for (i, fault) in
        [Fault::CommitUnheard, Fault::CommitLost, Fault::CommitLate].into_iter().enumerate()
    {
        let key = format!("key {i}");
        let prompt = Prompt { by: "s", text: "once", key: Some(&key) };
        replica.faults.plan([fault]);
        let batch = vec![
            replica.admission(&rig, prompt.clone()).await,
            replica.admission(&rig, prompt.clone()).await,
        ];
        let outcomes = <[_; 2]>::try_from(replica.together(batch).await).unwrap();
        let [Ok(Outcome::Committed(first)), Ok(Outcome::Duplicate(second))] = outcomes else {
            panic!("{outcomes:?}")
        };
        assert_eq!(second.step, step_of(&first));
        assert_eq!(second.position, first.events[0].0.position);
    }
    assert_eq!(replica.writer.view().state.step, 3);
    rig.assert_replays(&replica).await;
}

/// While it was in doubt another replica wrote more than is folded under the lock otherwise.
#[tokio::test]
async fn doubt_is_cleared_up_behind_a_long_tail() {
    let rig = TestLog::postgres().await;
    let (replica, other) = (rig.replica().await, rig.replica().await);
    let proposal = admissions(&rig, &replica, 1).await.remove(0);
    let ids = [proposal.command_id];
    replica.faults.plan([Fault::CommitUnheard, Fault::BeginHeld]);
    let begun = replica.faults.begun();
    let waiting = started(replica.writer.propose(proposal)).await;
    replica.faults.begun_after(begun + 1).await;
    let tail = (0..PAGE + 100).map(|_| attested()).collect();
    foreign(&rig, &other.store, tail).await;
    replica.faults.release();
    assert_told_right(&rig, &replica, &ids, vec![waiting.await]).await;
}
