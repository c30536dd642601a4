//! `kill -9` under load, at random moments: nothing answered is lost, nothing is doubled.

use std::time::Duration;

use crate::{
    Kind, extended,
    history::{History, equals_replay, verifies},
    load::{Load, Random, seed},
    on_both,
    server::{SOON, Setup},
};

const CLIENTS: u64 = 16;

/// A kill comes after so many answers at most.
const ANSWERS_MAX: u64 = 120;

/// And so much later, at most.
const DELAY_US_MAX: u64 = 20_000;

on_both!(nothing_answered_is_lost_by_a_kill, super::nothing_is_lost);

async fn nothing_is_lost(kind: Kind) {
    let kills = if extended() { 50 } else { 5 };
    let seed = seed();
    let mut random = Random::new(seed, u64::MAX);
    let database = kind.database().await;
    // steps that a kill left open are closed within two seconds
    let setup = Setup::new(database.url())
        .with("API_TIMEOUT", 1)
        .with("MLSDM__ENGINE__ABANDON_GRACE_SECONDS", 1)
        .latency_ms(15);
    let mut told = Vec::new();
    for round in 0..kills {
        let server = setup.serve().await;
        let load = Load::start(&[&server], CLIENTS, u64::MAX, seed ^ (round << 40));
        let answers = 1 + random.below(ANSWERS_MAX);
        load.until(|counts| counts.answered >= answers).await;
        tokio::time::sleep(Duration::from_micros(random.below(DELAY_US_MAX))).await;
        server.kill().await;
        told.extend(tokio::time::timeout(SOON, load.finish()).await.unwrap());
        let server = setup.serve().await;
        equals_replay(&server, &setup, "default").await;
        server.kill().await;
    }
    let server = setup.serve().await;
    server.until_closed("default").await;
    let history = History::read(&server, "default").await;
    history.is_whole();
    history.holds(&told);
    let failed = history.of("step.failed");
    let abandoned = failed.iter().any(|event| event["clear"]["stage"] == "abandoned");
    assert!(abandoned, "no kill met an open step");
    verifies(&setup, "default").await;
    server.stop().await;
}
