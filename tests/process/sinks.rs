//! A long outage of every telemetry sink: requests are still answered, memory does not grow,
//! dropped spans are counted, and the server exits. Metrics are not affected, since they are
//! pulled.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer};
use serde_json::Value;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use crate::loki::ask;

/// The longest timeout of an export, in milliseconds. It exceeds the timeout of the requests, so that
/// a request that waited for an export would fail the test.
const EXPORT_TIMEOUT_MS: u32 = 60_000;

/// A sink that accepts everything until it is told to hang.
struct Sink(Arc<AtomicBool>);

impl Respond for Sink {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let taken = ResponseTemplate::new(200);
        if self.0.load(Ordering::Relaxed) {
            taken.set_delay(Duration::from_hours(1))
        } else {
            taken
        }
    }
}

/// Resident memory of a process, in KiB.
fn resident(server: &TestServer) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The extended tier sends as many requests as ten minutes of load at 500 requests a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_of_every_sink_does_not_grow_the_memory() {
    let (database, sinks) = (TestDatabase::sqlite(), MockServer::start().await);
    let hanging = Arc::new(AtomicBool::new(false));
    Mock::given(any()).respond_with(Sink(Arc::clone(&hanging))).mount(&sinks).await;
    let mut server = TestEnv::new(database.url())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", sinks.uri())
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", EXPORT_TIMEOUT_MS)
        .with("MLSDM_LOKI_URL", sinks.uri())
        .serve()
        .await;
    ask(&server, "/v1/state", 3_200).await;
    let before = resident(&server);
    hanging.store(true, Ordering::Relaxed);
    let requests = if crate::extended() { 300_000 } else { 16_000 };
    ask(&server, "/v1/state", requests).await;
    let after = resident(&server);
    assert!(after < before + 20 * 1024, "{before} KiB, then {after} KiB");
    // the flush has a limit of its own: the sinks answer after an hour
    server.terminate().await;
    server.exit().await;
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut closed = lines.filter(|line| line["event_type"] == "traces.closed");
    let closed = closed.next().unwrap();
    let count = |name: &str| closed[name].as_u64().unwrap();
    assert_eq!(count("emitted"), count("delivered") + count("dropped"), "{closed}");
    assert!(count("dropped") > 0 && count("delivered") > 0, "{closed}");
}
