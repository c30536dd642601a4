//! The facts that a server records in logs of format 2: which providers were called, which binary
//! decided, and which requests left no step.

use std::fs;

use mlsdm::testkit::{
    TestDatabase, TestEnv, TestServer,
    double::{Double, failing, json as answer},
    eventually, send,
};
use serde_json::{Value, json};

use crate::history::History;

fn env(database: &TestDatabase, double: &Double) -> TestEnv {
    TestEnv::new(database.url())
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", &double.url)
        .with("MLSDM__LLM__MODEL", "m-1")
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 2)
        .with("MLSDM__LLM__RETRY__BASE_MS", 1)
}

/// The payload of the newest event of one type.
async fn newest(server: &TestServer, kind: &str) -> Value {
    let history = History::read(server, "default").await;
    history.of(kind).last().unwrap()["clear"].clone()
}

#[tokio::test]
async fn the_parts_of_the_usage_and_the_call_are_recorded() {
    let database = TestDatabase::sqlite();
    let completion = json!({
        "model": "m-1-2026",
        "choices": [{"message": {"content": "That is noted, thank you."}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 90, "completion_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 8}
        }
    });
    let double = Double::new([answer("200 OK", "", &completion.to_string())]).await;
    let server = env(&database, &double).serve().await;
    server.say("ann", "Hello").await;
    let completed = newest(&server, "step.completed").await;
    let usage = json!({
        "prompt_tokens": 90, "completion_tokens": 12, "cached_tokens": 64, "reasoning_tokens": 8
    });
    assert_eq!(completed["usage"], usage);
    let calls = completed["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{completed}");
    let call = &calls[0];
    assert_eq!((&call["provider"], &call["model"]), (&json!("openai"), &json!("m-1")));
    assert_eq!(call["code"], "ok");
    assert!(call["ms"].as_f64() <= completed["latency"]["model_ms"].as_f64(), "{completed}");
    server.stop().await;
}

#[tokio::test]
async fn each_attempt_of_a_chain_of_fallbacks_is_recorded() {
    let database = TestDatabase::sqlite();
    let double = Double::new(failing(9)).await;
    let server = env(&database, &double)
        .with("MLSDM__LLM__FALLBACKS", "local_stub")
        .with("MLSDM__LLM__BREAKER__FAILURES", 3)
        .serve()
        .await;
    let calls = async || {
        let completed = newest(&server, "step.completed").await;
        let call = |call: &Value| {
            format!("{} {}", call["provider"].as_str().unwrap(), call["code"].as_str().unwrap())
        };
        let calls: Vec<String> = completed["calls"].as_array().unwrap().iter().map(call).collect();
        (calls.join(", "), completed["attempts"].clone())
    };
    server.say("ann", "Hello").await;
    assert_eq!(calls().await, ("openai upstream, openai upstream, local_stub ok".into(), json!(3)));
    server.say("ann", "Hello again").await;
    let opened = "openai upstream, openai breaker_open, local_stub ok".to_owned();
    assert_eq!(calls().await, (opened, json!(2)), "the third fault opens the breaker");
    server.stop().await;
}

#[tokio::test]
async fn steps_name_the_process_that_the_log_of_the_server_describes() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    server.say("ann", "Hello").await;
    let admitted = newest(&server, "step.admitted").await;
    let started = eventually("the start of the server in its log", async || {
        let query = "SELECT CAST(clear AS TEXT) FROM events WHERE type = 'server.started' \
             UNION ALL SELECT '' LIMIT 1";
        let text = database.query_text(query).await;
        serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(started["replica"], admitted["replica"]);
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    for hash in ["binary_sha256", "config_hash"] {
        assert_eq!(started[hash].as_str().unwrap().len(), 64, "{started}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_records_the_requests_of_the_current_minute() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url()).with("MLSDM__MLSDM__POLICY__BUDGET__TOKENS", 1);
    let server = env.serve().await;
    server.say("ann", "Hello").await;
    let refused = send(server.ask("default", "ann", "Hello")).await.unwrap();
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("E505")));
    server.stop().await;
    let query = "SELECT CAST(clear AS TEXT) FROM events WHERE type = 'requests.refused'";
    let event: Value = serde_json::from_str(&database.query_text(query).await).unwrap();
    assert_eq!(event["counts"], json!({"E505": 1}));
}

#[tokio::test]
async fn a_log_of_version_0_1_gets_no_fact_that_version_0_1_does_not_know() {
    let database = TestDatabase::sqlite();
    fs::copy("tests/format1/log.db", database.folder().unwrap().join("mlsdm.db")).unwrap();
    let key = fs::read_to_string("tests/format1/log.key").unwrap();
    let env = TestEnv::new(database.url()).with("MLSDM_CONTENT_KEY", key.trim());
    let server = env.serve().await;
    let before = server.head().await;
    let body = json!({"prompt": "What is my dog called?", "moral_value": 0.9});
    let request = server.post("/v1/generate").header("X-Request-ID", "my-own").json(&body);
    let answer = send(request).await.unwrap().ok();
    assert_eq!(answer["outcome"], "completed", "{answer}");
    let history = History::read(&server, "default").await;
    for event in history.events.iter().filter(|event| event["position"].as_u64() > Some(before)) {
        assert_eq!(event["request_id"], answer["id"]);
        for newer in ["sampling", "auth", "replica", "hits", "digest", "calls", "policy_hash"] {
            let name = format!("\"{newer}\":");
            assert!(!event["clear"].to_string().contains(&name), "{newer}: {event}");
        }
    }
    let old = &history.of("step.admitted")[0];
    let id = old["request_id"].as_str().unwrap();
    let found = server.read(&format!("/v1/events?request_id={id}")).await;
    assert_eq!(found["events"][0]["position"], old["position"], "{found}");
    server.stop().await;
    let newer = "SELECT CAST(count(*) AS TEXT) FROM events WHERE type IN \
         ('server.started', 'requests.refused', 'access.denied')";
    assert_eq!(database.query_text(newer).await, "0");
}
