//! `kill -9` under load, at random moments: nothing answered is lost, nothing is doubled.

use std::time::Duration;

use mlsdm::testkit::{DEADLINE, TestDatabase, TestEnv, on_every_database};

use crate::{
    extended,
    history::{History, equals_replay, verifies},
    load::{Load, Random, seed},
};

const CLIENTS: u64 = 16;

/// A kill comes after so many answers at most.
const ANSWERS_MAX: u64 = 120;

/// And so much later, at most.
const DELAY_US_MAX: u64 = 20_000;

on_every_database!(TestDatabase: a_kill_loses_nothing_that_was_answered);

async fn a_kill_loses_nothing_that_was_answered(database: TestDatabase) {
    let kills = if extended() { 50 } else { 5 };
    let seed = seed();
    let mut random = Random::new(seed, u64::MAX);
    // steps that a kill left open are closed within two seconds
    let env = TestEnv::new(database.url())
        .with("API_TIMEOUT", 1)
        .with("MLSDM__ENGINE__ABANDON_GRACE_SECONDS", 1)
        .latency_ms(15);
    let mut told = Vec::new();
    for round in 0..kills {
        let server = env.serve().await;
        let load = Load::start(&[&server], CLIENTS, u64::MAX, seed ^ (round << 40));
        let answers = 1 + random.below(ANSWERS_MAX);
        load.until(|counts| counts.answered >= answers).await;
        tokio::time::sleep(Duration::from_micros(random.below(DELAY_US_MAX))).await;
        server.kill().await;
        told.extend(tokio::time::timeout(DEADLINE, load.finish()).await.unwrap());
        let server = env.serve().await;
        equals_replay(&server, &env, "default").await;
        server.kill().await;
    }
    let server = env.serve().await;
    server.until_closed("default").await;
    let history = History::read(&server, "default").await;
    history.is_whole();
    history.holds(&told);
    let failed = history.of("step.failed");
    let abandoned = failed.iter().any(|event| event["clear"]["stage"] == "abandoned");
    assert!(abandoned, "no kill met an open step");
    verifies(&env, "default").await;
    server.stop().await;
}
