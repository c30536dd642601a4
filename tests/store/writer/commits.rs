//! Commits that fail: nothing happened, everybody is answered, and the next command goes on.

use mlsdm::{
    domain::{digest, event::Event},
    store::{
        StoreError,
        faults::Fault,
        writer::{Outcome, WriteError},
    },
    testkit::on_every_database,
};

use super::fixture::{Prompt, TestLog, committed, nothing_to_do, started, step_of};

on_every_database!(
    TestLog:
    a_failed_commit_of_any_size_changes_nothing,
    a_failed_insert_or_begin_changes_nothing,
    a_serialization_failure_is_tried_again,
    one_bad_command_does_not_fail_its_neighbours,
    a_command_that_the_database_refuses_fails_alone,
    a_dropped_caller_cancels_nothing,
);

fn disk_full() -> StoreError {
    StoreError::DiskFull("injected".to_owned())
}

async fn a_failed_commit_of_any_size_changes_nothing(fixture: TestLog) {
    let replica = fixture.replica().await;
    let mut expected = 1;
    for size in 1..=64 {
        let before = digest::state(&replica.writer.view().state);
        let mut batch = Vec::new();
        for i in 0..size {
            let (by, text) = (format!("s{}", i % 5), format!("prompt {size} {i}"));
            batch.push(
                replica.admission(&fixture, Prompt { by: &by, text: &text, key: None }).await,
            );
        }
        replica.faults.plan([Fault::CommitFails(disk_full())]);
        let outcomes = replica.together(batch).await;
        assert!(replica.faults.all_happened());
        for outcome in outcomes {
            assert!(matches!(outcome, Err(WriteError::Store(StoreError::DiskFull(_)))));
        }
        assert_eq!(digest::state(&replica.writer.view().state), before, "size {size}");
        // and it goes on: one step more, consolidations now and then
        let step = replica.step(&fixture, "s1", "later").await;
        assert!(step.events[0].0.position > expected);
        expected = step.events[0].0.position;
    }
    fixture.assert_replays(&replica).await;
    assert_eq!(replica.writer.view().state.counts.completed, 64);
    assert_eq!(fixture.log(&replica).await.len() as u64, expected);
}

async fn a_failed_insert_or_begin_changes_nothing(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "first").await;
    for fault in [Fault::Insert(disk_full()), Fault::Begin(disk_full())] {
        let before = digest::state(&replica.writer.view().state);
        replica.faults.plan([fault]);
        let refused = replica.admit(&fixture, Prompt { by: "s", text: "x", key: None }).await;
        assert!(matches!(refused, Err(WriteError::Store(StoreError::DiskFull(_)))));
        assert_eq!(digest::state(&replica.writer.view().state), before);
    }
    replica.step(&fixture, "s", "second").await;
    fixture.assert_replays(&replica).await;
}

async fn a_serialization_failure_is_tried_again(fixture: TestLog) {
    let replica = fixture.replica().await;
    let again = || StoreError::Serialization("injected".to_owned());
    replica.faults.plan([
        Fault::CommitFails(again()),
        Fault::Insert(again()),
        Fault::Begin(again()),
    ]);
    let first = replica.step(&fixture, "s", "first").await;
    assert!(replica.faults.all_happened());
    assert_eq!(first.events[0].0.position, 3, "nothing of the attempts is left");
    assert_eq!(replica.store.metrics().conflicts.get(), 3);
    // four in a row are enough
    replica.faults.plan((0..4).map(|_| Fault::CommitFails(again())));
    let refused = replica.admit(&fixture, Prompt { by: "s", text: "x", key: None }).await;
    assert!(matches!(refused, Err(WriteError::Store(StoreError::Serialization(_)))));
    replica.step(&fixture, "s", "second").await;
    fixture.assert_replays(&replica).await;
}

async fn one_bad_command_does_not_fail_its_neighbours(fixture: TestLog) {
    let replica = fixture.replica().await;
    let admitted = replica.admit(&fixture, Prompt { by: "s", text: "open", key: None }).await;
    let admitted = committed(admitted);
    let late = replica.failure(&admitted, mlsdm::domain::event::FailStage::Llm);
    let good = |text| Prompt { by: "s", text, key: None };
    let batch = vec![
        replica.admission(&fixture, good("a")).await,
        replica.completion(&admitted, "the answer"),
        late,
        replica.admission(&fixture, good("b")).await,
    ];
    let [a, ending, late, b] = <[_; 4]>::try_from(replica.together(batch).await).unwrap();
    assert_eq!((step_of(&committed(a)), step_of(&committed(b))), (2, 3));
    assert!(matches!(committed(ending).events[0].1, Event::StepCompleted(_)));
    assert!(matches!(late, Err(WriteError::Refused(_))));
    fixture.assert_replays(&replica).await;
}

/// PostgreSQL accepts no NUL in a text, SQLite does.
async fn a_command_that_the_database_refuses_fails_alone(fixture: TestLog) {
    let replica = fixture.replica().await;
    let good = |text| Prompt { by: "s", text, key: None };
    let mut bad = replica.admission(&fixture, good("bad")).await;
    bad.request_id = Some("re\0quest".to_owned());
    let batch = vec![
        replica.admission(&fixture, good("a")).await,
        bad,
        replica.admission(&fixture, good("b")).await,
    ];
    let [a, bad, b] = <[_; 3]>::try_from(replica.together(batch).await).unwrap();
    let (a, b) = (committed(a), committed(b));
    if replica.store.has_one_owner() {
        assert_eq!((step_of(&a), step_of(&committed(bad)), step_of(&b)), (1, 2, 3));
    } else {
        assert!(matches!(bad, Err(WriteError::Store(StoreError::Other(_)))));
        assert_eq!((step_of(&a), step_of(&b)), (1, 2));
    }
    fixture.assert_replays(&replica).await;
}

async fn a_dropped_caller_cancels_nothing(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.faults.hold();
    let begun = replica.faults.begun();
    let plug = started(replica.writer.propose(nothing_to_do())).await;
    replica.faults.begun_after(begun).await;
    let proposal = replica.admission(&fixture, Prompt { by: "s", text: "gone", key: None }).await;
    let id = proposal.command_id;
    drop(started(replica.writer.propose(proposal)).await);
    replica.faults.release();
    assert!(matches!(plug.await.unwrap(), Outcome::Committed(_)));
    // the next command comes after it
    let next =
        committed(replica.admit(&fixture, Prompt { by: "s", text: "next", key: None }).await);
    assert_eq!(step_of(&next), 2);
    let log = fixture.log(&replica).await;
    assert_eq!(log.iter().filter(|record| record.command_id == id).count(), 1);
    fixture.assert_replays(&replica).await;
}
