//! `alerts/slo.yaml` and `alerts/components.yaml`.

use std::collections::BTreeMap;

use config::{File, FileFormat};
use serde::{Deserialize, de::DeserializeOwned};

/// Why no rules can be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not what it should be.
    #[error("alerts/{file}: {source}; the keys are those of src/telemetry/rules/source.rs")]
    Source {
        /// Which.
        file: &'static str,
        /// What is wrong.
        source: config::ConfigError,
    },
    /// A promise that cannot be kept watch over.
    #[error("alerts/slo.yaml: {0}; correct it")]
    Promise(String),
    /// An alert that says too little.
    #[error("alerts/components.yaml: {0}; correct it")]
    Component(String),
    /// The runbook has no place for the alerts.
    #[error("deploy/RUNBOOK.md needs a line {begin:?} and, after it, a line {end:?}")]
    Runbook {
        /// Where the alerts begin.
        begin: &'static str,
        /// Where they end.
        end: &'static str,
    },
}

/// What is promised.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Days over which promises are kept.
    pub window_days: u32,
    pub(super) links: Links,
    pub(super) governed: String,
    slos: BTreeMap<String, Declared>,
    burn: BTreeMap<String, f64>,
    /// So many bad events over the longer window, or fewer, are chance.
    pub(super) few: u32,
    windows: BTreeMap<String, Window>,
    /// What a canary must keep to.
    pub canary: Canary,
}

/// Where alerts send people.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Links {
    pub(super) runbook: String,
    pub(super) grafana: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    objective: f64,
    threshold_seconds: Option<f64>,
    promise: String,
    #[serde(default)]
    excluded: String,
    #[serde(default)]
    bad: String,
    #[serde(default)]
    total: String,
    #[serde(default)]
    runbook: Runbook,
    #[serde(default)]
    proof: Proof,
    /// What has to be built first.
    awaits: Option<String>,
}

/// What who is told does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runbook {
    /// What to look at on the dashboard.
    pub(super) panel: String,
    pub(super) command: String,
    pub(super) mend: String,
}

/// Series of which so large a share is bad.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proof {
    pub(super) bad: f64,
    pub(super) input: Vec<Input>,
}

/// One promise.
#[derive(Clone, Debug)]
pub struct Objective {
    /// Its name, as the label `slo`.
    pub name: String,
    /// The share of good events, above 0 and below 1.
    pub objective: f64,
    /// What is still good, in seconds.
    pub threshold: Option<f64>,
    pub(super) promise: String,
    pub(super) excluded: String,
    pub(super) bad: String,
    pub(super) total: String,
    pub(super) runbook: Runbook,
    pub(super) proof: Proof,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    long: String,
    short: String,
    #[serde(rename = "for")]
    lasting: String,
    severity: Severity,
}

/// A speed at which errors are used up, and over which times it is looked for.
#[derive(Clone, Debug)]
pub struct Burn {
    /// Its name, as the label `burn`.
    pub name: String,
    /// How many times faster than evenly.
    pub factor: f64,
    /// The window that says that it matters.
    pub long: String,
    /// The window that says that it goes on.
    pub short: String,
    pub(super) lasting: String,
    /// Who is told.
    pub severity: Severity,
}

/// What a canary must keep to.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The share of requests that may fail.
    pub errors: f64,
    /// How long the slowest in twenty may wait for the model.
    pub p95_seconds: f64,
    /// Below so many requests nothing is said of it.
    pub requests: u32,
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody, at once.
    Page,
    /// Somebody, on a working day.
    Ticket,
    /// Nobody: it shows that the way of alerts is whole.
    None,
}

impl Severity {
    /// As the label `severity`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
            Self::None => "none",
        }
    }
}

