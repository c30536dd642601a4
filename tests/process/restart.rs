//! A restart does not change the state.

use mlsdm::{
    domain::policy::Policy,
    testkit::{TestDatabase, TestEnv, TestServer, on_every_database, send},
};
use serde_json::Value;

use crate::{
    history::{History, equals_replay, verifies},
    load::{Load, seed},
};

on_every_database!(TestDatabase: a_restart_changes_nothing);

/// The state without the fields that describe the process.
async fn state(server: &TestServer) -> Value {
    let mut state = server.state("default").await;
    for figure in ["memory", "pelm_stats", "qilm_stats"] {
        state.as_object_mut().unwrap().remove(figure);
    }
    state
}

async fn a_restart_changes_nothing(database: TestDatabase) {
    // so small that items are evicted and consolidated continuously
    let env = TestEnv::new(database.url()).with("MLSDM_CAPACITY", 50);
    let server = env.serve().await;
    Load::start(&[&server], 8, 300, seed()).finish().await;
    server.until_closed("default").await;
    let before = state(&server).await;
    server.stop().await;

    let server = env.serve().await;
    assert_eq!(state(&server).await, before, "after a stop");
    equals_replay(&server, &env, "default").await;
    assert_remembers(&server).await;
    let before = state(&server).await;
    server.kill().await;

    let server = env.serve().await;
    assert_eq!(state(&server).await, before, "after a kill");
    assert_past_states_can_be_read(&server).await;
    verifies(&env, "default").await;
    server.stop().await;
}

/// Asserts that a prompt after the restart is remembered. The question comes a whole cycle later,
/// so that it is in the same phase.
async fn assert_remembers(server: &TestServer) {
    let rhythm = Policy::default().rhythm;
    for year in 0..rhythm.wake_duration + rhythm.sleep_duration {
        server.say("gardener", &format!("The garden was planted with roses in year {year}")).await;
    }
    let answer = server.say("gardener", "What was the garden planted with?").await;
    assert!(answer["context_items"].as_u64() > Some(0), "{answer}");
}

async fn assert_past_states_can_be_read(server: &TestServer) {
    let history = History::read(server, "default").await;
    let head = history.events.len() as u64;
    let now = server.state("default").await;
    let then = server.read(&format!("/v1/state?at_position={head}")).await;
    assert_eq!(then["state_digest"], now["state_digest"]);
    let first = server.read("/v1/state?at_position=1").await;
    assert_eq!((&first["step"], &first["position"]), (&0.into(), &1.into()));
    for event in [&history.events[0], &history.events[history.events.len() / 2]] {
        let (position, time) = (&event["position"], event["recorded_at"].as_str().unwrap());
        // events with the same time are included
        let last = history.events.iter().rfind(|other| other["recorded_at"] == *time).unwrap();
        let then = server.read(&format!("/v1/state?at_time={time}")).await;
        assert_eq!(then["position"], last["position"], "at the time of {position}");
    }
    let later = server.read("/v1/state?at_time=2999-01-01T00:00:00Z").await;
    assert_eq!(later["state_digest"], now["state_digest"]);
    let beyond = server.get(&format!("/v1/state?at_position={}", head + 1));
    send(beyond).await.unwrap().is_problem(404, "E410");
}
