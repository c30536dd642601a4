//! Recording rules and alerts that belong to no SLO.

use super::{
    annotations::Annotations,
    source::{Alert, Components, Links},
    yaml::{self, Kind, Rule},
};

pub(super) fn records(components: &Components) -> String {
    let rules = components.records.iter();
    let rules = rules.map(|rule| Rule::record(rule.record.clone(), rule.expr.clone()));
    yaml::rules("mlsdm-records", &rules.collect::<Vec<_>>())
}

pub(super) fn alerts(components: &Components, links: &Links) -> String {
    let rules = components.alerts().map(|alert| rule(alert, links));
    yaml::rules("mlsdm-alerts", &rules.collect::<Vec<_>>())
}

fn rule(alert: &Alert, links: &Links) -> Rule {
    let annotations = Annotations {
        name: &alert.name,
        summary: alert.summary.clone(),
        description: format!("{} The value is {{{{ $value }}}}.", alert.description.trim()),
        dashboard: &alert.dashboard,
    };
    Rule {
        kind: Kind::Alert,
        name: alert.name.clone(),
        expr: alert.expr.clone(),
        pending_for: alert.pending_for.clone(),
        labels: vec![("severity", alert.severity.as_str().to_owned())],
        annotations: annotations.into_pairs(links),
    }
}
