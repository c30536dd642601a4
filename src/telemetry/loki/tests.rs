//! A Loki that works, fails, is unreachable or does not respond: each line is either delivered or
//! counted as dropped. Counts are per process, and nextest runs each test in its own.

use std::{collections::BTreeMap, time::Duration};

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
    telemetry::logs::{self, level::targets},
    testkit::{DEADLINE, eventually},
};

/// More lines than the window holds.
const MANY: usize = 10_000;

/// A running layer, for the thread of the test.
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

/// The labels and content of all pushed lines.
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

fn dropped() -> BTreeMap<&'static str, u64> {
    let dropped = counts().dropped.iter().filter(|(_, count)| count.get() > 0);
    dropped.map(|(reason, count)| (reason.as_str(), count.get())).collect()
}

async fn until_dropped(lines: u64) {
    eventually("the count of dropped lines", async || {
        let all = counts().dropped_total() >= lines;
        if all { Ok(()) } else { Err(format!("{:?}", dropped())) }
    })
    .await;
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
    assert_eq!(
        (&line["message"], &line["version"]),
        (&"request".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!(of("error").1["error_code"], "E703");
    assert_eq!(dropped(), BTreeMap::new());
    assert!(counts().last_success().is_some_and(|at| at.get() > 0.0));
}

#[tokio::test]
async fn every_line_of_a_burst_is_delivered_or_counted() {
    let server = loki(ResponseTemplate::new(204)).await;
    let (loki, _guard) = pushing(&server.uri());
    for n in 0..MANY {
        info!(n, "line");
        if n % 100 == 0 {
            // the supervisor runs on this thread too
            tokio::task::yield_now().await;
        }
    }
    loki.close().await;
    let (delivered, dropped) = (pushed(&server).await.len() as u64, counts().dropped_total());
    assert_eq!(delivered + dropped, MANY as u64, "{delivered} {dropped}");
    assert!(delivered >= 2_000, "{delivered}");
    assert_eq!((counts().emitted.get(), counts().delivered.get()), (MANY as u64, delivered));
}

#[tokio::test]
async fn rejected_lines_are_counted_and_not_kept() {
    for status in [429, 500] {
        let before = counts().dropped_total();
        let server = loki(ResponseTemplate::new(status)).await;
        let (loki, guard) = pushing(&server.uri());
        for n in 0..MANY {
            info!(n, "line");
        }
        drop(guard);
        loki.close().await;
        assert_eq!(counts().dropped_total() - before, MANY as u64, "{:?}", dropped());
        assert!(dropped()["refused"] >= 500 && dropped()["queue_full"] >= 1, "{:?}", dropped());
    }
}

#[tokio::test]
async fn an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() {
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
    until_dropped(1).await;
    drop(refusing);
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    eventually("the line loki.back", async || {
        info!("again");
        let log = buffer.lines().concat();
        if log.contains("loki.back") { Ok(()) } else { Err(log) }
    })
    .await;
    loki.close().await;
    let log = buffer.lines().concat();
    assert_eq!(log.matches("loki.away").count(), 1, "{log}");
    assert_eq!(log.matches("loki.back").count(), 1, "{log}");
    assert_eq!(dropped(), BTreeMap::from([("refused", 1)]));
    assert_eq!(counts().emitted.get(), counts().delivered.get() + 1);
}

#[tokio::test]
async fn the_close_does_not_wait_for_a_loki_that_does_not_respond() {
    let server = loki(ResponseTemplate::new(204).set_delay(Duration::from_hours(1))).await;
    let (loki, guard) = pushing(&server.uri());
    for _ in 0..10 {
        info!("line");
    }
    // the push begins with the close, whose limit is shorter than that of the push
    timeout(DEADLINE, loki.close()).await.expect("the close has a limit");
    assert_eq!(dropped(), BTreeMap::from([("shutdown", 10)]));
    info!("too late");
    drop(guard);
    assert_eq!(dropped()["shutdown"], 11);
}

#[tokio::test]
async fn a_push_that_hangs_is_aborted_while_the_process_runs() {
    let server = loki(ResponseTemplate::new(204).set_delay(Duration::from_hours(1))).await;
    let (loki, _guard) = pushing(&server.uri());
    info!("line");
    until_dropped(1).await;
    assert_eq!(dropped(), BTreeMap::from([("unanswered", 1)]));
    loki.close().await;
}

#[tokio::test]
async fn an_unreachable_loki_delays_nothing_and_its_lines_are_counted() {
    // a port that was free a moment ago, so that nothing listens there
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (loki, guard) = pushing(&format!("http://127.0.0.1:{port}"));
    for n in 0..MANY {
        info!(n, "line");
    }
    drop(guard);
    timeout(DEADLINE, loki.close()).await.expect("the close has a limit");
    assert_eq!(counts().dropped_total(), MANY as u64, "{:?}", dropped());
}
