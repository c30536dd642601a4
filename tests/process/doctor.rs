//! `mlsdm telemetry doctor` reports for each telemetry sink if a test signal arrives.

use mlsdm::testkit::{TestDatabase, TestEnv};
use serde_json::Value;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::metrics::address_of;

/// The status of each sink by its name.
fn statuses(report: &Value) -> Vec<(&str, &str)> {
    let sinks = report["sinks"].as_array().unwrap().iter();
    sinks.map(|line| (line["sink"].as_str().unwrap(), line["status"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn the_doctor_reports_the_status_of_each_sink() {
    let (database, folder) = (TestDatabase::sqlite(), tempfile::tempdir().unwrap());
    let file = folder.path().join("mlsdm.log");
    let server = TestEnv::new(database.url()).serve().await;
    let metrics = address_of(&server).await.rsplit(':').next().unwrap().to_owned();
    let port = server.base().rsplit(':').next().unwrap().to_owned();
    let here = TestEnv::new(database.url()).with("API_PORT", port).with("METRICS_PORT", metrics);
    let bare = here.run(&["telemetry", "doctor", "--json"]).await.exits(0);
    let report: Value = serde_json::from_str(&bare.stdout).unwrap();
    let expected = [
        ("stdout", "arrived"),
        ("file", "off"),
        ("loki", "off"),
        ("otlp", "off"),
        ("scrape", "arrived"),
    ];
    assert_eq!(statuses(&report), expected);

    // one of its own, which is gone when it is dropped
    let sink = MockServer::builder().start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&sink).await;
    let all = here
        .with("MLSDM__LOGGING__FILE", file.display())
        .with("MLSDM_LOKI_URL", sink.uri())
        .with("LOG_LEVEL", "ERROR")
        .with("OTEL_TRACES_SAMPLER", "always_off")
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", sink.uri());
    let run = all.run(&["telemetry", "doctor", "--json"]).await.exits(0);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(statuses(&report).iter().all(|(_, status)| *status == "arrived"), "{report}");
    let check = report["check"].as_str().unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains(check), "it can be found there");
    let pushed = sink.received_requests().await.unwrap();
    let pushed: Vec<_> = pushed.iter().map(|request| request.url.path()).collect();
    assert!(pushed.contains(&"/v1/traces") && pushed.contains(&"/loki/api/v1/push"), "{pushed:?}");
    server.stop().await;

    drop(sink);
    let run = all.run(&["telemetry", "doctor", "--json"]).await.exits(1);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let expected = [
        ("stdout", "arrived"),
        ("file", "arrived"),
        ("loki", "lost"),
        ("otlp", "lost"),
        ("scrape", "lost"),
    ];
    assert_eq!(statuses(&report), expected, "{report}");
    let fixes = report["sinks"].to_string();
    assert!(fixes.contains("MLSDM_LOKI_URL") && fixes.contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
}
