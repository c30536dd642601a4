//! What is decided and sent while the batch before is on its way: it counts only on the state it was
//! decided on.

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
    what_waits_is_decided_while_another_is_under_way,
    it_is_decided_again_if_it_waited_too_long,
    what_waits_begins_behind_the_one_under_way,
    a_batch_that_fails_takes_nothing_along,
    a_key_that_is_ended_or_freed_ahead_is_seen_so,
    a_key_that_is_freed_too_late_is_still_held,
    a_name_and_a_key_that_the_batch_before_takes_are_found,
    a_clock_that_is_set_back_meanwhile_sets_no_time_back,
    a_beginning_that_fails_too_early_is_made_again,
);

const PAIRS: Limits = Limits { batch_events: 2, queue: 1_024, batch_bytes: 1 << 20 };

/// Admissions of a person that the log knows: nothing of them is looked for under the lock.
async fn admissions(rig: &TestLog, replica: &TestReplica, count: usize) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    for i in 0..count {
        let text = format!("prompt {i}");
        proposals.push(replica.admission(rig, Prompt { by: "s", text: &text, key: None }).await);
    }
    proposals
}

/// Hands all over before the writer gets to run.
fn submit(replica: &TestReplica, proposals: Vec<Proposal>) -> Vec<Answer> {
    proposals.into_iter().map(|proposal| replica.writer.submit(proposal).unwrap()).collect()
}

/// Two batches of two with the clock moved on between them, while the second waits for its turn;
/// when the log says each of the four was recorded.
async fn two_batches(
    rig: &TestLog,
    replica: &TestReplica,
    between: impl AsyncFnOnce(),
) -> Result<[Micros; 4], Vec<Micros>> {
    let proposals = admissions(rig, replica, 4).await;
    replica.faults.plan([Fault::BeginPasses, Fault::BeginHeld]);
    let mut answers = submit(replica, proposals);
    let second = answers.split_off(2);
    let mut times = Vec::new();
    for answer in answers {
        times.push(committed(answer.await.unwrap()).events[0].0.recorded_at);
    }
    rig.pass(1_000);
    between().await;
    replica.faults.release();
    for answer in second {
        times.push(committed(answer.await.unwrap()).events[0].0.recorded_at);
    }
    rig.assert_replays(replica).await;
    times.try_into()
}

async fn what_waits_is_decided_while_another_is_under_way(rig: TestLog) {
    let replica = rig.limited(PAIRS).await;
    replica.step(&rig, "s", "known from now on").await;
    let [a, b, c, d] = two_batches(&rig, &replica, async || {}).await.unwrap();
    assert_eq!([a, b, c], [b, c, d], "before the clock moved on");
}

async fn it_is_decided_again_if_it_waited_too_long(rig: TestLog) {
    let replica = rig.limited(PAIRS).await;
    replica.step(&rig, "s", "known from now on").await;
    let [a, b, c, d] = two_batches(&rig, &replica, async || rig.pass(60_000_000)).await.unwrap();
    assert_eq!((a, b, c), (a, a, d));
    assert_eq!(c, a + 60_001_000, "as of when it was its turn");
}

/// With one connection to share, the second must not have it while the first still needs it.
async fn what_waits_begins_behind_the_one_under_way(rig: TestLog) {
    let replica = rig.limited(PAIRS).await;
    replica.step(&rig, "s", "known from now on").await;
    let begun = replica.faults.begun();
    // the release fails if the half batch has begun as well
    replica.faults.hold_at_most(1);
    // a batch, and half of another
    let answers = submit(&replica, admissions(&rig, &replica, 3).await);
    replica.faults.begun_after(begun).await;
    assert_eq!(replica.writer.depth(), 1, "it is decided");
    assert_eq!(replica.faults.begun(), begun + 1, "but not begun");
    replica.faults.release();
    for answer in answers {
        committed(answer.await.unwrap());
    }
    assert_eq!(replica.faults.begun(), begun + 2);
}

