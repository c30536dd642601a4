//! The limits of queues and batches.

use std::collections::BTreeMap;

use mlsdm::{
    domain::event::Event,
    store::writer::{Limits, WriteError},
    testkit::on_every_database,
};

use super::fixture::{Prompt, TestLog, TestReplica, committed, nothing_to_do, started, step_of};

on_every_database!(
    TestLog:
    a_batch_holds_at_most_the_configured_events,
    a_batch_holds_at_most_the_configured_bytes,
    a_huge_command_is_a_batch_alone,
    a_full_queue_refuses_a_command,
    overflowing_commands_keep_their_place,
    a_writer_ends_with_its_last_handle,
);

/// Submits prompts of these lengths together; returns the number of commands in each batch. All events
/// of a batch have one time, and the test's clock moves with each transaction.
async fn batches(fixture: &TestLog, replica: &TestReplica, lengths: &[usize]) -> Vec<usize> {
    let mut proposals = Vec::new();
    for length in lengths {
        let text = "x".repeat(*length);
        proposals
            .push(replica.admission(fixture, Prompt { by: "s", text: &text, key: None }).await);
    }
    let before = replica.faults.begun();
    let outcomes = replica.together(proposals).await;
    // one more for the command that keeps the writer busy until all wait
    let transactions = replica.faults.begun() - before - 1;
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    let log = fixture.log(replica).await;
    for outcome in outcomes {
        let position = committed(outcome).events[0].0.position;
        let at = log[position as usize - 1].recorded_at as u64;
        *sizes.entry(at).or_default() += 1;
    }
    assert_eq!(sizes.len() as u64, transactions);
    sizes.into_values().collect()
}

/// A replica whose clock moves whenever it is read.
async fn ticking(fixture: &TestLog, limits: Limits) -> TestReplica {
    let replica = fixture.limited(limits).await;
    replica.step(fixture, "s", "known from now on").await;
    fixture.tick();
    replica
}

async fn a_batch_holds_at_most_the_configured_events(fixture: TestLog) {
    let replica = ticking(&fixture, Limits { batch_events: 3, ..Limits::default() }).await;
    assert_eq!(batches(&fixture, &replica, &[1; 7]).await, [3, 3, 1]);
    fixture.assert_replays(&replica).await;
}

async fn a_batch_holds_at_most_the_configured_bytes(fixture: TestLog) {
    // a sealed prompt is 28 bytes longer
    let replica = ticking(&fixture, Limits { batch_bytes: 3 * 128, ..Limits::default() }).await;
    assert_eq!(batches(&fixture, &replica, &[100; 8]).await, [3, 3, 2]);
}

async fn a_huge_command_is_a_batch_alone(fixture: TestLog) {
    let replica = ticking(&fixture, Limits { batch_bytes: 1_000, ..Limits::default() }).await;
    let lengths = [10, 10, 50_000, 10, 10];
    assert_eq!(batches(&fixture, &replica, &lengths).await, [2, 1, 2]);
    assert_eq!(batches(&fixture, &replica, &[50_000]).await, [1]);
}

async fn a_full_queue_refuses_a_command(fixture: TestLog) {
    let replica = fixture.limited(Limits { queue: 3, ..Limits::default() }).await;
    replica.faults.hold();
    let begun = replica.faults.begun();
    let busy = started(replica.writer.propose(nothing_to_do())).await;
    replica.faults.begun_after(begun).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(started(replica.writer.propose(nothing_to_do())).await);
    }
    assert_eq!(replica.writer.depth(), 3);
    let refused = replica.writer.propose(nothing_to_do()).await;
    assert!(matches!(refused, Err(WriteError::QueueFull)));
    // no place for a reminder either, and none needed
    replica.writer.catch_up();
    replica.faults.release();
    busy.await.unwrap();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    replica.writer.propose(nothing_to_do()).await.unwrap();
}

/// A command with two events leaves no room for the next one, which stays before the others.
async fn overflowing_commands_keep_their_place(fixture: TestLog) {
    let replica = fixture.limited(Limits { batch_events: 4, ..Limits::default() }).await;
    for i in 0..5 {
        replica.step(&fixture, "s", &format!("step {i}")).await;
    }
    let mut proposals = Vec::new();
    for i in 0..12 {
        let text = format!("prompt {i}");
        proposals
            .push(replica.admission(&fixture, Prompt { by: "s", text: &text, key: None }).await);
    }
    let mut steps = Vec::new();
    let mut consolidations = 0;
    for outcome in replica.together(proposals).await {
        let answered = committed(outcome);
        steps.push(step_of(&answered));
        consolidations += answered
            .events
            .iter()
            .filter(|(_, e)| matches!(e, Event::MemoryConsolidated(_)))
            .count();
    }
    assert_eq!(consolidations, 1);
    assert_eq!(steps, (6..18).collect::<Vec<u64>>());
    assert_eq!(replica.writer.depth(), 0);
    fixture.assert_replays(&replica).await;
}

async fn a_writer_ends_with_its_last_handle(fixture: TestLog) {
    let replica = fixture.replica().await;
    let (writer, mut task) = replica.into_parts();
    let other = writer.clone();
    drop(writer);
    other.propose(nothing_to_do()).await.unwrap();
    drop(other);
    task.join_next().await.unwrap().unwrap();
}
