//! Batches decided and sent while the batch before is in flight: they are written only if the log is
//! as they were decided on.

use std::collections::HashMap;

use mlsdm::{
    domain::{
        event::FailStage,
        ids::{CommandId, Micros},
    },
    store::{
        StoreError,
        faults::Fault,
        writer::{Limits, Outcome, Proposal, WriteError},
    },
    testkit::on_every_database,
};
use tokio::sync::oneshot;

use super::fixture::{Prompt, TestLog, TestReplica, committed, step_of};

type Answer = oneshot::Receiver<Result<Outcome, WriteError>>;

on_every_database!(
    TestLog:
    a_waiting_command_is_decided_while_a_batch_is_in_flight,
    a_batch_that_waited_too_long_is_decided_again,
    the_next_transaction_begins_after_the_insert_before_it,
    a_failed_batch_loses_no_command_of_the_next_one,
    a_key_ended_or_released_ahead_is_seen_by_the_next_command,
    a_key_released_after_its_repetition_is_still_held,
    names_and_keys_taken_by_the_batch_before_are_found,
    a_clock_that_is_set_back_does_not_make_the_logs_time_fall,
    a_transaction_that_fails_to_begin_is_begun_again,
);

const PAIRS: Limits = Limits { batch_events: 2, queue: 1_024, batch_bytes: 1 << 20 };

/// Admissions of a subject that the log knows: none of its names is looked up under the lock.
async fn admissions(fixture: &TestLog, replica: &TestReplica, count: usize) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    for i in 0..count {
        let text = format!("prompt {i}");
        proposals
            .push(replica.admission(fixture, Prompt { by: "s", text: &text, key: None }).await);
    }
    proposals
}

/// Submits all commands before the writer runs.
fn submit(replica: &TestReplica, proposals: Vec<Proposal>) -> Vec<Answer> {
    proposals.into_iter().map(|proposal| replica.writer.submit(proposal).unwrap()).collect()
}

/// Two batches of two commands, with the clock moved between them while the second one waits; returns
/// the recorded times of the four.
async fn two_batches(
    fixture: &TestLog,
    replica: &TestReplica,
    between: impl AsyncFnOnce(),
) -> Result<[Micros; 4], Vec<Micros>> {
    let proposals = admissions(fixture, replica, 4).await;
    replica.faults.plan([Fault::BeginPasses, Fault::BeginHeld]);
    let mut answers = submit(replica, proposals);
    let second = answers.split_off(2);
    let mut times = Vec::new();
    for answer in answers {
        times.push(committed(answer.await.unwrap()).events[0].0.recorded_at);
    }
    fixture.pass(1_000);
    between().await;
    replica.faults.release();
    for answer in second {
        times.push(committed(answer.await.unwrap()).events[0].0.recorded_at);
    }
    fixture.assert_replays(replica).await;
    times.try_into()
}

async fn a_waiting_command_is_decided_while_a_batch_is_in_flight(fixture: TestLog) {
    let replica = fixture.limited(PAIRS).await;
    replica.step(&fixture, "s", "known from now on").await;
    let [a, b, c, d] = two_batches(&fixture, &replica, async || {}).await.unwrap();
    assert_eq!([a, b, c], [b, c, d], "decided before the clock moved");
}

async fn a_batch_that_waited_too_long_is_decided_again(fixture: TestLog) {
    let replica = fixture.limited(PAIRS).await;
    replica.step(&fixture, "s", "known from now on").await;
    let [a, b, c, d] =
        two_batches(&fixture, &replica, async || fixture.pass(60_000_000)).await.unwrap();
    assert_eq!((a, b, c), (a, a, d));
    assert_eq!(c, a + 60_001_000, "recorded when the lock was free");
}

/// SQLite has one connection that writes: the next transaction must not take it while the one before
/// still needs it.
async fn the_next_transaction_begins_after_the_insert_before_it(fixture: TestLog) {
    let replica = fixture.limited(PAIRS).await;
    replica.step(&fixture, "s", "known from now on").await;
    let begun = replica.faults.begun();
    // the release fails if the half batch has begun as well
    replica.faults.hold_at_most(1);
    // a batch, and half of another
    let answers = submit(&replica, admissions(&fixture, &replica, 3).await);
    replica.faults.begun_after(begun).await;
    assert_eq!(replica.writer.depth(), 1, "the third command is decided");
    assert_eq!(replica.faults.begun(), begun + 1, "its transaction has not begun");
    replica.faults.release();
    for answer in answers {
        committed(answer.await.unwrap());
    }
    assert_eq!(replica.faults.begun(), begun + 2);
}

