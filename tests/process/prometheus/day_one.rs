//! The first minute of a new stack: zeros instead of missing data, and no alert.

use mlsdm::testkit::{TestDatabase, TestEnv};
use serde_json::Value;

use super::stack::{Plan, Prometheus, rules};
use crate::metrics::address_of;

async fn names_of_rules(prometheus: &Prometheus, kind: &str) -> Vec<String> {
    let data = prometheus.data("rules", &[("type", kind)]).await;
    let groups = data["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
    let mut names: Vec<String> =
        rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect();
    names.dedup();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_stack_shows_zeros_and_only_the_watchdog_fires() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    let targets = vec![address_of(&server).await];
    let prometheus = Prometheus::start(&Plan { targets, rules: rules(), ..Plan::default() }).await;
    prometheus.until("min(up{job=\"mlsdm\"})", |up| up > 0.5).await;
    prometheus.scrapes(5).await;
    let mut holes = Vec::new();
    for name in names_of_rules(&prometheus, "record").await {
        let found = prometheus.query(&name).await.unwrap();
        let is_hole = |series: &Value| series["value"][1] == "NaN";
        if found.is_empty() || found.iter().any(is_hole) {
            holes.push(format!("{name}: {found:?}"));
        }
    }
    assert!(holes.is_empty(), "{}", holes.join("\n"));
    for nothing in ["mlsdm:slo_errors:ratio_rate5m", "mlsdm:llm_errors:ratio_rate5m"] {
        assert_eq!(prometheus.number(&format!("max({nothing})")).await, Some(0.0), "{nothing}");
    }
    let left = "min(mlsdm:slo_error_budget_remaining:ratio)";
    assert_eq!(prometheus.number(left).await, Some(1.0), "the whole budget");
    let alerts = prometheus.data("alerts", &[]).await;
    let alerts = alerts["alerts"].as_array().unwrap();
    // the alert on a missing server is pending until the first scrape
    let firing: Vec<&str> = alerts
        .iter()
        .filter(|alert| alert["state"] == "firing")
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap())
        .collect();
    assert_eq!(firing, ["Watchdog"], "{alerts:?}");
    server.stop().await;
}
