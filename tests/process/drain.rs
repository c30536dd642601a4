//! SIGTERM: not ready first, what runs ends well, a second signal ends everything.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};

use mlsdm::testkit::{TestDatabase, TestEnv, TestResponse, TestServer, on_every_database, send};

use crate::history::{History, verifies};

/// Time in which a forced end must be over, far less than its step takes.
const AT_ONCE: Duration = Duration::from_secs(15);

on_every_database!(TestDatabase: a_stop_lets_running_steps_finish, a_second_signal_ends_everything);

type Asking = JoinSet<Result<TestResponse, reqwest::Error>>;

/// A request whose step is admitted and waits for the model.
async fn running_step(server: &TestServer) -> Asking {
    let mut asking = JoinSet::new();
    asking.spawn(send(server.ask("default", "ann", "Take your time")));
    server.until("/v1/state", |state| state["open_count"] == 1).await;
    asking
}

/// Resolves when the server no longer says that it is ready; gives what it says.
async fn until_not_ready(server: &TestServer) -> Option<u16> {
    loop {
        match send(server.get("/health/ready")).await {
            Ok(reply) if reply.status == 200 => tokio::task::yield_now().await,
            Ok(reply) => return Some(reply.status),
            Err(_) => return None,
        }
    }
}

async fn a_stop_lets_running_steps_finish(database: TestDatabase) {
    let env = TestEnv::new(database.url()).with("MLSDM__API__DRAIN_SECONDS", 1);
    let mut server = env.clone().latency_ms(3_000).serve().await;
    let mut asking = running_step(&server).await;
    server.terminate().await;
    let said = timeout(AT_ONCE, until_not_ready(&server)).await.unwrap();
    assert_eq!(said, Some(503), "it says that it is not ready while it still serves");
    assert_eq!(send(server.get("/health/live")).await.unwrap().status, 200);

    let reply = asking.join_next().await.unwrap().unwrap().unwrap();
    let answer = reply.ok();
    let status = server.exit().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());

    let server = env.serve().await;
    let history = History::read(&server, "default").await;
    history.is_whole();
    let event = history.at(answer["position"].as_u64().unwrap());
    assert_eq!(event["chain_hash"], answer["chain_hash"]);
    assert_eq!(history.of("step.failed").len(), 0);
    server.stop().await;
}

async fn a_second_signal_ends_everything(database: TestDatabase) {
    let env = TestEnv::new(database.url())
        .with("API_TIMEOUT", 25)
        .with("MLSDM__ENGINE__ABANDON_GRACE_SECONDS", 1);
    let mut server = env.clone().latency_ms(20_000).serve().await;
    let mut asking = running_step(&server).await;
    server.terminate().await;
    timeout(AT_ONCE, until_not_ready(&server)).await.unwrap();
    server.terminate().await;
    let ended = timeout(AT_ONCE, server.exit()).await;
    let status = ended.expect("it does not wait for the model");
    assert_ne!(status.code(), Some(0), "work was given up\n{}", server.log());
    let answered = asking.join_next().await.unwrap().unwrap();
    assert!(answered.as_ref().map_or(true, |reply| reply.status != 200), "{answered:?}");

    let server = env.serve().await;
    server.until_closed("default").await;
    let history = History::read(&server, "default").await;
    history.is_whole();
    assert_eq!(history.of("step.failed").len(), 1);
    verifies(&env, "default").await;
    server.stop().await;
}