#[tokio::test]
async fn it_is_decided_again_if_another_replica_came_between() {
    let rig = TestLog::postgres().await;
    let (one, other) = (rig.limited(PAIRS).await, rig.replica().await);
    one.step(&rig, "s", "known from now on").await;
    let between = async || drop(other.step(&rig, "other", "between").await);
    let [a, b, c, d] = two_batches(&rig, &one, between).await.unwrap();
    assert_eq!((a, b, c), (a, a, d));
    assert_eq!(c, a + 1_000, "as of when it was its turn");
}

async fn a_batch_that_fails_takes_nothing_along(rig: TestLog) {
    let full = || StoreError::DiskFull("injected".to_owned());
    let faults = [
        Fault::CommitFails(full()),
        Fault::CommitFails(StoreError::Serialization("injected".to_owned())),
        Fault::CommitLost,
        Fault::CommitUnheard,
        Fault::CommitLate,
        Fault::Insert(full()),
    ];
    let replica = rig.limited(PAIRS).await;
    replica.step(&rig, "s", "known from now on").await;
    for fault in faults {
        let fails =
            matches!(&fault, Fault::CommitFails(StoreError::DiskFull(_)) | Fault::Insert(_));
        let proposals = admissions(&rig, &replica, 6).await;
        let ids: Vec<CommandId> = proposals.iter().map(|proposal| proposal.command_id).collect();
        replica.faults.plan([fault]);
        let answers = submit(&replica, proposals);
        let mut told = Vec::new();
        for (id, answer) in ids.into_iter().zip(answers) {
            told.push((id, answer.await.unwrap()));
        }
        assert!(replica.faults.all_happened());
        assert_eq!(
            told.iter().filter(|(_, outcome)| outcome.is_err()).count(),
            usize::from(fails) * 2
        );
        assert_told_right(&rig, &replica, told).await;
    }
}

/// Who was told that it is recorded finds it in the log once, in order; who was not finds nothing.
async fn assert_told_right(
    rig: &TestLog,
    replica: &TestReplica,
    told: Vec<(CommandId, Result<Outcome, WriteError>)>,
) {
    let mut positions: HashMap<CommandId, Vec<u64>> = HashMap::new();
    for record in rig.log(replica).await {
        positions.entry(record.command_id).or_default().push(record.position);
    }
    let mut last = 0;
    for (id, outcome) in told {
        let Ok(Outcome::Committed(told)) = outcome else {
            assert!(!positions.contains_key(&id), "{outcome:?}");
            continue;
        };
        let at: Vec<u64> = told.events.iter().map(|(envelope, _)| envelope.position).collect();
        assert_eq!(positions[&id], at);
        assert!(at[0] > last);
        last = at[0];
    }
    rig.assert_replays(replica).await;
}

