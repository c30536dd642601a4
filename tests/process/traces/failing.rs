//! Collectors that are away, hang, or have too much to do: requests do not notice, every span is
//! accounted for, and the server ends in time.

use std::{net::TcpListener, time::Duration};

use serde_json::Value;
use tokio::{task::JoinSet, time::Instant};

use super::*;

/// Longest stop of a server that has nothing else to wait for.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What a step takes at most on a busy machine; a collector that is waited for takes ten seconds.
const STEP_MAX: Duration = Duration::from_secs(5);

const STEPS: usize = 40;

/// Spans of one step.
const SPANS: u64 = 8;

/// Emitted, delivered and dropped, as the server says when it ends.
fn closed(server: &TestServer) -> [u64; 3] {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut closed = lines.filter(|line| line["event_type"] == "traces.closed");
    let closed = closed.next().unwrap_or_else(|| panic!("traces are not closed\n{log}"));
    ["emitted", "delivered", "dropped"].map(|name| closed[name].as_u64().unwrap())
}

/// Runs steps, stops, and gives what became of the spans.
async fn account(env: TestEnv, reason: Option<&str>) -> [u64; 3] {
    let mut server = env.serve().await;
    for n in 0..STEPS {
        let began = Instant::now();
        server.say("ann", &format!("number {n}")).await;
        assert!(began.elapsed() < STEP_MAX, "step {n} took {:?}", began.elapsed());
    }
    if let Some(reason) = reason {
        let series = format!(
            "mlsdm_telemetry_dropped_total{{signal=\"traces\",sink=\"otlp\",reason=\"{reason}\"}} "
        );
        let start = Instant::now();
        loop {
            let text = scrape(&server).await;
            let value = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
            if value.parse::<u64>().unwrap() > 0 {
                break;
            }
            assert!(start.elapsed() < DEADLINE, "{series} stays 0\n{}", server.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let began = Instant::now();
    server.terminate().await;
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    assert!(began.elapsed() <= STOP_MAX, "the stop took {:?}", began.elapsed());
    let counted = closed(&server);
    assert_eq!(counted[0], counted[1] + counted[2], "emitted = delivered + dropped");
    assert!(counted[0] >= STEPS as u64 * SPANS, "{counted:?}");
    counted
}

#[tokio::test]
async fn one_that_takes_everything_has_exactly_what_was_delivered() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let [emitted, delivered, dropped] = account(env(&database, &sink), None).await;
    assert_eq!((delivered, dropped), (emitted, 0));
    assert_eq!(sink.spans().await.len() as u64, delivered);
}

#[tokio::test]
async fn one_that_is_away() {
    let database = TestDatabase::sqlite();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let env = TestEnv::new(database.url())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"))
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", 500);
    assert_eq!(account(env, Some("unreachable")).await[1], 0);
}

#[tokio::test]
async fn one_that_hangs() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::hanging().await);
    // in time, and not before the process ends
    let timely = env(&database, &sink).with("OTEL_EXPORTER_OTLP_TIMEOUT", 500);
    assert_eq!(account(timely, Some("timeout")).await[1], 0);
    let (database, sink) = (TestDatabase::sqlite(), Sink::hanging().await);
    assert_eq!(account(env(&database, &sink), None).await[1], 0);
}

#[tokio::test]
async fn ones_that_refuse() {
    for (status, reason) in
        [(429, "overloaded"), (503, "overloaded"), (500, "upstream"), (400, "refused")]
    {
        let (database, sink) = (TestDatabase::sqlite(), Sink::refusing(status).await);
        let env = env(&database, &sink).with("OTEL_EXPORTER_OTLP_TIMEOUT", 500);
        assert_eq!(account(env, Some(reason)).await[1], 0, "{status}");
    }
}

#[tokio::test]
async fn one_that_takes_a_part_says_so() {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use prost::Message as _;

    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: String::new() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
    let database = TestDatabase::sqlite();
    let sink = Sink::saying(&answer.encode_to_vec()).await;
    let [emitted, delivered, dropped] = account(env(&database, &sink), Some("refused")).await;
    assert_eq!(delivered + dropped, emitted);
    assert_eq!(sink.batches().await as u64, dropped, "one of each batch");
}

#[tokio::test]
async fn a_start_that_fails_ends_its_traces_too() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::hanging().await);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let began = Instant::now();
    let run = env(&database, &sink).with("API_PORT", port).run(&["serve"]).await;
    assert_ne!(run.code, 0);
    assert!(began.elapsed() < STOP_MAX, "{:?}", began.elapsed());
    assert!(run.stdout.contains("traces.closed"), "{run:?}");
}

#[tokio::test]
async fn a_forced_stop_still_sends_what_waits() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let mut server = env(&database, &sink).latency_ms(20_000).serve().await;
    let asked = ask(&server, 0.9);
    let mut hanging = JoinSet::new();
    hanging.spawn(async move { drop(asked.send().await) });
    server.until("/v1/state", |state| state["open_count"] == 1).await;
    server.terminate().await;
    server.until_logged("server.leaving", 1).await;
    let began = Instant::now();
    server.terminate().await;
    server.exit().await;
    assert!(began.elapsed() <= STOP_MAX, "{:?}", began.elapsed());
    let [emitted, delivered, dropped] = closed(&server);
    assert_eq!((delivered, dropped), (emitted, 0));
    assert!(sink.spans().await.iter().any(|span| span.name == "mlsdm.decide"));
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_with_what_to_do() {
    let database = TestDatabase::sqlite();
    for (name, value, words) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "http://host:4318"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "traces.sampler"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "between 0 and 1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "geheim", "name=value"),
    ] {
        let run = TestEnv::new(database.url()).with(name, value).run(&["check"]).await.exits(2);
        assert!(run.stderr.contains(words) && !run.stderr.contains("geheim"), "{name}: {run:?}");
    }
}
