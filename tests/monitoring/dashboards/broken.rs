//! For each rule of the linter a dashboard that breaks it: a valid one with a single change.

use mlsdm::telemetry::dashboards::dashboard;
use serde_json::{Value, json};

use super::{
    lint::{RULES, lint},
    slo_limits,
    world::World,
};

const NAME: &str = "overview";

const GOOD: &str = r#"
title: Good
description: Nothing is wrong with it.
panels:
  - title: Steps
    description: Steps each second. None at all means that nobody asks, or that nothing is answered.
    kind: timeseries
    size: [12, 6]
    unit: ops
    link: slo
    queries:
      - { expr: "sum by (engine) (rate(mlsdm_steps_total{..}[$__rate_interval]))", legend: "{{engine}}" }
  - title: Slow
    description: The slowest in twenty, in seconds. Rising means that the model is slow, or the database.
    kind: timeseries
    size: [12, 6]
    unit: s
    queries:
      - expr: histogram_quantile(0.95, sum by (le) (rate(mlsdm_latency_seconds_bucket{..}[$__rate_interval])))
        legend: 95 %
"#;

const GOOD_LOGS: &str = r#"
title: Good
description: Nothing is wrong with it.
datasource: loki
panels:
  - title: Lines
    description: Lines each second. None at all means that nothing is sent, or that nothing runs.
    kind: timeseries
    size: [12, 6]
    unit: ops
    queries:
      - { expr: "sum by (level) (rate({..} | json [$__auto]))", legend: "{{level}}" }
"#;

fn good(source: &str) -> Value {
    serde_json::from_str(&dashboard(NAME, source, &slo_limits()).unwrap()).unwrap()
}

type Change = fn(&mut Value);

fn expr(dashboard: &mut Value) -> &mut Value {
    &mut dashboard["panels"][0]["targets"][0]["expr"]
}

fn replace(value: &mut Value, from: &str, to: &str) {
    let text = value.as_str().unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    *value = text.replace(from, to).into();
}

/// A rule, a change that breaks it, and a part of the finding.
const BREAKING: [(&str, Change, &str); 37] = [
    ("template-datasource-rule", |d| d["templating"]["list"][0]["name"] = "ds".into(), "ds"),
    (
        "template-datasource-rule",
        |d| d["templating"]["list"][0]["type"] = "custom".into(),
        "not one",
    ),
    ("template-job-rule", |d| d["templating"]["list"][1]["allValue"] = ".*".into(), "job"),
    (
        "template-job-rule",
        |d| d["templating"]["list"][1]["name"] = "jobs".into(),
        "no variable job",
    ),
    ("template-instance-rule", |d| d["templating"]["list"][2]["multi"] = false.into(), "instance"),
    (
        "template-label-promql-rule",
        |d| d["templating"]["list"][2]["query"]["query"] = "label_values(up{, instance)".into(),
        "label_values",
    ),
    (
        "template-label-promql-rule",
        |d| d["templating"]["list"][2]["query"]["query"] = "label_values(gone, instance)".into(),
        "gone",
    ),
    (
        "template-on-time-change-reload-rule",
        |d| d["templating"]["list"][1]["refresh"] = 1.into(),
        "job",
    ),
    ("uneditable-dashboard", |d| d["editable"] = true.into(), "editable"),
    ("uid-is-the-name", |d| d["uid"] = "overview".into(), "overview"),
    ("time-and-refresh", |d| d["time"]["from"] = "2026-01-01".into(), "2026"),
    ("no-inputs", |d| d["__inputs"] = json!([]), "inputs"),
    ("no-inputs", |d| d["title"] = "${DS_PROMETHEUS}".into(), "inputs"),
    ("links-resolve", |d| d["links"] = json!([]), "no links"),
    ("links-resolve", |d| d["links"][1]["tags"] = json!(["mlsdm-prometheus"]), "mlsdm-logs"),
    ("links-resolve", |d| d["panels"][0]["links"][0]["url"] = "/d/mlsdm-gone".into(), "mlsdm-gone"),
    (
        "links-carry-what-means-the-same",
        |d| d["links"][1]["includeVars"] = true.into(),
        "mlsdm-loki",
    ),
    (
        "links-carry-what-means-the-same",
        |d| replace(&mut d["panels"][0]["links"][0]["url"], "mlsdm-slo", "mlsdm-logs"),
        "mlsdm-logs",
    ),
    ("variables-exist", |d| replace(expr(d), "$job", "$jobs"), "$jobs"),
    (
        "few-panels",
        |d| {
            let panel = d["panels"][0].clone();
            d["panels"].as_array_mut().unwrap().extend(vec![panel; 13]);
        },
        "15 panels",
    ),
    ("panel-ids-are-unique", |d| d["panels"][1]["id"] = 1.into(), "twice"),
    ("panels-do-not-overlap", |d| d["panels"][1]["gridPos"]["x"] = 11.into(), "Slow"),
    ("panels-do-not-overlap", |d| d["panels"][1]["gridPos"]["w"] = 13.into(), "Slow"),
    ("panel-datasource-rule", |d| d["panels"][0]["datasource"]["uid"] = "prom".into(), "Steps"),
    (
        "panel-datasource-rule",
        |d| d["panels"][0]["targets"][0]["datasource"]["uid"] = "prom".into(),
        "Steps",
    ),
    ("panel-title-description-rule", |d| d["panels"][1]["title"] = "".into(), "slowest"),
    ("panel-title-description-rule", |d| d["panels"][1]["description"] = "Slow.".into(), "Slow"),
    (
        "panel-units-rule",
        |d| d["panels"][0]["fieldConfig"]["defaults"]["unit"] = "furlongs".into(),
        "furlongs",
    ),
    ("panel-no-targets-rule", |d| d["panels"][0]["targets"] = json!([]), "Steps"),
    (
        "panel-says-when-empty",
        |d| d["panels"][0]["fieldConfig"]["defaults"]["mappings"] = json!([]),
        "Steps",
    ),
    ("target-promql-rule", |d| replace(expr(d), "))", ")"), "Steps"),
    ("target-rate-interval-rule", |d| replace(expr(d), "$__rate_interval", "5m"), "Steps"),
    ("target-job-rule", |d| replace(expr(d), "=~\"$job\"", "=\"mlsdm\""), "Steps"),
    ("target-instance-rule", |d| replace(expr(d), ", instance=~\"$instance\"", ""), "Steps"),
    ("target-counter-agg-rule", |d| replace(expr(d), "rate(", "max_over_time("), "Steps"),
    ("series-and-labels-exist", |d| replace(expr(d), "mlsdm_steps", "mlsdm_stops"), "mlsdm_stops"),
    ("series-and-labels-exist", |d| replace(expr(d), "by (engine)", "by (motor)"), "motor"),
];

