//! Shutdown by SIGTERM: the server becomes unready, finishes running steps and exits; a second
//! signal makes it exit at once.

use mlsdm::testkit::{
    DEADLINE, TestDatabase, TestEnv, TestResponse, TestServer,
    double::{Act, Double, completion},
    on_every_database, send,
};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use crate::history::{History, verifies};

on_every_database!(
    TestDatabase:
    a_stop_lets_running_steps_finish,
    a_second_signal_does_not_wait_for_running_steps,
);

type Asking = JoinSet<Result<TestResponse, reqwest::Error>>;

/// A request whose step has been admitted and is waiting for the model.
async fn running_step(server: &TestServer) -> Asking {
    let mut asking = JoinSet::new();
    asking.spawn(send(server.ask("default", "ann", "Take your time")));
    server.until("/v1/state", |state| state["open_count"] == 1).await;
    asking
}

/// Waits until the server is not ready. Gives the status of the probe, or `None` if nothing
/// listens.
///
/// It probes without pauses, since the server listens only for the drain time.
async fn until_not_ready(server: &TestServer) -> Option<u16> {
    let probe = async {
        loop {
            match send(server.get("/health/ready")).await {
                Ok(reply) if reply.status == 200 => tokio::task::yield_now().await,
                Ok(reply) => return Some(reply.status),
                Err(_) => return None,
            }
        }
    };
    timeout(DEADLINE, probe).await.expect("the server stays ready")
}

async fn a_stop_lets_running_steps_finish(database: TestDatabase) {
    let (answer, answered) = oneshot::channel();
    let Act::Send(bytes) = completion("That took its time, and it is a good answer.") else {
        panic!("a completion is sent")
    };
    let model = Double::new([Act::SendWhen(answered, bytes)]).await;
    let env = TestEnv::new(database.url()).with("MLSDM__API__DRAIN_SECONDS", 5);
    let mut server = env
        .clone()
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__MODEL", "m-1")
        .with("MLSDM__LLM__OPENAI__BASE_URL", &model.url)
        .serve()
        .await;
    let mut asking = running_step(&server).await;
    server.terminate().await;
    assert_eq!(until_not_ready(&server).await, Some(503), "it is unready while it still serves");
    assert_eq!(send(server.get("/health/live")).await.unwrap().status, 200);

    answer.send(()).unwrap();
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

async fn a_second_signal_does_not_wait_for_running_steps(database: TestDatabase) {
    let env = TestEnv::new(database.url())
        .with("API_TIMEOUT", 25)
        .with("MLSDM__LLM__TOTAL_TIMEOUT", 25)
        .with("MLSDM__ENGINE__ABANDON_GRACE_SECONDS", 1);
    let mut server = env.clone().latency_ms(20_000).serve().await;
    let mut asking = running_step(&server).await;
    server.terminate().await;
    until_not_ready(&server).await;
    server.terminate().await;
    let status = server.exit().await;
    assert_ne!(status.code(), Some(0), "the step was given up\n{}", server.log());
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

#[tokio::test]
async fn a_hangup_does_not_end_the_server() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    server.signal("HUP").await;
    server.until_logged("server.hangup", 1).await;
    assert_eq!(send(server.get("/health/ready")).await.unwrap().status, 200);
    server.stop().await;
}
