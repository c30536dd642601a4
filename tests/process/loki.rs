//! Log lines pushed to a Loki that works, refuses, is unreachable or never answers: requests are
//! still answered, every line is delivered or counted as dropped, and the server exits.

use std::time::Duration;

use loki_api::{logproto::PushRequest, prost::Message as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use mlsdm::testkit::{DEADLINE, TestDatabase, TestEnv, TestServer, eventually, send};

use crate::metrics::{scrape, value};

/// Number of concurrent clients in [`ask`].
const CLIENTS: usize = 16;

/// A Loki that gives this response to every push.
pub(crate) async fn fake(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/loki/api/v1/push")).respond_with(answer).mount(&server).await;
    server
}

/// The lines that a Loki received, in the form that `tests/logql` reads.
pub(crate) async fn pushed(server: &MockServer) -> Vec<Value> {
    let mut lines = Vec::new();
    for request in server.received_requests().await.unwrap() {
        let plain = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        for stream in PushRequest::decode(&*plain).unwrap().streams {
            let labels = labels(&stream.labels);
            let line = |line: &String| json!({"labels": labels, "metadata": {}, "line": line});
            lines.extend(stream.entries.iter().map(|entry| line(&entry.line)));
        }
    }
    lines
}

/// Parses `{job="x",env="y"}`. The values contain no escapes.
fn labels(text: &str) -> Value {
    let pairs = text.trim_matches(['{', '}']).split(',').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), json!(value.trim_matches('"')))
    });
    Value::Object(pairs.collect())
}

/// Sends many cheap requests, each of which writes a log line. All of them have to be answered.
///
/// A client sends its next request after the response to the last one. If requests waited for a
/// sink that hangs, each round would take as long as the timeout of the sink, and the test would be
/// terminated before the last of them.
pub(crate) async fn ask(server: &TestServer, path: &str, requests: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let request = server.get(path).timeout(DEADLINE / 2);
        clients.spawn(async move {
            for _ in 0..requests / CLIENTS {
                assert_eq!(send(request.try_clone().unwrap()).await.unwrap().status, 200);
            }
        });
    }
    clients.join_all().await;
}

/// The number of lines logged so far, and the number of them that Loki did not receive.
async fn counted(server: &TestServer) -> (f64, f64) {
    let text = scrape(server).await;
    let lines = ["DEBUG", "INFO", "WARNING", "ERROR"]
        .map(|level| value(&text, &format!("mlsdm_log_messages_total{{level=\"{level}\"}}")));
    let lost = ["queue_full", "refused", "unanswered", "shutdown"].map(|reason| {
        let labels = format!("signal=\"logs\",sink=\"loki\",reason=\"{reason}\"");
        value(&text, &format!("mlsdm_telemetry_dropped_total{{{labels}}}"))
    });
    (lines.iter().sum(), lost.iter().sum())
}

async fn server(url: &str) -> (TestServer, TestDatabase) {
    let database = TestDatabase::sqlite();
    (TestEnv::new(database.url()).with("MLSDM_LOKI_URL", url).serve().await, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loki_that_works_receives_every_line() {
    let loki = fake(ResponseTemplate::new(204)).await;
    let (server, _database) = server(&loki.uri()).await;
    ask(&server, "/health/live", 480).await;
    server.say("ann", "My dog is called Rex").await;
    let text = scrape(&server).await;
    let last = "mlsdm_telemetry_last_success_timestamp_seconds{sink=\"stdout\"}";
    assert!(value(&text, last) > 1.7e9);
    let before = counted(&server).await;
    assert!(before.1 < 0.5, "{before:?}");
    server.stop().await;
    let received = pushed(&loki).await.len() as f64;
    // the shutdown logs a few more lines
    assert!(received >= before.0 && received < before.0 + 10.0, "{received} {before:?}");
}

async fn assert_lines_are_counted(url: &str) {
    let (server, _database) = server(url).await;
    ask(&server, "/health/live", 3_200).await;
    // queued lines are dropped when their push fails, and then every line is counted
    let lines = eventually("a count for every line", async || {
        let (lines, lost) = counted(&server).await;
        let all = (lines - lost).abs() < 0.5;
        all.then_some(lines).ok_or_else(|| format!("{lost} of {lines} are counted as dropped"))
    });
    assert!(lines.await > 3_200.0);
    server.until_logged("loki.away", 1).await;
    assert_eq!(server.log().matches("loki.away").count(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_counted_if_loki_is_unreachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_lines_are_counted(&format!("http://127.0.0.1:{port}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_counted_if_loki_never_answers() {
    let loki = fake(ResponseTemplate::new(204).set_delay(Duration::from_hours(1))).await;
    assert_lines_are_counted(&loki.uri()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_counted_if_loki_refuses_them() {
    for status in [429, 500] {
        let loki = fake(ResponseTemplate::new(status)).await;
        assert_lines_are_counted(&loki.uri()).await;
    }
}