#[tokio::test]
async fn a_batch_is_decided_again_if_another_replica_wrote_before_it() {
    let fixture = TestLog::postgres().await;
    let (one, other) = (fixture.limited(PAIRS).await, fixture.replica().await);
    one.step(&fixture, "s", "known from now on").await;
    let between = async || drop(other.step(&fixture, "other", "between").await);
    let [a, b, c, d] = two_batches(&fixture, &one, between).await.unwrap();
    assert_eq!((a, b, c), (a, a, d));
    assert_eq!(c, a + 1_000, "recorded when the lock was free");
}

async fn a_failed_batch_loses_no_command_of_the_next_one(fixture: TestLog) {
    let full = || StoreError::DiskFull("injected".to_owned());
    let faults = [
        Fault::CommitFails(full()),
        Fault::CommitFails(StoreError::Serialization("injected".to_owned())),
        Fault::CommitLost,
        Fault::CommitUnheard,
        Fault::CommitLate,
        Fault::Insert(full()),
    ];
    let replica = fixture.limited(PAIRS).await;
    replica.step(&fixture, "s", "known from now on").await;
    for fault in faults {
        let fails =
            matches!(&fault, Fault::CommitFails(StoreError::DiskFull(_)) | Fault::Insert(_));
        let proposals = admissions(&fixture, &replica, 6).await;
        let ids: Vec<CommandId> = proposals.iter().map(|proposal| proposal.command_id).collect();
        replica.faults.plan([fault]);
        let answers = submit(&replica, proposals);
        let mut answered = Vec::new();
        for (id, answer) in ids.into_iter().zip(answers) {
            answered.push((id, answer.await.unwrap()));
        }
        assert!(replica.faults.all_happened());
        assert_eq!(
            answered.iter().filter(|(_, outcome)| outcome.is_err()).count(),
            usize::from(fails) * 2
        );
        assert_answers_match_the_log(&fixture, &replica, answered).await;
    }
}

/// A command answered as recorded is in the log once, in order; a failed command is not in the log.
async fn assert_answers_match_the_log(
    fixture: &TestLog,
    replica: &TestReplica,
    answered: Vec<(CommandId, Result<Outcome, WriteError>)>,
) {
    let mut positions: HashMap<CommandId, Vec<u64>> = HashMap::new();
    for record in fixture.log(replica).await {
        positions.entry(record.command_id).or_default().push(record.position);
    }
    let mut last = 0;
    for (id, outcome) in answered {
        let Ok(Outcome::Committed(answered)) = outcome else {
            assert!(!positions.contains_key(&id), "{outcome:?}");
            continue;
        };
        let at: Vec<u64> = answered.events.iter().map(|(envelope, _)| envelope.position).collect();
        assert_eq!(positions[&id], at);
        assert!(at[0] > last);
        last = at[0];
    }
    fixture.assert_replays(replica).await;
}

async fn a_key_ended_or_released_ahead_is_seen_by_the_next_command(fixture: TestLog) {
    let replica = fixture.limited(PAIRS).await;
    let keyed = Prompt { by: "s", text: "x", key: Some("key") };
    for (stage, ends) in [(FailStage::Llm, false), (FailStage::EmptyResponse, true)] {
        let admitted = committed(replica.admit(&fixture, keyed.clone()).await);
        let mut proposals = admissions(&fixture, &replica, 2).await;
        // decided behind the two before it, the repetition too, which shows only then that it is one
        proposals.push(replica.failure(&admitted, stage));
        proposals.push(replica.admission(&fixture, keyed.clone()).await);
        let mut answers = submit(&replica, proposals).into_iter().skip(2);
        let ending = committed(answers.next().unwrap().await.unwrap()).events[0].0.position;
        match answers.next().unwrap().await.unwrap() {
            Ok(Outcome::Duplicate(earlier)) => {
                assert!(ends);
                assert_eq!((earlier.step, earlier.ended), (step_of(&admitted), Some(ending)));
            }
            anew => {
                assert!(!ends);
                let anew = committed(anew);
                let freed = replica.failure(&anew, FailStage::Llm);
                committed(replica.writer.propose(freed).await);
            }
        }
    }
    fixture.assert_replays(&replica).await;
}

/// In one batch, a key is claimed again before the step that holds it fails.
async fn a_key_released_after_its_repetition_is_still_held(fixture: TestLog) {
    let replica = fixture.replica().await;
    let keyed = Prompt { by: "s", text: "x", key: Some("key") };
    let admitted = committed(replica.admit(&fixture, keyed.clone()).await);
    let proposals =
        vec![replica.admission(&fixture, keyed).await, replica.failure(&admitted, FailStage::Llm)];
    let mut answers = submit(&replica, proposals).into_iter();
    let repeated = answers.next().unwrap().await.unwrap();
    let Ok(Outcome::Duplicate(earlier)) = repeated else { panic!("{repeated:?}") };
    assert_eq!(earlier.step, step_of(&admitted));
    committed(answers.next().unwrap().await.unwrap());
    fixture.assert_replays(&replica).await;
}

