//! The YAML of a dashboard.

use config::{File, FileFormat};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Promises;

/// Why a dashboard cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source is no dashboard.
    #[error(
        "dashboards/{name}.yaml: {source}; the keys are those of src/telemetry/dashboards/source.rs"
    )]
    Source {
        /// Of the file.
        name: String,
        /// What is wrong.
        source: config::ConfigError,
    },
    /// A step of a panel names a promise that there is not.
    #[error("panel {panel:?}: {limit:?} is neither a number nor a promise of alerts/slo.yaml")]
    Limit {
        /// The panel's title.
        panel: String,
        /// What it names.
        limit: String,
    },
    /// The dashboard cannot be written, which is a defect.
    #[error("dashboards/{name}.json cannot be written: {source}")]
    Json {
        /// Of the file.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Whom a dashboard asks: one kind of source each, in its variable `datasource`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Datasource {
    #[default]
    Prometheus,
    Loki,
}

impl Datasource {
    pub(super) const ALL: [Self; 2] = [Self::Prometheus, Self::Loki];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Loki => "loki",
        }
    }

    /// How a panel says whom it asks.
    pub(super) fn reference(self) -> Value {
        json!({ "type": self.name(), "uid": "$datasource" })
    }
}

/// A dashboard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) title: String,
    pub(super) description: String,
    #[serde(default)]
    pub(super) datasource: Datasource,
    /// Whether it can be narrowed to an engine.
    #[serde(default)]
    pub(super) engine: bool,
    /// How far back it looks at first.
    #[serde(default = "six_hours")]
    pub(super) span: String,
    pub(super) panels: Vec<Panel>,
}

fn six_hours() -> String {
    "6h".to_owned()
}

/// A panel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
    pub(super) title: String,
    /// What it means, and what to do.
    pub(super) description: String,
    pub(super) kind: Kind,
    /// Columns, of 24, and rows.
    pub(super) size: [u32; 2],
    /// A unit of Grafana.
    pub(super) unit: String,
    #[serde(default)]
    pub(super) min: Option<f64>,
    #[serde(default)]
    pub(super) max: Option<f64>,
    #[serde(default)]
    pub(super) decimals: Option<u32>,
    /// Series stand upon each other.
    #[serde(default)]
    pub(super) stack: bool,
    /// Shows the traces that observations belong to.
    #[serde(default)]
    pub(super) exemplars: bool,
    /// Colours from a value on; the first has none.
    #[serde(default)]
    pub(super) steps: Vec<Step>,
    /// Values that are said in words.
    #[serde(default)]
    pub(super) words: Vec<Word>,
    /// The dashboard that says more.
    #[serde(default)]
    pub(super) more: Option<String>,
    pub(super) queries: Vec<Query>,
}

/// How a panel shows its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Numbers as they are now.
    Stat,
    /// Lines over time.
    Lines,
    /// Named states over time.
    States,
    /// A histogram over time.
    Heatmap,
    /// Log lines.
    Logs,
}

/// A question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// `PromQL` or `LogQL`; `{..` stands for the matchers of the dashboard's variables.
    pub(super) expr: String,
    /// The name of a series; `{{label}}` is its label.
    #[serde(default)]
    pub(super) legend: String,
}

/// A colour from a value on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// A number, or a promise by name.
    #[serde(default)]
    pub(super) at: Option<String>,
    pub(super) color: String,
}

/// A value, or all up to the next word's, in a word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Word {
    /// From this value on, up to that of the next word.
    pub(super) from: String,
    pub(super) text: String,
    pub(super) color: String,
}

impl Source {
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Error> {
        config::Config::builder()
            .add_source(File::from_str(text, FileFormat::Yaml))
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|source| Error::Source { name: name.to_owned(), source })
    }
}

/// Writes out what `{..` stands for: the processes that are looked at.
pub(super) fn expand(expr: &str) -> String {
    expr.trim().replace("{..", r#"{job=~"$job", instance=~"$instance""#)
}

/// Writes out promises in angle brackets: `latency_ms > <latency.threshold_ms>`.
///
/// # Errors
/// The name of a promise that there is not.
pub(super) fn promised(expr: &str, promises: &Promises) -> Result<String, String> {
    let mut parts = expr.split('<');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.split_once('>').filter(|(name, _)| name.contains('.'));
        if let Some((name, rest)) = name {
            text.push_str(&promises.limit(name).ok_or_else(|| name.to_owned())?.to_string());
            text.push_str(rest);
        } else {
            text.push('<');
            text.push_str(part);
        }
    }
    Ok(text)
}
