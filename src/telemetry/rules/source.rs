//! The formats of `alerts/slo.yaml` and `alerts/components.yaml`.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

/// An error in the sources of the rules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file has a syntax error, an unknown key or a missing key.
    #[error("alerts/{file}: {source}; the keys are defined in src/telemetry/rules/source.rs")]
    Source {
        /// File name below `alerts/`.
        file: &'static str,
        /// The parse error.
        source: Box<serde_saphyr::Error>,
    },
    /// An SLO is inconsistent.
    #[error("alerts/slo.yaml: {0}")]
    Slo(String),
    /// An alert is incomplete.
    #[error("alerts/components.yaml: {0}")]
    Component(String),
    /// A criterion of a canary has no limit, or two.
    #[error("alerts/canary.yaml: {0} needs either `at_most` or `at_least`")]
    Criterion(String),
    /// The runbook lacks the markers around its alert sections.
    #[error("deploy/RUNBOOK.md needs a line {begin:?} and, after it, a line {end:?}")]
    Runbook {
        /// The line before the alert sections.
        begin: &'static str,
        /// The line after the alert sections.
        end: &'static str,
    },
}

/// `alerts/slo.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Length of the SLO window in days.
    pub window_days: u32,
    pub(super) links: Links,
    /// Regular expression for the governed routes.
    pub(super) governed: String,
    slos: BTreeMap<String, SloSpec>,
    burn_rates: BTreeMap<String, f64>,
    /// A burn-rate alert needs more bad events than this over its long window.
    pub(super) noise_floor: u32,
    windows: BTreeMap<String, Window>,
    /// Limits for the promotion of a canary.
    pub canary: Canary,
}

/// Base URLs in the annotations of alerts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Links {
    pub(super) runbook: String,
    pub(super) grafana: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SloSpec {
    objective: f64,
    threshold_seconds: Option<f64>,
    description: String,
    #[serde(default)]
    excluded: String,
    #[serde(default)]
    bad: String,
    #[serde(default)]
    total: String,
    #[serde(default)]
    runbook: Runbook,
    #[serde(default)]
    test: RatioTest,
    /// A part of the server that does not exist yet and that the SLO measures.
    requires: Option<String>,
}

/// The response to an alert.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runbook {
    /// The panels to look at on the dashboard of the alert.
    pub(super) panel: String,
    pub(super) command: String,
    pub(super) remediation: String,
}

/// Series with a known ratio of bad events.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatioTest {
    pub(super) error_ratio: f64,
    pub(super) input: Vec<Input>,
}

/// An SLO that can be monitored.
#[derive(Clone, Debug)]
pub struct Objective {
    /// Value of the label `slo`.
    pub name: String,
    /// Ratio of good events, above 0 and below 1.
    pub objective: f64,
    /// Duration in seconds up to which an event is good.
    pub threshold: Option<f64>,
    pub(super) description: String,
    pub(super) excluded: String,
    pub(super) bad: String,
    pub(super) total: String,
    pub(super) runbook: Runbook,
    pub(super) test: RatioTest,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    long: String,
    short: String,
    #[serde(rename = "for")]
    pending_for: String,
    severity: Severity,
}

/// A burn rate with the windows over which it is measured.
#[derive(Clone, Debug)]
pub struct BurnRate {
    /// Value of the label `burn`.
    pub name: String,
    /// The burn rate above which the alert fires; 1 spends the budget in exactly one SLO window.
    pub factor: f64,
    /// The window that shows that a significant part of the budget is spent.
    pub long: String,
    /// The window that shows that errors still occur.
    pub short: String,
    pub(super) pending_for: String,
    /// Severity of the alert.
    pub severity: Severity,
}

/// Limits for the promotion of a canary.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Highest ratio of failed requests.
    pub errors: f64,
    /// Highest 95th percentile of the model call duration, in seconds.
    pub p95_seconds: f64,
    /// Number of requests below which the canary is not judged.
    pub requests: u32,
}

/// Severity of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Needs an immediate response.
    Page,
    /// Needs a response on a working day.
    Ticket,
    /// Needs no response: the alert proves that alerts are delivered.
    None,
}

impl Severity {
    /// Value of the label `severity`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
            Self::None => "none",
        }
    }
}

