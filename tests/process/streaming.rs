//! Streamed answers, which are complete only with their closing event.

use futures_util::StreamExt as _;
use mlsdm::testkit::{TestDatabase, TestEnv, TestServer, on_every_database, send};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// One server-sent event.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The event name; empty if it has none.
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Frame {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// The events of a stream, read to its end.
pub(crate) async fn frames(request: RequestBuilder) -> Vec<Frame> {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    text.split_terminator("\n\n").filter(|frame| !frame.starts_with(':')).map(parse).collect()
}

fn parse(frame: &str) -> Frame {
    let field = |name: &str| {
        let line = frame.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim_start).unwrap_or_default().to_owned()
    };
    Frame { event: field("event:"), data: field("data:") }
}

fn stream(server: &TestServer, prompt: &str) -> RequestBuilder {
    let body = json!({"prompt": prompt, "moral_value": 0.9, "stream": true});
    server.post("/v1/generate").json(&body)
}

on_every_database!(TestDatabase: the_pieces_add_up_to_the_answer);

async fn the_pieces_add_up_to_the_answer(database: TestDatabase) {
    let server = TestEnv::new(database.url()).serve().await;
    let frames = frames(stream(&server, "My dog is called Rex")).await;
    let (last, pieces) = frames.split_last().unwrap();
    assert!(pieces.len() > 5 && pieces.iter().all(|frame| frame.event == "delta"), "{frames:?}");
    let text: String =
        pieces.iter().map(|frame| frame.json()["text"].as_str().unwrap().to_owned()).collect();
    let answer = last.json();
    assert_eq!((last.event.as_str(), &answer["response"]), ("done", &json!(text)));
    // the event of the receipt is already recorded
    let event = server.read(&format!("/v1/events/{}", answer["position"])).await;
    assert_eq!(event["type"], "step.completed");
    assert_eq!(event["chain_hash"], answer["chain_hash"]);
    assert!(event["clear"]["latency"]["first_piece_ms"].is_number(), "{event}");
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_and_a_replayed_answer_are_not_split() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    let body = json!({"prompt": "Anything", "moral_value": 0.1, "stream": true});
    let refused = frames(server.post("/v1/generate").json(&body)).await;
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].json()["note"], "morally rejected");

    let asked = || stream(&server, "Hello there").header("Idempotency-Key", "once");
    let first = frames(asked()).await.pop().unwrap().json();
    let again = frames(asked()).await;
    assert_eq!(again.len(), 2, "one piece and the closing event: {again:?}");
    let mut again = again[1].json();
    assert_ne!(again["request_id"], first["request_id"], "each request has its own id");
    again["request_id"] = first["request_id"].clone();
    assert_eq!(again, first);
    assert_eq!(server.state("default").await["step"], 2);
    server.stop().await;
}

#[tokio::test]
async fn a_failure_before_the_first_piece_has_an_error_status() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    send(server.post("/v1/admin/shutdown")).await.unwrap().ok();
    send(stream(&server, "Hello")).await.unwrap().is_problem(503, "E701");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_the_step() {
    let database = TestDatabase::sqlite();
    let server =
        TestEnv::new(database.url()).with("MLSDM__LLM__STUB__WORD_LATENCY_MS", 200).serve().await;
    let response = stream(&server, "My dog is called Rex").send().await.unwrap();
    let first = response.bytes_stream().next().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: delta"));
    let state = server.until_closed("default").await;
    assert_eq!((&state["failed_count"], &state["memory"]["used"]), (&json!(1), &json!(0)));
    let events = server.read("/v1/events?type=step.failed").await;
    let failed = &events["events"][0];
    assert_eq!(failed["clear"]["stage"], "cancelled", "{failed}");
    assert!(failed["content_hash"].is_string(), "the partial answer is sealed");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_token_cancels_the_step() {
    for streamed in [true, false] {
        let database = TestDatabase::sqlite();
        let silent = ("MLSDM__LLM__STUB__LATENCY_MS", 60_000);
        let server = TestEnv::new(database.url()).with(silent.0, silent.1).serve().await;
        let body = json!({"prompt": "Hello", "moral_value": 0.9, "stream": streamed});
        let sent = server.post("/v1/generate").json(&body).send();
        let asked = Handle::current().spawn(sent);
        server.until("/v1/state", |state| state["step"] == 1).await;
        asked.abort();
        server.until_closed("default").await;
        let events = server.read("/v1/events?type=step.failed").await;
        assert_eq!(events["events"][0]["clear"]["stage"], "cancelled", "{events}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_stop_waits_for_the_end_of_a_stream() {
    let database = TestDatabase::sqlite();
    let mut server =
        TestEnv::new(database.url()).with("MLSDM__LLM__STUB__WORD_LATENCY_MS", 50).serve().await;
    let response = stream(&server, "My dog is called Rex").send().await.unwrap();
    let mut bytes = response.bytes_stream();
    bytes.next().await.unwrap().unwrap();
    server.terminate().await;
    let mut rest = Vec::new();
    while let Some(more) = bytes.next().await {
        rest.extend(more.unwrap());
    }
    assert!(String::from_utf8(rest).unwrap().contains("event: done"));
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_slow_reader_slows_the_model_down_until_the_deadline() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).with("API_TIMEOUT", 1).serve().await;
    let long = "word ".repeat(1_900);
    // the client reads only the head, so the model has to wait once the socket buffers are full
    let held = stream(&server, &long).send().await.unwrap();
    let other = server.say("ann", "Hello there").await;
    assert_eq!(other["outcome"], "completed");
    drop(held);
    server.until_closed("default").await;
    server.stop().await;
}
