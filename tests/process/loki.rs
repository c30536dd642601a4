//! Lines pushed to a Loki that works, refuses, is away or never answers: requests do not notice, what
//! was logged arrives or is counted, and the end comes soon.

use std::time::{Duration, Instant};

use loki_api::{logproto::PushRequest, prost::Message as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use mlsdm::testkit::{DEADLINE, TestDatabase, TestEnv, TestServer, send};

use crate::metrics::{scrape, value};

/// Longest time a stop may take.
pub(crate) const STOP: Duration = Duration::from_secs(5);

/// Longest a request may take beside a Loki in trouble.
pub(crate) const REQUEST: Duration = Duration::from_secs(2);

/// A Loki that answers so.
pub(crate) async fn fake(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/loki/api/v1/push")).respond_with(answer).mount(&server).await;
    server
}

/// What a Loki was pushed, as `tests/logql` takes it.
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

/// `{job="x",env="y"}`, whose values are plain.
fn labels(text: &str) -> Value {
    let pairs = text.trim_matches(['{', '}']).split(',').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), json!(value.trim_matches('"')))
    });
    Value::Object(pairs.collect())
}

/// Many cheap requests, each of which leaves a line; gives how long the slowest took.
pub(crate) async fn ask(server: &TestServer, path: &str, requests: usize) -> Duration {
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let request = server.get(path);
        clients.spawn(async move {
            let mut slowest = Duration::ZERO;
            for _ in 0..requests / 16 {
                let start = Instant::now();
                assert_eq!(send(request.try_clone().unwrap()).await.unwrap().status, 200);
                slowest = slowest.max(start.elapsed());
            }
            slowest
        });
    }
    clients.join_all().await.into_iter().max().unwrap()
}

/// Lines so far, and those that Loki did not get.
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

/// Stops it, which must not take long.
async fn stops(server: TestServer) {
    let start = Instant::now();
    server.stop().await;
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
}

async fn server(url: &str) -> (TestServer, mlsdm::testkit::TestDatabase) {
    let database = TestDatabase::sqlite();
    (TestEnv::new(database.url()).with("MLSDM_LOKI_URL", url).serve().await, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_works_gets_every_line() {
    let loki = fake(ResponseTemplate::new(204)).await;
    let (server, _database) = server(&loki.uri()).await;
    assert!(ask(&server, "/health/live", 480).await < REQUEST);
    server.say("ann", "My dog is called Rex").await;
    let text = scrape(&server).await;
    let last = "mlsdm_telemetry_last_success_timestamp_seconds{sink=\"stdout\"}";
    assert!(value(&text, last) > 1.7e9);
    let before = counted(&server).await;
    assert!(before.1 < 0.5, "{before:?}");
    stops(server).await;
    let there = pushed(&loki).await.len() as f64;
    // the end has a few more lines
    assert!(there >= before.0 && there < before.0 + 10.0, "{there} {before:?}");
}

async fn is_survived(url: &str) {
    let (server, _database) = server(url).await;
    let slowest = ask(&server, "/health/live", 3_200).await;
    assert!(slowest < REQUEST, "{slowest:?}");
    // what waits is given up sooner or later, and then every line is accounted for
    let start = Instant::now();
    loop {
        let (lines, lost) = counted(&server).await;
        if (lines - lost).abs() < 0.5 {
            assert!(lines > 3_200.0);
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{lost} of {lines}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.until_logged("loki.away", 1).await;
    assert_eq!(server.log().matches("loki.away").count(), 1);
    stops(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_away_is_survived() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    is_survived(&format!("http://127.0.0.1:{port}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_answers_is_survived() {
    let loki = fake(ResponseTemplate::new(204).set_delay(Duration::from_hours(1))).await;
    is_survived(&loki.uri()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_is_survived() {
    for status in [429, 500] {
        let loki = fake(ResponseTemplate::new(status)).await;
        is_survived(&loki.uri()).await;
    }
}
