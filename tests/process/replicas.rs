//! Two servers that share one log.

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer};

use crate::{
    extended,
    history::{History, equals_replay, position, verifies},
    load::{Load, seed},
};

const CLIENTS: u64 = 64;

/// A reader that follows the log of an engine while it grows.
struct Tail {
    events: Vec<Value>,
}

impl Tail {
    /// Reads from its position to the current end.
    async fn read_on(&mut self, server: &TestServer) {
        loop {
            let after = self.events.last().map_or(0, position);
            let page = server.read(&format!("/v1/events?after={after}&limit=500")).await;
            let events = page["events"].as_array().unwrap();
            self.events.extend(events.iter().cloned());
            if events.len() < 500 {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_write_one_gapless_log() {
    let steps: u64 = if extended() { 10_000 } else { 2_000 };
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    let (one, two) = (env.serve().await, env.serve().await);
    let load = Load::start(&[&one, &two], CLIENTS, steps, seed());
    let mut tail = Tail { events: Vec::new() };
    while load.counts().answered < steps && load.counts().refused == 0 {
        tail.read_on(&two).await;
    }
    let seen = load.finish().await;
    let unanswered: Vec<_> = seen.iter().filter(|one| one.answer().is_none()).collect();
    assert!(unanswered.is_empty(), "{unanswered:?}");
    tail.read_on(&two).await;

    let history = History { events: tail.events };
    history.is_whole();
    history.holds(&seen);
    assert_eq!(
        history.of("step.failed"),
        Vec::<&Value>::new(),
        "no living sister's step is closed"
    );
    let head = history.events.len() as u64;
    let mut digests = Vec::new();
    for server in [&one, &two] {
        let state = server.until("/v1/state", |state| state["position"] == head).await;
        assert_eq!(state["step"], steps);
        digests.push(state["state_digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
    equals_replay(&one, &env, "default").await;
    verifies(&env, "default").await;
    one.stop().await;
    two.stop().await;
}

/// A replica that receives no requests follows the steps of the other one.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_replica_follows_the_log() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    let (one, two) = (env.serve().await, env.serve().await);
    let before = two.state("default").await["position"].as_u64().unwrap();
    one.say("ann", "My dog is called Rex").await;
    let state = two.until("/v1/state", |state| state["position"].as_u64() > Some(before)).await;
    assert!(state["accepted_count"] == 1, "{state}");
    let answer = two.say("ann", "What is my dog called?").await;
    assert_eq!(answer["context_items"], 1, "a memory of the other replica is found: {answer}");
}

/// An open read transaction, such as a backup's, does not block appends.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_read_snapshot_does_not_block_appends() {
    const COUNT: &str = "select count(*) from events";
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    server.say("ann", "Something to begin with").await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let mut snapshot =
        connection.begin_with("begin isolation level repeatable read").await.unwrap();
    let before: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *snapshot).await.unwrap();

    // a request that waited for the snapshot would time out, since the snapshot stays open
    let seen = Load::start(&[&server], 16, 500, seed()).finish().await;
    assert!(seen.iter().all(|one| one.answer().is_some()), "{seen:?}");

    let after: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *snapshot).await.unwrap();
    assert_eq!(before, after, "the snapshot was open all the time");
    snapshot.rollback().await.unwrap();
    let history = History::read(&server, "default").await;
    history.is_whole();
    history.holds(&seen);
    server.stop().await;
}
