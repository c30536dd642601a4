//! The series, labels and dashboards that a dashboard may refer to.

use std::collections::{BTreeMap, BTreeSet};

use mlsdm::http::metrics::contract::{ALL, Kind, Spec};
use serde_json::Value;

use super::{NAMES, lint::source, load};
use crate::files;

/// Series that Prometheus generates for scrapes and alerts.
const OWN: [(&str, &[&str]); 4] = [
    ("up", &[]),
    ("scrape_duration_seconds", &[]),
    ("scrape_samples_scraped", &[]),
    ("ALERTS", &["alertname", "alertstate", "severity"]),
];

/// Everything that a dashboard may refer to.
#[derive(Debug)]
pub(super) struct World {
    /// The labels of each series; `None` for the results of recording rules.
    pub(super) series: BTreeMap<String, Option<BTreeSet<&'static str>>>,
    /// All dashboards by id.
    pub(super) boards: BTreeMap<String, Board>,
}

/// The properties of a dashboard that links depend on.
#[derive(Debug)]
pub(super) struct Board {
    /// The type of its data source: `prometheus` or `loki`.
    pub(super) asks: String,
    pub(super) tags: Vec<Value>,
}

impl World {
    pub(super) fn of_the_repository() -> Self {
        let mut series = BTreeMap::new();
        for (name, labels) in ALL.iter().flat_map(exposed) {
            series.insert(name, Some(labels));
        }
        for (name, labels) in &OWN {
            series.insert((*name).to_owned(), Some(labels.iter().copied().collect()));
        }
        for name in recorded() {
            series.insert(name, None);
        }
        let boards = NAMES.iter().map(|name| {
            let json = load(name);
            let tags = json["tags"].as_array().unwrap().clone();
            (format!("mlsdm-{name}"), Board { asks: source(&json).to_owned(), tags })
        });
        Self { series, boards: boards.collect() }
    }
}

/// The series of a metric, with their labels.
fn exposed(spec: &Spec) -> Vec<(String, BTreeSet<&'static str>)> {
    let labels: BTreeSet<&str> = spec.labels.iter().copied().collect();
    match spec.kind {
        Kind::Counter | Kind::Gauge | Kind::Info => vec![(spec.name.to_owned(), labels)],
        Kind::Histogram => {
            let mut bucket = labels.clone();
            bucket.insert("le");
            vec![
                (format!("{}_bucket", spec.name), bucket),
                (format!("{}_sum", spec.name), labels.clone()),
                (format!("{}_count", spec.name), labels),
            ]
        }
    }
}

/// The names of the series that recording rules create.
fn recorded() -> BTreeSet<String> {
    let folder = "deploy/monitoring/prometheus/rules";
    let mut names = BTreeSet::new();
    for file in files::names(folder, "yaml") {
        let rules = files::yaml(&format!("{folder}/{file}.yaml"));
        for group in rules["groups"].as_array().unwrap() {
            let rules = group["rules"].as_array().unwrap();
            let made = rules.iter().filter_map(|rule| rule["record"].as_str());
            names.extend(made.map(ToOwned::to_owned));
        }
    }
    names
}