impl Slo {
    /// Reads the text of `alerts/slo.yaml`.
    ///
    /// # Errors
    /// When it is not one, or promises what no alert could tell of.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let slo: Self = yaml("slo.yaml", text)?;
        for Objective { name, objective, bad, total, proof, .. } in slo.objectives() {
            if !(objective > 0.0 && objective < 1.0) {
                return Err(Error::Promise(format!("the objective of {name} lies in (0, 1)")));
            }
            if bad.is_empty() || total.is_empty() || proof.input.is_empty() {
                return Err(Error::Promise(format!("{name} wants `bad`, `total` and `proof`")));
            }
            for burn in slo.burns() {
                if burn.factor * (1.0 - objective) >= 1.0 {
                    let Burn { name: speed, .. } = burn;
                    let told = format!("{name} can never burn {speed}: all events would be bad");
                    return Err(Error::Promise(told));
                }
            }
        }
        if slo.burns().count() != slo.windows.len() || slo.burn.len() != slo.windows.len() {
            return Err(Error::Promise("`burn` and `windows` want the same names".to_owned()));
        }
        Ok(slo)
    }

    /// The promises that can be watched.
    pub fn objectives(&self) -> impl Iterator<Item = Objective> + '_ {
        let built = self.slos.iter().filter(|(_, declared)| declared.awaits.is_none());
        built.map(|(name, declared)| Objective {
            name: name.clone(),
            objective: declared.objective,
            threshold: declared.threshold_seconds,
            promise: declared.promise.clone(),
            excluded: declared.excluded.clone(),
            bad: declared.bad.clone(),
            total: declared.total.clone(),
            runbook: declared.runbook.clone(),
            proof: declared.proof.clone(),
        })
    }

    /// Promises that wait for something to be built: name and what.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (&str, &str)> {
        self.slos.iter().filter_map(|(name, slo)| Some((name.as_str(), slo.awaits.as_deref()?)))
    }

    /// The speeds, the fastest first.
    pub fn burns(&self) -> impl Iterator<Item = Burn> {
        let burn = |(name, window): (&String, &Window)| {
            Some(Burn {
                name: name.clone(),
                factor: self.burn.get(name).copied()?,
                long: window.long.clone(),
                short: window.short.clone(),
                lasting: window.lasting.clone(),
                severity: window.severity,
            })
        };
        let mut burns: Vec<Burn> = self.windows.iter().filter_map(burn).collect();
        burns.sort_by(|a, b| b.factor.total_cmp(&a.factor));
        burns.into_iter()
    }

    /// All windows, the shortest first.
    pub(super) fn window_names(&self) -> Vec<String> {
        let burns: Vec<Burn> = self.burns().collect();
        let short = burns.iter().map(|burn| burn.short.clone());
        let mut names: Vec<String> = short.chain(burns.iter().map(|b| b.long.clone())).collect();
        names.push(format!("{}d", self.window_days));
        names.sort_by_key(|name| seconds(name));
        names.dedup();
        names
    }
}

/// A time such as `5m` in seconds; 0 for what is none.
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

/// The rules that are not about promises.
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

/// An alert with what its runbook says and what its test does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alert {
    #[serde(rename = "alert")]
    pub(super) name: String,
    pub(super) severity: Severity,
    pub(super) expr: String,
    /// The metric that has to be there first.
    #[serde(default)]
    awaits: Option<String>,
    #[serde(rename = "for", default)]
    pub(super) lasting: String,
    pub(super) summary: String,
    pub(super) meaning: String,
    /// The uid of a dashboard.
    pub(super) dashboard: String,
    pub(super) runbook: Runbook,
    pub(super) test: Case,
}

/// How a test makes an alert fire.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    #[serde(default = "a_minute")]
    pub(super) interval: String,
    #[serde(default)]
    pub(super) input: Vec<Input>,
    /// When it is close, and silent.
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

fn a_minute() -> String {
    "1m".to_owned()
}

impl Components {
    /// Reads the text of `alerts/components.yaml`; its numbers by name are those of `slo`. `metrics` are the
    /// names there are.
    ///
    /// # Errors
    /// When it is not one, an alert has no end, or one awaits what is there.
    pub fn parse(text: &str, slo: &Slo, metrics: &[&str]) -> Result<Self, Error> {
        let canary = slo.canary;
        let text = text
            .replace("$canary_errors", &canary.errors.to_string())
            .replace("$canary_p95", &canary.p95_seconds.to_string())
            .replace("$canary_requests", &canary.requests.to_string())
            .replace("$governed", &slo.governed);
        let components: Self = yaml("components.yaml", &text)?;
        for alert in &components.alerts {
            let ends = alert.test.silent.is_some() && alert.test.resolved.is_some();
            if !ends && alert.severity != Severity::None {
                let told = format!("the test of {} wants `silent` and `resolved`", alert.name);
                return Err(Error::Component(told));
            }
            if alert.awaits.as_deref().is_some_and(|metric| metrics.contains(&metric)) {
                let told = format!("what {} awaits is there: remove `awaits`", alert.name);
                return Err(Error::Component(told));
            }
        }
        Ok(components)
    }

    /// The alerts whose metrics are there.
    pub(super) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.awaits.is_none())
    }
}

fn yaml<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, Error> {
    let source = File::from_str(text, FileFormat::Yaml);
    let read = config::Config::builder().add_source(source).build();
    let read = read.and_then(config::Config::try_deserialize);
    read.map_err(|source| Error::Source { file, source })
}