/// More changes, each with the dashboard that it applies to.
const BREAKING_OTHERS: [(&str, &str, Change, &str); 4] = [
    (
        "target-histogram-rule",
        GOOD,
        |d| {
            *expr(d) = d["panels"][1]["targets"][0]["expr"]
                .as_str()
                .unwrap()
                .replace("histogram_quantile(0.95, ", "(")
                .into();
        },
        "mlsdm_latency_seconds_bucket",
    ),
    (
        "series-and-labels-exist",
        GOOD,
        |d| d["panels"][0]["targets"][0]["legendFormat"] = "{{route}}".into(),
        "route",
    ),
    ("target-logql-auto-rule", GOOD_LOGS, |d| replace(expr(d), "$__auto", "5m"), "[5m"),
    ("target-logql-auto-rule", GOOD_LOGS, |d| replace(expr(d), "$job", "mlsdm"), "$job"),
];

#[test]
fn a_valid_dashboard_breaks_no_rule() {
    let world = World::of_the_repository();
    for source in [GOOD, GOOD_LOGS] {
        assert_eq!(lint(NAME, &good(source), &world), Vec::<String>::new());
    }
}

#[test]
fn each_rule_finds_its_violation() {
    let world = World::of_the_repository();
    let of_the_first =
        BREAKING.iter().map(|(rule, change, expected)| (*rule, GOOD, *change, *expected));
    let all: Vec<_> = of_the_first.chain(BREAKING_OTHERS).collect();
    for (rule, source, change, expected) in &all {
        let mut broken = good(source);
        change(&mut broken);
        let found = lint(NAME, &broken, &world);
        let mut of_the_rule =
            found.iter().filter(|finding| finding.starts_with(&format!("{rule}:")));
        assert!(
            of_the_rule.any(|finding| finding.contains(expected)),
            "{rule}, {expected}: {found:#?}"
        );
    }
    for (rule, _) in RULES {
        assert!(all.iter().any(|(broken, ..)| *broken == rule), "no dashboard breaks {rule}");
    }
}
