//! PostgreSQL stops or crashes under load and starts again.

use mlsdm::testkit::{
    TestDatabase, TestEnv, TestServer,
    postgres::{Cluster, private_cluster},
    send,
};

use crate::{
    history::{History, equals_replay, verifies},
    load::{Load, Outcome, seed},
};

const CLIENTS: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn the_server_survives_a_stop_of_its_database() {
    survives(Cluster::stop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_survives_a_crash_of_its_database() {
    survives(Cluster::crash).await;
}

async fn survives(stop: impl FnOnce(&Cluster)) {
    let cluster = private_cluster();
    let database = TestDatabase::within(&cluster).await;
    // a step whose outcome could not be recorded is abandoned after a short time
    let env = TestEnv::new(database.url())
        .with("API_TIMEOUT", 5)
        .with("MLSDM__LLM__TOTAL_TIMEOUT", 5)
        .with("MLSDM__DATABASE__ACQUIRE_TIMEOUT_SECONDS", 1)
        .with("MLSDM__ENGINE__ABANDON_GRACE_SECONDS", 1)
        .latency_ms(10);
    let server = env.serve().await;
    let load = Load::start(&[&server], CLIENTS, u64::MAX, seed());
    load.until(|counts| counts.answered >= 100).await;

    stop(&cluster);
    let refused = load.counts().refused;
    load.until(|counts| counts.refused >= refused + 2 * CLIENTS).await;
    assert_unavailable(&server).await;

    cluster.start();
    let answered = load.counts().answered;
    load.until(|counts| counts.answered >= answered + 100).await;
    let seen = load.stop().await;
    for one in &seen {
        match &one.outcome {
            Outcome::Answered(_) => {}
            Outcome::Refused(reply) => {
                assert!([503, 504].contains(&reply.status), "{reply:?}");
                reply.is_problem(reply.status, reply.body["code"].as_str().unwrap());
            }
            Outcome::Lost => panic!("no complete response to {}", one.request_id),
        }
    }

    server.until_closed("default").await;
    let history = History::read(&server, "default").await;
    history.is_whole();
    history.holds(&seen);
    equals_replay(&server, &env, "default").await;
    verifies(&env, "default").await;
    server.stop().await;
}

/// Asserts that the server is alive but not ready, and refuses steps.
async fn assert_unavailable(server: &TestServer) {
    send(server.ask("default", "ann", "Are you there?")).await.unwrap().is_problem(503, "E401");
    assert_eq!(send(server.get("/health/live")).await.unwrap().status, 200);
    assert_eq!(send(server.get("/health/ready")).await.unwrap().status, 503);
    assert_eq!(send(server.get("/health")).await.unwrap().status, 503);
}
