//! A Loki that works, refuses, is away or does not answer: what was logged either got there or is
//! counted, exactly. Counts are of the process, and each test has its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use loki_api::{logproto::PushRequest, prost::Message as _};
use serde_json::Value;
use tracing::{Dispatch, dispatcher::DefaultGuard, error, info, info_span};
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

use super::*;
use crate::{
    config::{Format, Level},
    telemetry::{
        logs::{self, level::targets},
        loss,
    },
};

/// More than the layer may hold.
const MANY: usize = 10_000;

/// A layer at work, for the thread of the test.
fn pushing(url: &str) -> (Loki, DefaultGuard) {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let (layer, supervisor) = open(&Url::parse(url).unwrap(), "test").unwrap();
    let ours = layer.with_filter(targets(Level::Info));
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(ours));
    (supervisor.start(), tracing::dispatcher::set_default(&dispatch))
}

async fn loki(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/loki/api/v1/push"))
        .and(header("content-type", "application/x-protobuf"))
        .respond_with(answer)
        .mount(&server)
        .await;
    server
}

/// All lines that were pushed: their labels and what they say.
async fn pushed(server: &MockServer) -> Vec<(String, Value)> {
    let mut lines = Vec::new();
    for request in server.received_requests().await.unwrap() {
        let plain = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        for stream in PushRequest::decode(&*plain).unwrap().streams {
            let line = |entry: &str| serde_json::from_str(entry).unwrap();
            lines.extend(stream.entries.iter().map(|e| (stream.labels.clone(), line(&e.line))));
        }
    }
    lines
}

fn lost() -> BTreeMap<&'static str, u64> {
    let own = loss::lost().filter(|(sink, _, count)| *sink == Sink::Loki && count.get() > 0);
    own.map(|(_, reason, count)| (reason.as_str(), count.get())).collect()
}

async fn until_lost(lines: u64) {
    let start = Instant::now();
    while Sink::Loki.lost_so_far() < lines {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", lost());
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn lines_arrive_with_labels_and_fields() {
    let server = loki(ResponseTemplate::new(204)).await;
    let (loki, _guard) = pushing(&server.uri());
    {
        let _span = info_span!("request", request_id = "r1", engine = "default").entered();
        info!(event_type = "http.request", latency_ms = 1.5, accepted = true, "request");
    }
    error!(event_type = "http.fault", error_code = "E703", "a request failed");
    loki.close().await;
    let lines = pushed(&server).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    let of = |level: &str| {
        let label = format!("level=\"{level}\"");
        lines.iter().find(|(labels, _)| labels.contains(&label)).unwrap()
    };
    let (labels, line) = of("info");
    for label in ["job=\"mlsdm-direct\"", "service=\"mlsdm\"", "env=\"test\"", "instance=\""] {
        assert!(labels.contains(label), "{labels}");
    }
    assert_eq!((&line["request_id"], &line["engine"]), (&"r1".into(), &"default".into()));
    assert_eq!((&line["latency_ms"], &line["accepted"]), (&1.5.into(), &true.into()));
    assert_eq!((&line["message"], &line["version"]), (&"request".into(), &"0.1.0".into()));
    assert_eq!(of("error").1["error_code"], "E703");
    assert_eq!(lost(), BTreeMap::new());
    assert!(loss::successes().any(|(sink, at)| sink == Sink::Loki && at.get() > 0.0));
}

#[tokio::test]
async fn a_burst_arrives_or_is_counted() {
    let server = loki(ResponseTemplate::new(204)).await;
    let (loki, _guard) = pushing(&server.uri());
    let start = Instant::now();
    for n in 0..MANY {
        info!(n, "line");
        if n % 100 == 0 {
            // the supervisor has this thread only
            tokio::task::yield_now().await;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    loki.close().await;
    let (there, lost) = (pushed(&server).await.len() as u64, Sink::Loki.lost_so_far());
    assert_eq!(there + lost, MANY as u64, "{there} {lost}");
    assert!(there >= 2_000, "{there}");
    let counted = loss::sinks().find(|counted| counted.sink == Sink::Loki).unwrap();
    assert_eq!((counted.emitted.get(), counted.delivered.get()), (MANY as u64, there));
}

#[tokio::test]
async fn what_is_refused_is_counted_and_nothing_is_kept() {
    for status in [429, 500] {
        let before = Sink::Loki.lost_so_far();
        let server = loki(ResponseTemplate::new(status)).await;
        let (loki, guard) = pushing(&server.uri());
        for n in 0..MANY {
            info!(n, "line");
        }
        drop(guard);
        loki.close().await;
        assert_eq!(Sink::Loki.lost_so_far() - before, MANY as u64, "{:?}", lost());
        assert!(lost()["refused"] >= 500 && lost()["queue_full"] >= 1, "{:?}", lost());
    }
}

#[tokio::test]
async fn it_is_told_once_that_loki_is_away_and_that_it_is_back() {
    let server = MockServer::start().await;
    let refusing = Mock::given(method("POST")).respond_with(ResponseTemplate::new(503));
    let refusing = refusing.mount_as_scoped(&server).await;
    let buffer = logs::buffer::Buffer::default();
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let (layer, supervisor) = open(&Url::parse(&server.uri()).unwrap(), "test").unwrap();
    let lines = logs::subscriber(Level::Info, Format::Json, buffer.clone());
    let both = lines.with(layer.with_filter(targets(Level::Info)));
    let _guard = tracing::dispatcher::set_default(&Dispatch::new(both));
    let loki = supervisor.start();
    info!("lost");
    until_lost(1).await;
    drop(refusing);
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let start = Instant::now();
    while !buffer.lines().concat().contains("loki.back") {
        assert!(start.elapsed() < Duration::from_secs(30));
        info!("again");
        sleep(Duration::from_millis(50)).await;
    }
    loki.close().await;
    let log = buffer.lines().concat();
    assert_eq!(log.matches("loki.away").count(), 1, "{log}");
    assert_eq!(log.matches("loki.back").count(), 1, "{log}");
    assert_eq!(lost(), BTreeMap::from([("refused", 1)]));
    let counted = loss::sinks().find(|counted| counted.sink == Sink::Loki).unwrap();
    assert_eq!(counted.emitted.get(), counted.delivered.get() + 1);
}

#[tokio::test]
async fn a_loki_that_does_not_answer_is_not_waited_for() {
    let server = loki(ResponseTemplate::new(204).set_delay(Duration::from_hours(1))).await;
    let (loki, guard) = pushing(&server.uri());
    for _ in 0..10 {
        info!("line");
    }
    // pushed at the end, and given up
    let start = Instant::now();
    loki.close().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(lost(), BTreeMap::from([("shutdown", 10)]));
    info!("too late");
    drop(guard);
    assert_eq!(lost()["shutdown"], 11);
}

#[tokio::test]
async fn a_loki_that_hangs_is_given_up_while_the_process_goes_on() {
    let server = loki(ResponseTemplate::new(204).set_delay(Duration::from_hours(1))).await;
    let (loki, _guard) = pushing(&server.uri());
    info!("line");
    until_lost(1).await;
    assert_eq!(lost(), BTreeMap::from([("unanswered", 1)]));
    loki.close().await;
}

#[tokio::test]
async fn a_loki_that_is_away_costs_its_lines_and_no_more() {
    // a port that was free a moment ago
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (loki, guard) = pushing(&format!("http://127.0.0.1:{port}"));
    for n in 0..MANY {
        info!(n, "line");
    }
    drop(guard);
    let start = Instant::now();
    loki.close().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(Sink::Loki.lost_so_far(), MANY as u64, "{:?}", lost());
}
