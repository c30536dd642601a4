//! The server with providers that fail, hang or are slow: every step ends, other callers do not
//! wait, and no prompt leaks.
#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

use std::sync::Arc;

use mlsdm::testkit::{
    TestDatabase, TestEnv, TestServer,
    double::{Act, Double, completion, cut_stream, json as answer},
    on_every_database, send,
};
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    history::{equals_replay, verifies},
    metrics::{scrape, value},
    streaming::frames,
};

/// Part of every prompt, and of error bodies that quote it.
const MARKER: &str = "swordfish";

fn env(database: &TestDatabase, double: &Double) -> TestEnv {
    TestEnv::new(database.url())
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", &double.url)
        .with("MLSDM__LLM__MODEL", "m-1")
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1)
        .with("MLSDM__LLM__BREAKER__FAILURES", 0)
        .with("API_TIMEOUT", 2)
        .with("LOG_LEVEL", "DEBUG")
}

/// Faults of the provider, and the status and code that callers get.
fn faults() -> Vec<(&'static str, Act, u16, &'static str)> {
    let echo = json!({"error": {"message": format!("you said {MARKER}")}}).to_string();
    let vast = json!({"model": "m-1", "choices": [{"message": {"content": "x".repeat(10 << 20)}}]});
    vec![
        ("closed at once", Act::Send(Vec::new()), 502, "E601"),
        ("hang", Act::SendAndHang(Vec::new()), 504, "E602"),
        ("500", answer("500 Internal TestServer Error", "", &echo), 502, "E601"),
        ("401", answer("401 Unauthorized", "", &echo), 502, "E608"),
        ("400", answer("400 Bad Request", "", &echo), 400, "E610"),
        ("429", answer("429 Too Many Requests", "Retry-After: 7\r\n", &echo), 429, "E614"),
        ("malformed", answer("200 OK", "", &format!("{{\"{MARKER}")), 502, "E601"),
        ("empty", completion(""), 502, "E603"),
        ("10 MB", answer("200 OK", "", &vast.to_string()), 502, "E601"),
    ]
}

on_every_database!(TestDatabase: every_provider_fault_ends_its_step_and_leaks_nothing);

async fn every_provider_fault_ends_its_step_and_leaks_nothing(database: TestDatabase) {
    let cases = faults();
    let count = cases.len() as u64;
    let (acts, expected): (Vec<Act>, Vec<_>) =
        cases.into_iter().map(|(name, act, status, code)| (act, (name, status, code))).unzip();
    let double = Double::new(acts).await;
    let env = env(&database, &double);
    let server = env.serve().await;
    for (name, status, code) in expected {
        let reply = send(server.ask("default", "ann", MARKER)).await.unwrap();
        let found = (reply.status, reply.body["code"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code), "{name}: {reply:?}");
        assert!(!reply.body.to_string().contains(MARKER), "{name}: {reply:?}");
        if name == "429" {
            assert_eq!(reply.header("retry-after"), "7");
        }
    }
    let state = server.until_closed("default").await;
    assert_eq!(state["failed_count"], count, "{state}");
    assert!(!server.log().contains(MARKER), "a prompt in the log");
    equals_replay(&server, &env, "default").await;
    verifies(&env, "default").await;
    server.stop().await;
}

#[tokio::test]
async fn a_stream_cut_upstream_fails_the_step_and_seals_the_partial_answer() {
    let database = TestDatabase::sqlite();
    let piece = json!({"choices": [{"delta": {"content": "My answer is"}}]});
    let double = Double::new([cut_stream(&format!("data: {piece}\n\n"))]).await;
    let server = env(&database, &double).serve().await;
    let body = json!({"messages": [{"role": "user", "content": "Hello"}], "stream": true});
    let frames = frames(server.post("/v1/chat/completions").json(&body)).await;
    let last = frames.last().unwrap().json();
    assert_eq!(last["error"]["code"], "E601", "{frames:?}");
    let failed = server.read("/v1/events?type=step.failed").await["events"][0].clone();
    assert_eq!(failed["clear"]["code"], "broken_off", "{failed}");
    assert!(
        failed["content_hash"].is_string() && failed["clear"]["usage"]["completion_tokens"] != 0
    );
    assert_eq!(server.state("default").await["memory"]["used"], 0);
    // the status was 200, but the answer was not complete
    let metrics = scrape(&server).await;
    assert_eq!(value(&metrics, "mlsdm_stream_failures_total"), 1.0);
    server.stop().await;
}

