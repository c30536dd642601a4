//! `kill -9` under load, at random moments: no answered step is lost, no step is recorded twice.

use std::time::Duration;

use mlsdm::testkit::{DEADLINE, TestDatabase, TestEnv, on_every_database, send};
use tokio::task::JoinSet;

use crate::{
    extended,
    history::{History, equals_replay, verifies},
    load::{Load, Random, seed},
};

const CLIENTS: u64 = 16;

/// Upper bound of the number of answers before a kill.
const ANSWERS_MAX: u64 = 120;

/// Upper bound of the delay between the last of these answers and the kill.
const DELAY_US_MAX: u64 = 20_000;

on_every_database!(TestDatabase: a_kill_loses_nothing_that_was_answered);

async fn a_kill_loses_nothing_that_was_answered(database: TestDatabase) {
    let kills = if extended() { 50 } else { 5 };
    let seed = seed();
    let mut random = Random::new(seed, u64::MAX);
    // a step that a kill left open is closed two seconds after its admission
    let env = TestEnv::new(database.url())
        .with("API_TIMEOUT", 1)
        .with("MLSDM__LLM__TOTAL_TIMEOUT", 1)
        .with("MLSDM__ENGINE__ABANDON_GRACE_SECONDS", 1)
        .latency_ms(15);
    let mut sent = Vec::new();
    for round in 0..kills {
        let server = env.serve().await;
        let load = Load::start(&[&server], CLIENTS, u64::MAX, seed ^ (round << 40));
        let answers = 1 + random.below(ANSWERS_MAX);
        load.until(|counts| counts.answered >= answers).await;
        tokio::time::sleep(Duration::from_micros(random.below(DELAY_US_MAX))).await;
        server.kill().await;
        sent.extend(tokio::time::timeout(DEADLINE, load.finish()).await.unwrap());
        let server = env.serve().await;
        equals_replay(&server, &env, "default").await;
        server.kill().await;
    }
    kill_during_a_step(&env).await;
    let server = env.serve().await;
    server.until_closed("default").await;
    let history = History::read(&server, "default").await;
    history.is_whole();
    history.holds(&sent);
    let failed = history.of("step.failed");
    let abandoned = failed.iter().any(|event| event["clear"]["stage"] == "abandoned");
    assert!(abandoned, "the last kill left a step open");
    verifies(&env, "default").await;
    server.stop().await;
}

/// Kills a server while its model is known to be answering: the deadline is far away, and the
/// stub model takes even longer.
async fn kill_during_a_step(env: &TestEnv) {
    let patient = env.clone().with("API_TIMEOUT", 10).with("MLSDM__LLM__TOTAL_TIMEOUT", 10);
    let server = patient.latency_ms(30_000).serve().await;
    server.until_closed("default").await;
    let mut request = JoinSet::new();
    request.spawn(send(server.ask("default", "ann", "Take your time")));
    server.until("/v1/state", |state| state["open_count"] == 1).await;
    server.kill().await;
    assert!(request.join_next().await.unwrap().unwrap().is_err(), "the step was answered");
}
