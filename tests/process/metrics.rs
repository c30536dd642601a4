//! Metrics of the real server as Prometheus scrapes them.
#![expect(clippy::float_cmp, reason = "counts are exact, and so are sums of few digits")]

use std::net::TcpListener;

use mlsdm::{
    http::metrics::contract::{ALL, Kind as Type},
    testkit::{TestDatabase, TestEnv, TestServer, on_every_database, send},
};

on_every_database!(TestDatabase: a_scripted_scenario_is_counted);

/// The address of the metrics, which the server logs once when it starts.
pub(crate) async fn address_of(server: &TestServer) -> String {
    // the log is written asynchronously
    server.until_logged("server.started", 1).await;
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut started = lines.filter(|line| line["event_type"] == "server.started");
    let address = started.next().expect("a line server.started")["metrics"].clone();
    address.as_str().expect("an address of the metrics").to_owned()
}

pub(crate) async fn scrape(server: &TestServer) -> String {
    let answer =
        reqwest::get(format!("http://{}/metrics", address_of(server).await)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    answer.text().await.unwrap()
}

pub(crate) fn value(text: &str, series: &str) -> f64 {
    let mut found = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.next().unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
}

async fn a_scripted_scenario_is_counted(database: TestDatabase) {
    let server = TestEnv::new(database.url()).serve().await;
    let at_first = scrape(&server).await;
    assert_eq!(value(&at_first, "mlsdm_steps_total{engine=\"default\"}"), 0.0);
    send(server.ask("default", "ann", "geheim one")).await.unwrap().ok();
    send(server.ask("default", "bob", "geheim two")).await.unwrap().ok();
    assert_eq!(send(server.get("/nowhere")).await.unwrap().status, 404);
    assert_eq!(
        send(server.get("/metrics")).await.unwrap().status,
        404,
        "metrics have a port of their own"
    );
    let text = scrape(&server).await;
    for (series, expected) in [
        ("mlsdm_steps_total{engine=\"default\"}", 2.0),
        ("mlsdm_accepted_total{engine=\"default\"}", 2.0),
        ("mlsdm_requests_total{engine=\"default\"}", 2.0),
        ("mlsdm_memory_used{engine=\"default\"}", 2.0),
        ("mlsdm_moral_threshold_bound{engine=\"default\",bound=\"min\"}", 0.5),
        ("mlsdm_moral_threshold_bound{engine=\"default\",bound=\"max\"}", 0.6),
        ("mlsdm_latency_seconds_count", 2.0),
        ("mlsdm_generation_duration_seconds_count", 2.0),
        ("mlsdm_retrieval_duration_seconds_count", 2.0),
        ("mlsdm_events_appended_total{type=\"step.admitted\"}", 2.0),
        ("mlsdm_events_appended_total{type=\"step.completed\"}", 2.0),
        ("mlsdm_governance_overhead_seconds_count{stage=\"total\"}", 2.0),
        ("mlsdm_llm_attempts_total{provider=\"local_stub\",outcome=\"success\"}", 2.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    assert!(value(&text, "mlsdm_event_append_duration_seconds_count") >= 2.0);
    assert!(!text.contains("geheim"));
    for spec in ALL.iter() {
        let name = match spec.kind {
            Type::Histogram => format!("\n{}_bucket{{", spec.name),
            Type::Counter | Type::Gauge | Type::Info => format!("\n{}", spec.name),
        };
        assert!(text.contains(&name), "{} is missing", spec.name);
    }
}

#[tokio::test]
async fn a_metrics_port_that_is_taken_fails_the_start_with_the_remedy() {
    let database = TestDatabase::sqlite();
    let ports = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let [taken, free] = ports.each_ref().map(|port| port.local_addr().unwrap().port());
    let [_taken, released] = ports;
    drop(released);
    let env = TestEnv::new(database.url()).with("METRICS_PORT", taken).with("API_PORT", free);
    let run = env.run(&["serve"]).await;
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("METRICS_PORT"), "{run:?}");
}

#[tokio::test]
async fn metrics_can_be_disabled() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).with("METRICS_ENABLED", false).serve().await;
    server.until_logged("server.started", 1).await;
    let log = server.log();
    let started = log.lines().find(|line| line.contains("server.started")).unwrap();
    assert!(!started.contains("\"metrics\""), "{started}");
}