/// Sends `size` concurrent prompts.
fn crowd(server: &TestServer, engine: &str, size: usize) -> JoinSet<Value> {
    let mut crowd = JoinSet::new();
    for number in 0..size {
        let ask = server.ask(engine, &format!("user-{number}"), "Hello there");
        crowd.spawn(async move { send(ask).await.unwrap().ok() });
    }
    crowd
}

/// No call is answered before all of them are running, so the test hangs if calls are queued.
#[tokio::test]
async fn two_hundred_calls_run_at_once() {
    const CALLS: usize = 200;
    let database = TestDatabase::sqlite();
    let barrier = Arc::new(Barrier::new(CALLS));
    let Act::Send(bytes) = completion("Sure, that is a good and long enough answer.") else {
        panic!("an answer is bytes")
    };
    let together = || Act::SendTogether(Arc::clone(&barrier), bytes.clone());
    let double = Double::new((0..CALLS).map(|_| together())).await;
    let server = env(&database, &double).with("API_TIMEOUT", 30).serve().await;
    let answers = crowd(&server, "default", CALLS).join_all().await;
    assert!(answers.iter().all(|answer| answer["outcome"] == "completed"));
    server.stop().await;
}

#[tokio::test]
async fn others_do_not_wait_for_calls_that_hang() {
    const CALLS: usize = 50;
    let database = TestDatabase::sqlite();
    let double = Double::new((0..CALLS).map(|_| Act::SendAndHang(Vec::new()))).await;
    let server = env(&database, &double)
        .with("API_TIMEOUT", 30)
        .with("MLSDM__LLM__ENGINES", "quick=local_stub")
        .serve()
        .await;
    let made = server.post("/v1/engines").json(&json!({"engine_id": "quick"}));
    send(made).await.unwrap().ok();
    let mut hanging = crowd(&server, "default", CALLS);
    double.asked(CALLS).await;
    assert_eq!(server.state("default").await["open_count"], CALLS as u64);
    assert_eq!(send(server.get("/health")).await.unwrap().status, 200);
    let quick = send(server.ask("quick", "ann", "Hello")).await.unwrap().ok();
    assert_eq!(quick["model"], "local-stub");
    hanging.abort_all();
    while hanging.join_next().await.is_some() {}
    let state = server.until_closed("default").await;
    assert_eq!(
        state["failed_count"], CALLS as u64,
        "the disconnected callers cancelled their steps"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_open_breaker_stops_calls_and_is_reported() {
    let database = TestDatabase::sqlite();
    let fails = || answer("500 Internal TestServer Error", "", "{}");
    let double = Double::new([fails(), fails()]).await;
    let server = env(&database, &double).with("MLSDM__LLM__BREAKER__FAILURES", 2).serve().await;
    for code in ["E601", "E601", "E607"] {
        let reply = send(server.ask("default", "ann", "Hello")).await.unwrap();
        assert_eq!(reply.body["code"], code, "{reply:?}");
    }
    assert_eq!(double.times(), 2);
    let breakers = server.state("default").await["reliability"]["breakers"].clone();
    assert_eq!(breakers["openai:m-1"], "open", "{breakers}");
    assert_eq!(server.read("/health/detailed").await["breakers"]["openai:m-1"], "open");
    // a call that the breaker stopped has no duration
    let metrics = scrape(&server).await;
    assert_eq!(value(&metrics, "mlsdm_generation_duration_seconds_count"), 2.0);
    server.stop().await;
}