impl Slo {
    /// Parses `alerts/slo.yaml`.
    ///
    /// # Errors
    /// When the text is malformed, or an alert of an SLO could never fire.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let slo: Self = yaml("slo.yaml", text)?;
        for Objective { name, objective, bad, total, test, .. } in slo.objectives() {
            if !(objective > 0.0 && objective < 1.0) {
                return Err(Error::Slo(format!("the objective of {name} must lie in (0, 1)")));
            }
            if bad.is_empty() || total.is_empty() || test.input.is_empty() {
                return Err(Error::Slo(format!("{name} needs `bad`, `total` and `test`")));
            }
            for BurnRate { name: burn, factor, .. } in slo.burn_rates() {
                if factor * (1.0 - objective) >= 1.0 {
                    let message = format!("{name} can never burn {burn}: lower the burn rate");
                    return Err(Error::Slo(message));
                }
            }
        }
        if slo.burn_rates().count() != slo.windows.len()
            || slo.burn_rates.len() != slo.windows.len()
        {
            return Err(Error::Slo("`burn_rates` and `windows` need the same names".to_owned()));
        }
        Ok(slo)
    }

    /// The SLOs that can be monitored.
    pub fn objectives(&self) -> impl Iterator<Item = Objective> + '_ {
        let available = self.slos.iter().filter(|(_, spec)| spec.requires.is_none());
        available.map(|(name, spec)| Objective {
            name: name.clone(),
            objective: spec.objective,
            threshold: spec.threshold_seconds,
            description: spec.description.clone(),
            excluded: spec.excluded.clone(),
            bad: spec.bad.clone(),
            total: spec.total.clone(),
            runbook: spec.runbook.clone(),
            test: spec.test.clone(),
        })
    }

    /// The SLOs that cannot be monitored yet, each with the missing part of the server.
    pub(super) fn unavailable(&self) -> impl Iterator<Item = (&str, &str)> {
        self.slos.iter().filter_map(|(name, spec)| Some((name.as_str(), spec.requires.as_deref()?)))
    }

    /// The burn rates, highest first.
    pub fn burn_rates(&self) -> impl Iterator<Item = BurnRate> {
        let burn = |(name, window): (&String, &Window)| {
            Some(BurnRate {
                name: name.clone(),
                factor: self.burn_rates.get(name).copied()?,
                long: window.long.clone(),
                short: window.short.clone(),
                pending_for: window.pending_for.clone(),
                severity: window.severity,
            })
        };
        let mut burns: Vec<BurnRate> = self.windows.iter().filter_map(burn).collect();
        burns.sort_by(|a, b| b.factor.total_cmp(&a.factor));
        burns.into_iter()
    }

    /// A source text with the limits of the canary and the governed routes filled in.
    pub(super) fn fill_in(&self, text: &str) -> String {
        text.replace("$canary_errors", &self.canary.errors.to_string())
            .replace("$canary_p95", &self.canary.p95_seconds.to_string())
            .replace("$canary_requests", &self.canary.requests.to_string())
            .replace("$governed", &self.governed)
    }

    /// All windows, shortest first.
    pub(super) fn window_names(&self) -> Vec<String> {
        let burns: Vec<BurnRate> = self.burn_rates().collect();
        let short = burns.iter().map(|burn| burn.short.clone());
        let mut names: Vec<String> = short.chain(burns.iter().map(|b| b.long.clone())).collect();
        names.push(format!("{}d", self.window_days));
        names.sort_by_key(|name| seconds(name));
        names.dedup();
        names
    }
}

/// A Prometheus duration such as `5m` in seconds; 0 for any other text.
pub(super) fn seconds(text: &str) -> u64 {
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|n| n.parse::<u64>().ok());
    number.unwrap_or_default() * unit
}

/// `alerts/components.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Components {
    pub(super) records: Vec<Record>,
    alerts: Vec<Alert>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) record: String,
    pub(super) expr: String,
}

/// An alert with its runbook section and its test.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alert {
    #[serde(rename = "alert")]
    pub(super) name: String,
    pub(super) severity: Severity,
    pub(super) expr: String,
    /// A metric that does not exist yet; until it does, the alert is left out.
    #[serde(default)]
    requires: Option<String>,
    #[serde(rename = "for", default)]
    pub(super) pending_for: String,
    pub(super) summary: String,
    pub(super) description: String,
    /// The uid of a dashboard.
    pub(super) dashboard: String,
    pub(super) runbook: Runbook,
    pub(super) test: AlertTest,
}

/// Series that make an alert fire, and the times at which it is checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertTest {
    #[serde(default = "one_minute")]
    pub(super) interval: String,
    #[serde(default)]
    pub(super) input: Vec<Input>,
    /// A time at which the value is just below the limit.
    pub(super) silent: Option<String>,
    pub(super) fires: String,
    pub(super) resolved: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pub(super) series: String,
    pub(super) values: String,
}

fn one_minute() -> String {
    "1m".to_owned()
}

impl Components {
    /// Parses `alerts/components.yaml` and fills in the numbers of `slo`. `metrics` are the names of
    /// all exported metrics.
    ///
    /// # Errors
    /// When the text is malformed, the test of an alert is incomplete, or an alert requires a metric
    /// that exists by now.
    pub fn parse(text: &str, slo: &Slo, metrics: &[&str]) -> Result<Self, Error> {
        let components: Self = yaml("components.yaml", &slo.fill_in(text))?;
        for alert in &components.alerts {
            let complete = alert.test.silent.is_some() && alert.test.resolved.is_some();
            if !complete && alert.severity != Severity::None {
                let message = format!("the test of {} needs `silent` and `resolved`", alert.name);
                return Err(Error::Component(message));
            }
            if let Some(metric) = alert.requires.as_deref().filter(|name| metrics.contains(name)) {
                let message = format!("{metric} exists now: remove `requires` from {}", alert.name);
                return Err(Error::Component(message));
            }
        }
        Ok(components)
    }

    /// The alerts whose metrics exist.
    pub(super) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.requires.is_none())
    }
}

pub(super) fn yaml<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, Error> {
    serde_saphyr::from_str(text).map_err(|source| Error::Source { file, source: source.into() })
}