/// Two batches in flight that take the same new name, then two that claim the same key.
async fn names_and_keys_taken_by_the_batch_before_are_found(fixture: TestLog) {
    let replica = fixture.limited(PAIRS).await;
    replica.step(&fixture, "s", "known from now on").await;
    let by = |by, key| Prompt { by, text: "x", key };
    let mut proposals = Vec::new();
    for prompt in [by("s", None), by("new", None), by("new", None), by("s", None)] {
        proposals.push(replica.admission(&fixture, prompt).await);
    }
    let pseudonym = |proposal: &Proposal| proposal.subject.as_ref().unwrap().subject_ref;
    assert_ne!(pseudonym(&proposals[1]), pseudonym(&proposals[2]), "each made its own");
    let mut subjects = Vec::new();
    for answer in submit(&replica, proposals) {
        let subject = committed(answer.await.unwrap()).subject.unwrap();
        assert!(subject.fresh.is_none(), "the log knows it now");
        subjects.push(subject.subject_ref);
    }
    assert_eq!((subjects[0], subjects[1]), (subjects[3], subjects[2]));

    let mut proposals = Vec::new();
    for prompt in [by("s", Some("key")), by("s", None), by("s", Some("key")), by("s", None)] {
        proposals.push(replica.admission(&fixture, prompt).await);
    }
    let mut answered = Vec::new();
    for answer in submit(&replica, proposals) {
        answered.push(answer.await.unwrap().unwrap());
    }
    let [Outcome::Committed(first), _, Outcome::Duplicate(again), _] = &answered[..] else {
        panic!("{answered:?}")
    };
    assert_eq!(again.step, step_of(first));
    fixture.assert_replays(&replica).await;
}

async fn a_clock_that_is_set_back_does_not_make_the_logs_time_fall(fixture: TestLog) {
    let replica = fixture.limited(PAIRS).await;
    replica.step(&fixture, "s", "known from now on").await;
    fixture.tick();
    two_batches(&fixture, &replica, async || fixture.pass(-10_000)).await.unwrap();
    let more = submit(&replica, admissions(&fixture, &replica, 6).await);
    for answer in more {
        committed(answer.await.unwrap());
    }
    let log = fixture.log(&replica).await;
    assert!(log.is_sorted_by_key(|record| record.recorded_at));
}

async fn a_transaction_that_fails_to_begin_is_begun_again(fixture: TestLog) {
    let replica = fixture.limited(PAIRS).await;
    replica.step(&fixture, "s", "known from now on").await;
    let no_connection = StoreError::Unavailable("injected".to_owned());
    replica.faults.plan([Fault::BeginPasses, Fault::Begin(no_connection)]);
    for answer in submit(&replica, admissions(&fixture, &replica, 4).await) {
        committed(answer.await.unwrap());
    }
    assert!(replica.faults.all_happened());
    fixture.assert_replays(&replica).await;
}

/// The events of another replica may be later than this replica's clock.
#[tokio::test]
async fn events_are_not_recorded_before_those_of_another_replica() {
    let fixture = TestLog::postgres().await;
    let (one, other) = (fixture.replica().await, fixture.replica().await);
    one.step(&fixture, "s", "known from now on").await;
    fixture.pass(2_000_000);
    let answered = other.step(&fixture, "s", "by a clock that is ahead").await;
    let end = answered.events.last().unwrap().0.position;
    fixture.pass(-2_000_000);
    let mut views = one.writer.watch();
    one.writer.catch_up();
    views.wait_for(|view| view.state.position >= end).await.unwrap();
    one.step(&fixture, "s", "after it").await;
    let log = fixture.log(&one).await;
    assert!(log.is_sorted_by_key(|record| record.recorded_at));
    fixture.assert_replays(&one).await;
}

/// A request to fold the tail is not a command: it must not leave a transaction open.
#[tokio::test]
async fn an_idle_writer_does_not_hold_the_row() {
    let fixture = TestLog::postgres().await;
    let (one, other) = (fixture.replica().await, fixture.replica().await);
    one.step(&fixture, "s", "known from now on").await;
    one.faults.hold();
    let begun = one.faults.begun();
    let answers = submit(&one, admissions(&fixture, &one, 1).await);
    one.faults.begun_after(begun).await;
    one.writer.catch_up();
    one.faults.release();
    for answer in answers {
        committed(answer.await.unwrap());
    }
    other.step(&fixture, "other", "is not kept waiting").await;
    assert_eq!(one.writer.depth(), 0);
}
