//! `logging`: how much is logged, and how it looks.

use std::path::PathBuf;

use serde::Deserialize;

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Everything.
    #[serde(alias = "debug")]
    Debug,
    /// What happens in normal operation.
    #[serde(alias = "info")]
    Info,
    /// What someone should look at.
    #[serde(alias = "warning", alias = "WARN", alias = "warn")]
    Warning,
    /// What failed.
    #[serde(alias = "error")]
    Error,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    #[serde(alias = "JSON")]
    Json,
    /// For people.
    #[serde(alias = "TEXT")]
    Text,
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// Least severe level that is logged.
    pub level: Level,
    /// How a line looks.
    pub format: Format,
    /// A file to log to as well; empty for none. Not built yet.
    pub file: PathBuf,
}
