//! The annotations of an alert, as the templates of Alertmanager read them.

use super::source::Links;

/// The annotations of an alert. The runbook anchor is the alert name in lower case.
#[derive(Debug)]
pub(super) struct Annotations<'a> {
    pub(super) name: &'a str,
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) dashboard: &'a str,
}

impl Annotations<'_> {
    pub(super) fn into_pairs(self, links: &Links) -> Vec<(&'static str, String)> {
        let Self { name, summary, description, dashboard } = self;
        vec![
            ("summary", summary),
            ("description", description),
            ("runbook_url", format!("{}#{}", links.runbook, name.to_lowercase())),
            ("dashboard_url", format!("{}/d/{dashboard}", links.grafana)),
        ]
    }
}
