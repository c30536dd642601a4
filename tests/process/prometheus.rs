//! A real Prometheus scrapes the real server and evaluates the shipped rules and dashboards.

mod alerting;
mod cardinality;
mod day_one;
mod expressions;
mod past;
mod scenario;
mod stack;

use std::collections::BTreeSet;

use mlsdm::{
    http::metrics::contract::{ALL, Kind as Type},
    testkit::send,
};

use crate::metrics::address_of;
use stack::{Plan, Prometheus};

/// The names of the series in the contract.
fn promised() -> BTreeSet<String> {
    let names = ALL.iter().flat_map(|spec| match spec.kind {
        Type::Histogram => vec!["_bucket", "_sum", "_count"]
            .into_iter()
            .map(|suffix| format!("{}{suffix}", spec.name))
            .collect(),
        Type::Counter | Type::Gauge | Type::Info => vec![spec.name.to_owned()],
    });
    names.collect()
}

/// The names of the series that Prometheus has scraped from the server.
async fn scraped(prometheus: &Prometheus) -> BTreeSet<String> {
    let query = [("match[]", "{job=\"mlsdm\"}")];
    let names = prometheus.data("label/__name__/values", &query).await;
    let names = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let own = |name: &str| {
        name == "up"
            || name.starts_with("scrape_")
            || name.contains(':')
            || name.starts_with("ALERTS")
    };
    names.filter(|name| !own(name)).collect()
}

/// The routes that run steps.
const GOVERNED: [&str; 11] = [
    "/generate",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/engines/{engine}/chat/completions",
    "/v1/engines/{engine}/completions",
    "/v1/engines/{engine}/generate",
    "/v1/engines/{engine}/messages",
    "/v1/engines/{engine}/responses",
    "/v1/generate",
    "/v1/messages",
    "/v1/responses",
];

/// The routes that the availability SLO covers.
async fn governed(prometheus: &Prometheus) -> Vec<String> {
    let slo = std::fs::read_to_string(stack::repository().join("alerts/slo.yaml")).unwrap();
    let pattern = slo.lines().find_map(|line| line.strip_prefix("governed: ")).unwrap();
    let routes = format!("group by (route) (http_requests_total{{route=~\"{pattern}\"}})");
    let found = prometheus.query(&routes).await.unwrap();
    let mut routes: Vec<String> =
        found.iter().map(|series| series["metric"]["route"].as_str().unwrap().to_owned()).collect();
    routes.sort();
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_expression_has_data_after_the_scenario() {
    let scenario = scenario::start().await;
    let (_database, canary) = scenario::canary().await;
    let targets = vec![address_of(&scenario.server).await, address_of(&canary).await];
    let plan = Plan { targets, rules: stack::rules(), ..Plan::default() };
    let prometheus = Prometheus::start(&plan).await;
    prometheus.until("min(up{job=\"mlsdm\"})", |up| up > 0.5).await;
    prometheus.scrapes(1).await;
    scenario.play().await;
    send(canary.ask("default", "bob", "Hello")).await.unwrap().ok();
    prometheus.scrapes(4).await;
    let refused = prometheus.number("sum(mlsdm_shutdown_refusals_total)").await;
    assert_eq!(refused, Some(1.0), "one request to the engine that was shut down");
    let (promised, scraped) = (promised(), scraped(&prometheus).await);
    assert_eq!(promised, scraped, "the contract and the scraped series");
    assert_eq!(
        governed(&prometheus).await,
        GOVERNED,
        "the routes of `governed` in alerts/slo.yaml"
    );
    let mut all = expressions::of_rules(&prometheus).await;
    all.extend(expressions::of_dashboards());
    let silent = expressions::without_data(&prometheus, &all).await;
    let count = silent.len();
    assert!(silent.is_empty(), "{count} of {}:\n{}", all.len(), silent.join("\n"));
    canary.stop().await;
    scenario.server.stop().await;
}
