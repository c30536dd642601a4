//! Bounds of queues and batches.

use std::collections::BTreeMap;

use mlsdm::{
    domain::event::Event,
    store::writer::{Limits, WriteError},
    testkit::on_every_database,
};

use super::fixture::{Prompt, TestLog, TestReplica, committed, nothing_to_do, started, step_of};

on_every_database!(
    TestLog:
    a_batch_has_so_many_events,
    a_batch_has_so_many_bytes,
    a_huge_command_is_a_batch_alone,
    a_full_queue_refuses,
    what_is_left_over_keeps_its_place,
    a_writer_ends_with_its_last_handle,
);

/// Runs prompts of these lengths as one crowd: the batches by the commands in each. A batch has one
/// time, and the clock of the test moves with each transaction.
async fn batches(rig: &TestLog, replica: &TestReplica, lengths: &[usize]) -> Vec<usize> {
    let mut proposals = Vec::new();
    for length in lengths {
        let text = "x".repeat(*length);
        proposals.push(replica.admission(rig, Prompt { by: "s", text: &text, key: None }).await);
    }
    let before = replica.faults.begun();
    let outcomes = replica.together(proposals).await;
    // one more for what keeps the writer busy until all wait
    let transactions = replica.faults.begun() - before - 1;
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    let log = rig.log(replica).await;
    for outcome in outcomes {
        let position = committed(outcome).events[0].0.position;
        let at = log[position as usize - 1].recorded_at as u64;
        *sizes.entry(at).or_default() += 1;
    }
    assert_eq!(sizes.len() as u64, transactions);
    sizes.into_values().collect()
}

/// A replica whose clock moves at every look.
async fn ticking(rig: &TestLog, limits: Limits) -> TestReplica {
    let replica = rig.limited(limits).await;
    replica.step(rig, "s", "known from now on").await;
    rig.tick();
    replica
}

async fn a_batch_has_so_many_events(rig: TestLog) {
    let replica = ticking(&rig, Limits { batch_events: 3, ..Limits::default() }).await;
    assert_eq!(batches(&rig, &replica, &[1; 7]).await, [3, 3, 1]);
    rig.assert_replays(&replica).await;
}

async fn a_batch_has_so_many_bytes(rig: TestLog) {
    // a sealed prompt is 28 bytes longer
    let replica = ticking(&rig, Limits { batch_bytes: 3 * 128, ..Limits::default() }).await;
    assert_eq!(batches(&rig, &replica, &[100; 8]).await, [3, 3, 2]);
}

async fn a_huge_command_is_a_batch_alone(rig: TestLog) {
    let replica = ticking(&rig, Limits { batch_bytes: 1_000, ..Limits::default() }).await;
    let lengths = [10, 10, 50_000, 10, 10];
    assert_eq!(batches(&rig, &replica, &lengths).await, [2, 1, 2]);
    assert_eq!(batches(&rig, &replica, &[50_000]).await, [1]);
}

async fn a_full_queue_refuses(rig: TestLog) {
    let replica = rig.limited(Limits { queue: 3, ..Limits::default() }).await;
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

/// A command that makes two events leaves the next one over; it is still before the others.
async fn what_is_left_over_keeps_its_place(rig: TestLog) {
    let replica = rig.limited(Limits { batch_events: 4, ..Limits::default() }).await;
    for i in 0..5 {
        replica.step(&rig, "s", &format!("step {i}")).await;
    }
    let mut proposals = Vec::new();
    for i in 0..12 {
        let text = format!("prompt {i}");
        proposals.push(replica.admission(&rig, Prompt { by: "s", text: &text, key: None }).await);
    }
    let mut steps = Vec::new();
    let mut consolidations = 0;
    for outcome in replica.together(proposals).await {
        let told = committed(outcome);
        steps.push(step_of(&told));
        consolidations +=
            told.events.iter().filter(|(_, e)| matches!(e, Event::MemoryConsolidated(_))).count();
    }
    assert_eq!(consolidations, 1);
    assert_eq!(steps, (6..18).collect::<Vec<u64>>());
    assert_eq!(replica.writer.depth(), 0);
    rig.assert_replays(&replica).await;
}

async fn a_writer_ends_with_its_last_handle(rig: TestLog) {
    let replica = rig.replica().await;
    let (writer, mut task) = replica.into_parts();
    let other = writer.clone();
    drop(writer);
    other.propose(nothing_to_do()).await.unwrap();
    drop(other);
    task.join_next().await.unwrap().unwrap();
}
