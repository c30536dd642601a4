//! An SLO alert and its resolution, from the counters of the server through Prometheus and
//! Alertmanager to a receiver.

use std::fs;

use mlsdm::{
    telemetry::rules::{Slo, slo_rules},
    testkit::{TestDatabase, TestEnv, double::Double, eventually, send},
};
use reqwest::RequestBuilder;
use serde_json::Value;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::stack::{Alertmanager, Plan, Prometheus, repository};
use crate::metrics::address_of;

/// The alert under test.
const ALERT: &str = "MlsdmAvailabilityBurn";

/// The shipped SLOs with windows of seconds instead of hours.
fn hurried() -> Slo {
    let text = fs::read_to_string(repository().join("alerts/slo.yaml")).unwrap();
    let shipped = "{ long: 1h, short: 5m, for: 2m, severity: page }";
    assert!(text.contains(shipped));
    let hurried = "{ long: 40s, short: 5s, for: 2s, severity: page }";
    Slo::parse(&text.replace(shipped, hurried)).unwrap()
}

async fn receiver() -> MockServer {
    let receiver = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&receiver).await;
    receiver
}

/// Sends requests until the receiver is notified of an alert with this status; gives the alert.
async fn notified(receiver: &MockServer, status: &str, ask: impl Fn() -> RequestBuilder) -> Value {
    eventually(&format!("the notification that {ALERT} is {status}"), async || {
        drop(send(ask()).await.unwrap());
        for request in receiver.received_requests().await.unwrap() {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let alerts = body["alerts"].as_array().unwrap();
            let is_it =
                |alert: &&Value| alert["labels"]["alertname"] == ALERT && alert["status"] == status;
            if let Some(alert) = alerts.iter().find(is_it) {
                assert_eq!(request.url.path(), "/page");
                return Ok(alert.clone());
            }
        }
        Err("it has not arrived")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burning_slo_notifies_the_receiver_and_so_does_its_resolution() {
    let receiver = receiver().await;
    let alertmanager = Alertmanager::start(&receiver.uri()).await;
    let folder = tempfile::tempdir().unwrap();
    let rules = slo_rules(&hurried()).into_iter().map(|(name, text)| {
        let file = folder.path().join(name.replace('/', "-"));
        fs::write(&file, text).unwrap();
        file
    });
    // the provider closes every connection
    let double = Double::new([]).await;
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url())
        .with("MLSDM_SLEEP_DURATION", 0)
        .with("MLSDM__LLM__ENGINES", "broken=openai:m-1")
        .with("MLSDM__LLM__OPENAI__BASE_URL", &double.url)
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1)
        .serve()
        .await;
    let create = server.post("/v1/engines").json(&serde_json::json!({"engine_id": "broken"}));
    send(create).await.unwrap().ok();
    let prometheus = Prometheus::start(&Plan {
        targets: vec![address_of(&server).await],
        rules: rules.collect(),
        alertmanager: Some(alertmanager.address()),
        ..Plan::default()
    })
    .await;
    prometheus.until("min(up{job=\"mlsdm\"})", |up| up > 0.5).await;
    let firing = notified(&receiver, "firing", || server.ask("broken", "ann", "Hello")).await;
    assert_eq!(firing["labels"]["severity"], "page", "{firing}");
    assert_eq!(firing["labels"]["slo"], "availability", "{firing}");
    for annotation in ["summary", "description", "runbook_url", "dashboard_url"] {
        let text = firing["annotations"][annotation].as_str().unwrap();
        assert!(text.len() > 10 && !text.contains("{{") && !text.contains("<error"), "{firing}");
    }
    notified(&receiver, "resolved", || server.ask("default", "ann", "Hello")).await;
    server.stop().await;
}
