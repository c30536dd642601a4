//! The format of `dashboards/*.yaml`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::limits::Limits;

/// Prefix of every uid, and of the tags by which dashboards link to each other.
pub(super) const FAMILY: &str = "mlsdm";

/// A dashboard cannot be generated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source has a syntax error, an unknown key or a missing key.
    #[error(
        "dashboards/{name}.yaml: {source}; the keys are defined in src/telemetry/dashboards/source.rs"
    )]
    Source {
        /// File name without extension.
        name: String,
        /// The cause.
        source: Box<serde_saphyr::Error>,
    },
    /// A panel names a limit that does not exist.
    #[error("panel {panel:?}: {limit:?} is neither a number nor a limit of alerts/slo.yaml")]
    Limit {
        /// Title of the panel.
        panel: String,
        /// The unknown name.
        limit: String,
    },
    /// The dashboard cannot be serialized; this is a defect.
    #[error("dashboards/{name}.json cannot be serialized: {source}")]
    Json {
        /// File name without extension.
        name: String,
        /// The cause.
        source: serde_json::Error,
    },
}

/// Kind of the data source that the variable `datasource` of a dashboard selects.
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

    /// Reference to the selected data source in panels and queries.
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
    /// Adds the variable `engine`.
    #[serde(default)]
    pub(super) engine: bool,
    /// Initial time range.
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
    /// Meaning of the panel and the response to an unusual value.
    pub(super) description: String,
    pub(super) kind: Kind,
    /// Width in columns (of 24) and height in rows.
    pub(super) size: [u32; 2],
    /// Grafana unit id.
    pub(super) unit: String,
    #[serde(default)]
    pub(super) min: Option<f64>,
    #[serde(default)]
    pub(super) max: Option<f64>,
    #[serde(default)]
    pub(super) decimals: Option<u32>,
    /// Stacks the series.
    #[serde(default)]
    pub(super) stack: bool,
    /// Shows exemplars with links to their traces.
    #[serde(default)]
    pub(super) exemplars: bool,
    /// Thresholds; the first has no value.
    #[serde(default)]
    pub(super) thresholds: Vec<Threshold>,
    /// Texts shown in place of values.
    #[serde(default)]
    pub(super) mappings: Vec<Mapping>,
    /// Name of a dashboard with more detail.
    #[serde(default)]
    pub(super) link: Option<String>,
    pub(super) queries: Vec<Query>,
}

/// Visualization of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Current values.
    Stat,
    /// Values over time.
    Timeseries,
    /// Mapped values over time.
    StateTimeline,
    /// Histogram over time.
    Heatmap,
    /// Log lines.
    Logs,
}

/// A query of a panel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// `PromQL` or `LogQL`; `{..` expands to the matchers for the variables `job` and `instance`.
    pub(super) expr: String,
    /// Name of the series; `{{label}}` is replaced by the value of a label.
    #[serde(default)]
    pub(super) legend: String,
}

/// The colour of values from `at` upwards.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Threshold {
    /// A number or the name of a limit.
    #[serde(default)]
    pub(super) at: Option<String>,
    pub(super) color: String,
}

/// Text and colour for values from `from` up to the next mapping.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapping {
    /// A number or the name of a limit.
    pub(super) from: String,
    pub(super) text: String,
    pub(super) color: String,
}

impl Source {
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Error> {
        serde_saphyr::from_str(text)
            .map_err(|source| Error::Source { name: name.to_owned(), source: source.into() })
    }
}

/// Expands `{..` to the matchers for the variables `job` and `instance`.
pub(super) fn expand(expr: &str) -> String {
    expr.trim().replace("{..", r#"{job=~"$job", instance=~"$instance""#)
}

/// Replaces limits in angle brackets: `latency_ms > <latency.threshold_ms>`.
///
/// # Errors
/// The name of an unknown limit.
pub(super) fn replace_limits(expr: &str, limits: &Limits) -> Result<String, String> {
    let mut parts = expr.split('<');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.split_once('>').filter(|(name, _)| name.contains('.'));
        if let Some((name, rest)) = name {
            text.push_str(&limits.get(name).ok_or_else(|| name.to_owned())?.to_string());
            text.push_str(rest);
        } else {
            text.push('<');
            text.push_str(part);
        }
    }
    Ok(text)
}
