//! Prometheus rules, their tests and their documents, made from `alerts/slo.yaml` (what is promised) and
//! `alerts/components.yaml` (what else can go wrong).
//!
//! One pure function from texts to files, so that nothing is typed twice: not a limit, not the query
//! in a runbook. Tests run what comes out: `promtool` on the rules, a live Prometheus on each
//! expression. Deliberately not here: how alerts are sent, which `alertmanager.yml` says by hand.

mod components;
mod document;
mod objectives;
mod proof;
mod source;
#[cfg(test)]
mod tests;
mod yaml;

pub use source::{Burn, Canary, Components, Error, Objective, Severity, Slo};

/// The texts that files are made from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `alerts/slo.yaml`.
    pub slo: &'a str,
    /// `alerts/components.yaml`.
    pub components: &'a str,
    /// `deploy/RUNBOOK.md` as it is: the sections of alerts are put in their place.
    pub runbook: &'a str,
    /// Names of the metrics there are.
    pub metrics: &'a [&'a str],
}

/// Paths from the root of the repository, with contents.
pub type Files = Vec<(String, String)>;

/// All files.
///
/// # Errors
/// When a source cannot be read as what it is.
pub fn files(sources: &Sources<'_>) -> Result<Files, Error> {
    let slo = Slo::parse(sources.slo)?;
    let components = Components::parse(sources.components, &slo, sources.metrics)?;
    let monitoring = |name: &str| format!("deploy/monitoring/prometheus/{name}");
    let mut files = slo_rules(&slo);
    files.push(("rules/records.yaml".to_owned(), components::records(&components)));
    files.push(("rules/alerts.yaml".to_owned(), components::alerts(&components, &slo.links)));
    files.push(("tests/slo-records.yaml".to_owned(), proof::ratios(&slo)));
    files.push(("tests/slo-alerts.yaml".to_owned(), proof::burns(&slo)));
    files.push(("tests/alerts.yaml".to_owned(), proof::components(&components)));
    let mut files: Files =
        files.into_iter().map(|(name, text)| (monitoring(&name), text)).collect();
    files.push(("deploy/SLO.md".to_owned(), document::promises(&slo)));
    let runbook = document::runbook(sources.runbook, &slo, &components)?;
    files.push(("deploy/RUNBOOK.md".to_owned(), runbook));
    Ok(files)
}

/// The rules of promises alone.
pub fn slo_rules(slo: &Slo) -> Files {
    vec![
        (
            "rules/slo-records.yaml".to_owned(),
            yaml::rules("mlsdm-slo-records", &objectives::records(slo)),
        ),
        (
            "rules/slo-alerts.yaml".to_owned(),
            yaml::rules("mlsdm-slo-alerts", &objectives::alerts(slo)),
        ),
    ]
}

/// What every alert says beside its name. The anchor of a heading is its text in lower case.
#[derive(Debug)]
struct Told<'a> {
    name: &'a str,
    summary: String,
    description: String,
    dashboard: &'a str,
}

impl Told<'_> {
    fn annotations(self, links: &source::Links) -> Vec<(&'static str, String)> {
        let Self { name, summary, description, dashboard } = self;
        vec![
            ("summary", summary),
            ("description", description),
            ("runbook_url", format!("{}#{}", links.runbook, name.to_lowercase())),
            ("dashboard_url", format!("{}/d/{dashboard}", links.grafana)),
        ]
    }
}
