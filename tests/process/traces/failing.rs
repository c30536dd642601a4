//! Collectors that are unreachable, hang or refuse: requests are still answered, every span is
//! counted as delivered or dropped, and the server exits.

use std::net::TcpListener;

use mlsdm::testkit::{DEADLINE, eventually};
use serde_json::Value;
use tokio::{task::JoinSet, time::timeout};

use super::*;

/// The longest timeout of an export, in milliseconds. A shutdown that waited for an export to a
/// collector that hangs would exceed the deadline of [`exits_cleanly`].
const EXPORT_TIMEOUT_MS: u32 = 60_000;

const STEPS: usize = 40;

/// Spans of one step.
const SPANS: u64 = 8;

/// The numbers of spans emitted, delivered and dropped, which the server logs when it exits.
fn closed(server: &TestServer) -> [u64; 3] {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut closed = lines.filter(|line| line["event_type"] == "traces.closed");
    let closed = closed.next().unwrap_or_else(|| panic!("no traces.closed in\n{log}"));
    ["emitted", "delivered", "dropped"].map(|name| closed[name].as_u64().unwrap())
}

/// Stops a server well before an export can time out.
async fn exits_cleanly(server: &mut TestServer) {
    server.terminate().await;
    let status = timeout(DEADLINE / 2, server.exit()).await.expect("the flush has a limit");
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

/// Runs steps, waits until spans are dropped for `reason`, and stops the server. Gives the numbers
/// of spans emitted, delivered and dropped.
async fn count_spans(env: TestEnv, reason: Option<&str>) -> [u64; 3] {
    let mut server = env.serve().await;
    for n in 0..STEPS {
        server.say("ann", &format!("number {n}")).await;
    }
    if let Some(reason) = reason {
        let series = format!(
            "mlsdm_telemetry_dropped_total{{signal=\"traces\",sink=\"otlp\",reason=\"{reason}\"}} "
        );
        eventually(&format!("an increase of {series}"), async || {
            let text = scrape(&server).await;
            let value = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
            if value.parse::<u64>().unwrap() > 0 { Ok(()) } else { Err(server.log()) }
        })
        .await;
    }
    exits_cleanly(&mut server).await;
    let counted = closed(&server);
    assert_eq!(counted[0], counted[1] + counted[2], "emitted = delivered + dropped");
    assert!(counted[0] >= STEPS as u64 * SPANS, "{counted:?}");
    counted
}

#[tokio::test]
async fn a_collector_that_works_receives_the_spans_counted_as_delivered() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let [emitted, delivered, dropped] = count_spans(env(&database, &sink), None).await;
    assert_eq!((delivered, dropped), (emitted, 0));
    assert_eq!(sink.spans().await.len() as u64, delivered);
}

#[tokio::test]
async fn spans_are_dropped_if_the_collector_is_unreachable() {
    let database = TestDatabase::sqlite();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let env = TestEnv::new(database.url())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"))
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", 500);
    assert_eq!(count_spans(env, Some("unreachable")).await[1], 0);
}

#[tokio::test]
async fn spans_are_dropped_if_the_collector_hangs() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::hanging().await);
    // the export times out
    let timely = env(&database, &sink).with("OTEL_EXPORTER_OTLP_TIMEOUT", 500);
    assert_eq!(count_spans(timely, Some("timeout")).await[1], 0);
    let (database, sink) = (TestDatabase::sqlite(), Sink::hanging().await);
    // the export is still running when the server stops
    let endless = env(&database, &sink).with("OTEL_EXPORTER_OTLP_TIMEOUT", EXPORT_TIMEOUT_MS);
    assert_eq!(count_spans(endless, None).await[1], 0);
}

#[tokio::test]
async fn spans_are_dropped_if_the_collector_refuses_them() {
    for (status, reason) in
        [(429, "overloaded"), (503, "overloaded"), (500, "upstream"), (400, "refused")]
    {
        let (database, sink) = (TestDatabase::sqlite(), Sink::refusing(status).await);
        let env = env(&database, &sink).with("OTEL_EXPORTER_OTLP_TIMEOUT", 500);
        assert_eq!(count_spans(env, Some(reason)).await[1], 0, "{status}");
    }
}

#[tokio::test]
async fn spans_that_a_partial_success_rejects_are_counted_as_dropped() {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use prost::Message as _;

    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: String::new() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
    let database = TestDatabase::sqlite();
    let sink = Sink::saying(&answer.encode_to_vec()).await;
    let [emitted, delivered, dropped] = count_spans(env(&database, &sink), Some("refused")).await;
    assert_eq!(delivered + dropped, emitted);
    assert_eq!(sink.batches().await as u64, dropped, "one span of each batch");
}

#[tokio::test]
async fn a_start_that_fails_flushes_its_traces() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::hanging().await);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let env = env(&database, &sink).with("OTEL_EXPORTER_OTLP_TIMEOUT", EXPORT_TIMEOUT_MS);
    let env = env.with("API_PORT", port);
    let run = timeout(DEADLINE / 2, env.run(&["serve"])).await.expect("the flush has a limit");
    assert_ne!(run.code, 0);
    assert!(run.stdout.contains("traces.closed"), "{run:?}");
}

#[tokio::test]
async fn a_forced_stop_still_sends_the_queued_spans() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let mut server = env(&database, &sink).latency_ms(20_000).serve().await;
    let asked = ask(&server, 0.9);
    let mut hanging = JoinSet::new();
    hanging.spawn(async move { drop(asked.send().await) });
    server.until("/v1/state", |state| state["open_count"] == 1).await;
    server.terminate().await;
    server.until_logged("server.leaving", 1).await;
    server.terminate().await;
    assert_ne!(server.exit().await.code(), Some(0), "the step is given up\n{}", server.log());
    let [emitted, delivered, dropped] = closed(&server);
    assert_eq!((delivered, dropped), (emitted, 0));
    assert!(sink.spans().await.iter().any(|span| span.name == "mlsdm.decide"));
}

#[tokio::test]
async fn an_unsupported_setting_is_refused_with_the_remedy() {
    let database = TestDatabase::sqlite();
    for (name, value, remedy) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "http://host:4318"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "traces.sampler"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "between 0 and 1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "geheim", "name=value"),
    ] {
        let run = TestEnv::new(database.url()).with(name, value).run(&["check"]).await.exits(2);
        assert!(run.stderr.contains(remedy) && !run.stderr.contains("geheim"), "{name}: {run:?}");
    }
}
