//! A real Prometheus looks at the real server: what is shipped for it is run, not read.

mod alerting;
mod cardinality;
mod day_one;
mod expressions;
mod scenario;
mod stack;

use std::collections::BTreeSet;

use mlsdm::telemetry::metrics::contract::{ALL, Kind as Type};

use crate::{metrics::address_of, server::send};
use stack::{Plan, Prometheus};

/// Names of the series that the contract promises.
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

/// Names of the series that Prometheus has from the server, without those it makes itself.
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

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_expression_has_data_after_the_scenario() {
    let rig = scenario::rig().await;
    let (_database, canary) = scenario::canary().await;
    let targets = vec![address_of(&rig.server), address_of(&canary)];
    let plan = Plan { targets, rules: stack::rules(), ..Plan::default() };
    let prometheus = Prometheus::start(&plan).await;
    prometheus.until("min(up{job=\"mlsdm\"})", |up| up > 0.5).await;
    prometheus.scrapes(1).await;
    rig.play().await;
    send(canary.ask("default", "bob", "Hello")).await.unwrap().ok();
    prometheus.scrapes(4).await;
    let (promised, scraped) = (promised(), scraped(&prometheus).await);
    assert_eq!(promised, scraped, "what is promised, and what is there");
    let mut all = expressions::of_rules(&prometheus).await;
    all.extend(expressions::of_dashboards());
    let silent = expressions::without_data(&prometheus, &all).await;
    let count = silent.len();
    assert!(silent.is_empty(), "{count} of {}:\n{}", all.len(), silent.join("\n"));
    canary.stop().await;
    rig.server.stop().await;
}
