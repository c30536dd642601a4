//! Generates Prometheus rules, their unit tests and their documents from `alerts/slo.yaml` (SLOs)
//! and `alerts/components.yaml` (all other recording rules and alerts), the rules again as a resource of
//! Kubernetes, and the queries of a canary from `alerts/canary.yaml`.
//!
//! One pure function maps source texts to files, so each threshold and each query exists once. Tests
//! check the output: `promtool` runs the rules, and a live Prometheus evaluates every expression.
//! Alert routing is deliberately not here: `alertmanager.yml` is written by hand.

mod annotations;
mod canary;
mod components;
mod document;
mod objectives;
mod promtool;
mod source;
#[cfg(test)]
mod tests;
mod yaml;

pub use source::{BurnRate, Canary, Components, Error, Objective, Severity, Slo};

/// Source texts of the generated files.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `alerts/slo.yaml`.
    pub slo: &'a str,
    /// `alerts/components.yaml`.
    pub components: &'a str,
    /// `alerts/canary.yaml`.
    pub canary: &'a str,
    /// The present `deploy/RUNBOOK.md`; only the alert sections in it are replaced.
    pub runbook: &'a str,
    /// Names of all exported metrics.
    pub metrics: &'a [&'a str],
}

/// Paths relative to the root of the repository, with contents.
pub type Files = Vec<(String, String)>;

/// Generates all files.
///
/// # Errors
/// When a source is malformed.
pub fn files(sources: &Sources<'_>) -> Result<Files, Error> {
    let slo = Slo::parse(sources.slo)?;
    let components = Components::parse(sources.components, &slo, sources.metrics)?;
    let monitoring = |name: &str| format!("deploy/monitoring/prometheus/{name}");
    let mut files = slo_rules(&slo);
    files.push(("rules/records.yaml".to_owned(), components::records(&components)));
    files.push(("rules/alerts.yaml".to_owned(), components::alerts(&components, &slo.links)));
    files.push(("tests/slo-records.yaml".to_owned(), promtool::ratios(&slo)));
    files.push(("tests/slo-alerts.yaml".to_owned(), promtool::burn_rates(&slo)));
    files.push(("tests/alerts.yaml".to_owned(), promtool::components(&components)));
    let resource = yaml::resource(files.iter().filter(|(name, _)| name.starts_with("rules/")));
    let mut files: Files =
        files.into_iter().map(|(name, text)| (monitoring(&name), text)).collect();
    files.push(("deploy/k8s/components/monitoring/prometheus-rule.yaml".to_owned(), resource));
    files.extend(canary::Criteria::parse(sources.canary, &slo)?.files());
    files.push(("deploy/SLO.md".to_owned(), document::slos(&slo)));
    let runbook = document::runbook(sources.runbook, &slo, &components)?;
    files.push(("deploy/RUNBOOK.md".to_owned(), runbook));
    Ok(files)
}

/// Generates only the rules of the SLOs.
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
