//! Prometheus rules: generated files are up to date, and promtool accepts and tests them.

use std::collections::BTreeSet;

use mlsdm::{
    http::metrics::contract::{ALL, Kind},
    telemetry::rules::{Sources, files},
};
use promql_parser::{
    parser::{self, Expr},
    util::{ExprVisitor, walk_expr},
};

use crate::{read, run};

/// The ids of the shipped dashboards.
const DASHBOARDS: [&str; 8] =
    ["overview", "slo", "governance", "llm", "event-log", "canary", "logs", "telemetry"];

fn promtool(arguments: &[&str]) -> String {
    run("prometheus", "promtool", arguments)
}

fn rule_files() -> Vec<String> {
    let names = ["slo-records", "slo-alerts", "records", "alerts"];
    names.map(|name| format!("deploy/monitoring/prometheus/rules/{name}.yaml")).to_vec()
}

#[test]
fn generated_rules_are_up_to_date() {
    let metrics: Vec<&str> = ALL.iter().map(|spec| spec.name).collect();
    let sources = Sources {
        slo: &read("alerts/slo.yaml"),
        components: &read("alerts/components.yaml"),
        canary: &read("alerts/canary.yaml"),
        runbook: &read("deploy/RUNBOOK.md"),
        metrics: &metrics,
    };
    for (name, text) in files(&sources).unwrap() {
        assert!(read(&name) == text, "{name} is out of date: run `mlsdm telemetry generate`");
    }
}

#[test]
fn prometheus_accepts_the_configuration_and_the_rules() {
    promtool(&["check", "config", "deploy/monitoring/prometheus/prometheus.yml"]);
    let files = rule_files();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    promtool(&[&["check", "rules", "--lint=all", "--lint-fatal"], &files[..]].concat());
}

#[test]
fn recorded_ratios_match_their_series() {
    promtool(&["test", "rules", "deploy/monitoring/prometheus/tests/slo-records.yaml"]);
}

#[test]
fn burning_slos_fire_their_alerts() {
    promtool(&["test", "rules", "deploy/monitoring/prometheus/tests/slo-alerts.yaml"]);
}

#[test]
fn every_other_alert_fires_and_resolves() {
    promtool(&["test", "rules", "deploy/monitoring/prometheus/tests/alerts.yaml"]);
}

/// The rules of a file.
fn rules_of(file: &str) -> Vec<serde_json::Value> {
    let whole: serde_json::Value = serde_saphyr::from_str(&read(file)).unwrap();
    whole["groups"][0]["rules"].as_array().unwrap().clone()
}

fn all_rules() -> Vec<serde_json::Value> {
    rule_files().iter().flat_map(|file| rules_of(file)).collect()
}

#[test]
fn every_alert_has_a_runbook_a_dashboard_and_a_severity() {
    let runbook = read("deploy/RUNBOOK.md");
    let headings: Vec<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts = all_rules().into_iter().filter(|rule| rule["alert"].is_string());
    let mut names = BTreeSet::new();
    for rule in alerts {
        let name = rule["alert"].as_str().unwrap();
        names.insert(name.to_owned());
        assert!(["page", "ticket", "none"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        let annotation =
            |key: &str| rule["annotations"][key].as_str().unwrap_or_default().to_owned();
        for key in ["summary", "description"] {
            assert!(annotation(key).len() > 10, "{name}: {key}");
        }
        let (_, anchor) = annotation("runbook_url")
            .rsplit_once('#')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert!(headings.iter().any(|heading| heading.to_lowercase() == anchor), "{name}");
        let (_, uid) = annotation("dashboard_url")
            .rsplit_once("/d/mlsdm-")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert!(DASHBOARDS.contains(&uid.as_str()), "{name}: {uid}");
        let query = rule["expr"].as_str().unwrap();
        assert!(runbook.contains(query), "{name}: the runbook does not have its query");
    }
    assert!(names.len() > 20, "{names:?}");
}

/// The names of the series in an expression.
struct Names(BTreeSet<String>);

impl ExprVisitor for Names {
    type Error = &'static str;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        if let Expr::VectorSelector(selector) = expression {
            self.0.insert(selector.name.clone().ok_or("a selector without a name")?);
        }
        if let Expr::MatrixSelector(selector) = expression {
            self.0.insert(selector.vs.name.clone().ok_or("a selector without a name")?);
        }
        Ok(true)
    }
}

#[test]
fn rules_use_only_series_that_are_exported() {
    let mut known: BTreeSet<String> = ["up".to_owned()].into();
    for spec in ALL.iter() {
        match spec.kind {
            Kind::Histogram => known.extend(
                ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", spec.name)),
            ),
            Kind::Counter | Kind::Gauge | Kind::Info => {
                known.insert(spec.name.to_owned());
            }
        }
    }
    let rules = all_rules();
    known.extend(rules.iter().filter_map(|rule| Some(rule["record"].as_str()?.to_owned())));
    for rule in &rules {
        let mut names = Names(BTreeSet::new());
        let expression = rule["expr"].as_str().unwrap();
        let parsed = parser::parse(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
        walk_expr(&mut names, &parsed).unwrap();
        let unknown: Vec<&String> = names.0.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?} in {expression}");
        // an SLO must not count the requests of other jobs
        for name in
            names.0.iter().filter(|name| name.starts_with("http_") || name.starts_with("db_"))
        {
            assert!(expression.contains("job=\"mlsdm\""), "{name} in {expression}");
        }
    }
}
