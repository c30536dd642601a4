//! A linter with the rules of `grafana/dashboard-linter`, under their original names, and more
//! rules.
//!
//! A finding is a line with the dashboard, the rule and the violation. `broken.rs` has a dashboard
//! for each rule.

mod dashboard;
mod panel;
mod query;

use serde_json::Value;

use super::world::World;

/// A rule gives its violations.
type Rule = fn(&Subject<'_>) -> Vec<String>;

/// All rules, by name.
pub(super) const RULES: [(&str, Rule); 28] = [
    ("template-datasource-rule", dashboard::datasource),
    ("template-job-rule", dashboard::job),
    ("template-instance-rule", dashboard::instance),
    ("template-label-promql-rule", dashboard::label_values),
    ("template-on-time-change-reload-rule", dashboard::reload),
    ("uneditable-dashboard", dashboard::uneditable),
    ("uid-is-the-name", dashboard::uid),
    ("time-and-refresh", dashboard::time),
    ("no-inputs", dashboard::inputs),
    ("links-resolve", dashboard::links),
    ("links-carry-what-means-the-same", dashboard::carried),
    ("variables-exist", dashboard::variables),
    ("few-panels", panel::few),
    ("panel-ids-are-unique", panel::ids),
    ("panels-do-not-overlap", panel::places),
    ("panel-datasource-rule", panel::datasource),
    ("panel-title-description-rule", panel::title),
    ("panel-units-rule", panel::units),
    ("panel-no-targets-rule", panel::targets),
    ("panel-says-when-empty", panel::empty),
    ("target-promql-rule", query::valid),
    ("target-rate-interval-rule", query::rate_interval),
    ("target-job-rule", query::job),
    ("target-instance-rule", query::instance),
    ("target-counter-agg-rule", query::counters),
    ("target-histogram-rule", query::histograms),
    ("target-logql-auto-rule", query::auto),
    ("series-and-labels-exist", query::contract),
];

/// The dashboard to lint.
#[derive(Debug)]
pub(super) struct Subject<'d> {
    /// The file name.
    name: &'d str,
    json: &'d Value,
    world: &'d World,
}

impl<'d> Subject<'d> {
    fn panels(&self) -> &'d [Value] {
        list(&self.json["panels"])
    }

    fn variables(&self) -> &'d [Value] {
        list(&self.json["templating"]["list"])
    }

    fn variable(&self, name: &str) -> Option<&'d Value> {
        self.variables().iter().find(|variable| variable["name"] == name)
    }

    /// The type of its data source: `prometheus` or `loki`.
    fn asks(&self) -> &'d str {
        source(self.json)
    }

    /// All queries, with the titles of their panels.
    fn queries(&self) -> impl Iterator<Item = (&'d str, &'d Value, &'d Value)> {
        self.panels().iter().flat_map(|panel| {
            list(&panel["targets"]).iter().map(move |query| (string(&panel["title"]), panel, query))
        })
    }
}

/// The type of the data source of a dashboard: `prometheus` or `loki`.
pub(super) fn source(json: &Value) -> &str {
    let mut all = list(&json["templating"]["list"]).iter();
    let source = all.find(|variable| variable["type"] == "datasource");
    source.map_or("", |source| string(&source["query"]))
}

/// All findings, one per line, each of which starts with the name of the rule.
pub(super) fn lint(name: &str, json: &Value, world: &World) -> Vec<String> {
    let subject = Subject { name, json, world };
    let broken = RULES.iter().flat_map(|(rule, broken)| {
        broken(&subject).into_iter().map(move |what| format!("{rule}: {name}: {what}"))
    });
    broken.collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A finding, unless the condition holds.
fn unless(holds: bool, finding: impl Into<String>) -> Vec<String> {
    if holds { Vec::new() } else { vec![finding.into()] }
}