async fn a_key_that_is_ended_or_freed_ahead_is_seen_so(rig: TestLog) {
    let replica = rig.limited(PAIRS).await;
    let keyed = Prompt { by: "s", text: "x", key: Some("key") };
    for (stage, ends) in [(FailStage::Llm, false), (FailStage::EmptyResponse, true)] {
        let admitted = committed(replica.admit(&rig, keyed.clone()).await);
        let mut proposals = admissions(&rig, &replica, 2).await;
        // decided behind the two before it, the repetition too, which shows only then that it is one
        proposals.push(replica.failure(&admitted, stage));
        proposals.push(replica.admission(&rig, keyed.clone()).await);
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
    rig.assert_replays(&replica).await;
}

/// The step that holds a key fails after the key's repetition came, in one batch.
async fn a_key_that_is_freed_too_late_is_still_held(rig: TestLog) {
    let replica = rig.replica().await;
    let keyed = Prompt { by: "s", text: "x", key: Some("key") };
    let admitted = committed(replica.admit(&rig, keyed.clone()).await);
    let proposals =
        vec![replica.admission(&rig, keyed).await, replica.failure(&admitted, FailStage::Llm)];
    let mut answers = submit(&replica, proposals).into_iter();
    let repeated = answers.next().unwrap().await.unwrap();
    let Ok(Outcome::Duplicate(earlier)) = repeated else { panic!("{repeated:?}") };
    assert_eq!(earlier.step, step_of(&admitted));
    committed(answers.next().unwrap().await.unwrap());
    rig.assert_replays(&replica).await;
}

/// Two batches under way that take the same new name, then two that claim the same key.
async fn a_name_and_a_key_that_the_batch_before_takes_are_found(rig: TestLog) {
    let replica = rig.limited(PAIRS).await;
    replica.step(&rig, "s", "known from now on").await;
    let by = |by, key| Prompt { by, text: "x", key };
    let mut proposals = Vec::new();
    for prompt in [by("s", None), by("new", None), by("new", None), by("s", None)] {
        proposals.push(replica.admission(&rig, prompt).await);
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
        proposals.push(replica.admission(&rig, prompt).await);
    }
    let mut told = Vec::new();
    for answer in submit(&replica, proposals) {
        told.push(answer.await.unwrap().unwrap());
    }
    let [Outcome::Committed(first), _, Outcome::Duplicate(again), _] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(again.step, step_of(first));
    rig.assert_replays(&replica).await;
}

async fn a_clock_that_is_set_back_meanwhile_sets_no_time_back(rig: TestLog) {
    let replica = rig.limited(PAIRS).await;
    replica.step(&rig, "s", "known from now on").await;
    rig.tick();
    two_batches(&rig, &replica, async || rig.pass(-10_000)).await.unwrap();
    let more = submit(&replica, admissions(&rig, &replica, 6).await);
    for answer in more {
        committed(answer.await.unwrap());
    }
    let log = rig.log(&replica).await;
    assert!(log.is_sorted_by_key(|record| record.recorded_at));
}

async fn a_beginning_that_fails_too_early_is_made_again(rig: TestLog) {
    let replica = rig.limited(PAIRS).await;
    replica.step(&rig, "s", "known from now on").await;
    let no_connection = StoreError::Unavailable("injected".to_owned());
    replica.faults.plan([Fault::BeginPasses, Fault::Begin(no_connection)]);
    for answer in submit(&replica, admissions(&rig, &replica, 4).await) {
        committed(answer.await.unwrap());
    }
    assert!(replica.faults.all_happened());
    rig.assert_replays(&replica).await;
}

/// What was folded of another replica may be later than this one's clock.
#[tokio::test]
async fn time_does_not_fall_behind_another_replicas() {
    let rig = TestLog::postgres().await;
    let (one, other) = (rig.replica().await, rig.replica().await);
    one.step(&rig, "s", "known from now on").await;
    rig.pass(2_000_000);
    let told = other.step(&rig, "s", "by a clock that is ahead").await;
    let end = told.events.last().unwrap().0.position;
    rig.pass(-2_000_000);
    let mut views = one.writer.watch();
    one.writer.catch_up();
    views.wait_for(|view| view.state.position >= end).await.unwrap();
    one.step(&rig, "s", "after it").await;
    let log = rig.log(&one).await;
    assert!(log.is_sorted_by_key(|record| record.recorded_at));
    rig.assert_replays(&one).await;
}

/// A reminder to fold the tail is no command: nothing may be begun for it that stays open.
#[tokio::test]
async fn an_idle_writer_does_not_hold_the_row() {
    let rig = TestLog::postgres().await;
    let (one, other) = (rig.replica().await, rig.replica().await);
    one.step(&rig, "s", "known from now on").await;
    one.faults.hold();
    let begun = one.faults.begun();
    let answers = submit(&one, admissions(&rig, &one, 1).await);
    one.faults.begun_after(begun).await;
    one.writer.catch_up();
    one.faults.release();
    for answer in answers {
        committed(answer.await.unwrap());
    }
    other.step(&rig, "other", "is not kept waiting").await;
    assert_eq!(one.writer.depth(), 0);
}
