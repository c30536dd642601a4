//! Idempotency keys: concurrent requests with one key run one step and call the model once.

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use mlsdm::testkit::{TestDatabase, TestEnv, TestResponse, TestServer, send};

use crate::history::History;

const CALLERS: usize = 100;
const KEY: &str = "the-one-key";

#[tokio::test(flavor = "multi_thread")]
async fn one_key_on_two_replicas_runs_one_step() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url()).latency_ms(300);
    let (one, two) = (env.serve().await, env.serve().await);
    one_key_runs_one_step(&[&one, &two]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_on_sqlite_runs_one_step() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).latency_ms(300).serve().await;
    one_key_runs_one_step(&[&server]).await;
}

fn keyed(server: &TestServer, end_user: &str, body: &Value) -> RequestBuilder {
    let request = server.post("/v1/generate").header("Idempotency-Key", KEY);
    request.header("X-MLSDM-End-User", end_user).json(body)
}

async fn one_key_runs_one_step(servers: &[&TestServer]) {
    let body = json!({"prompt": "Water the garden once", "moral_value": 0.9});
    let replies = all_at_once(servers, &body).await;
    for reply in &replies {
        assert_eq!((reply.status, answer(reply)), (200, answer(&replies[0])), "{reply:?}");
    }
    let fresh = replies.iter().filter(|reply| reply.header("idempotency-replayed") != "true");
    assert_eq!(fresh.count(), 1, "one request ran the step, the others got its answer");
    assert_one_step(servers[0]).await;

    // a later request with the same JSON in a different spelling gets the same answer
    let spelled = r#"{ "moral_value":9e-1, "prompt":"Water the garden once" }"#;
    let again = keyed(servers[servers.len() - 1], "ann", &Value::Null)
        .header("Content-Type", "application/json")
        .body(spelled);
    let again = send(again).await.unwrap();
    assert_eq!(again.header("idempotency-replayed"), "true", "{again:?}");
    assert_eq!(answer(&again), answer(&replies[0]));

    let other = json!({"prompt": "Water the garden twice", "moral_value": 0.9});
    send(keyed(servers[0], "ann", &other)).await.unwrap().is_problem(422, "E406");
    assert_one_step(servers[0]).await;

    // the same key of another end user is a different key
    let reply = send(keyed(servers[0], "bob", &body)).await.unwrap();
    assert_eq!(reply.header("idempotency-replayed"), "", "{reply:?}");
    assert_eq!(reply.ok()["step"], 2);
}

/// The answer without the id of the request, which each request has for itself.
fn answer(reply: &TestResponse) -> Value {
    let mut body = reply.body.clone();
    let id = body.as_object_mut().unwrap().remove("request_id").unwrap();
    assert_eq!(id, reply.header("x-request-id"));
    body
}

async fn all_at_once(servers: &[&TestServer], body: &Value) -> Vec<TestResponse> {
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let request = keyed(servers[number % servers.len()], "ann", body);
        callers.spawn(async move { send(request).await.unwrap() });
    }
    callers.join_all().await
}

async fn assert_one_step(server: &TestServer) {
    server.until_closed("default").await;
    let history = History::read(server, "default").await;
    history.is_whole();
    assert_eq!(history.of("step.admitted").len(), 1);
    let completed = history.of("step.completed");
    assert_eq!(completed.len(), 1);
    assert_eq!(completed[0]["clear"]["attempts"], 1);
}

/// After a failed step its key can be used again.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_frees_the_key() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let body = json!({"prompt": "Wait for me", "moral_value": 0.9});
    let slow = env.clone().with("API_TIMEOUT", 1).latency_ms(20_000).serve().await;
    send(keyed(&slow, "ann", &body)).await.unwrap().is_problem(504, "E602");
    slow.stop().await;
    let server = env.serve().await;
    let answered = send(keyed(&server, "ann", &body)).await.unwrap();
    assert_eq!(answered.header("idempotency-replayed"), "", "{answered:?}");
    assert_eq!(answered.ok()["step"], 2);
}
