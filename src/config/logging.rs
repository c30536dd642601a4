//! `logging`: level, format and destinations of log lines.

use std::path::{Path, PathBuf};

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::error::{Fault, check};

/// The minimum severity of logged events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Everything, including single calls.
    #[serde(alias = "trace")]
    Trace,
    /// Diagnostics.
    #[serde(alias = "debug")]
    Debug,
    /// Normal operation.
    #[serde(alias = "info")]
    Info,
    /// Conditions that an operator should look at.
    #[serde(alias = "warning", alias = "WARN", alias = "warn")]
    Warning,
    /// Failures.
    #[serde(alias = "error")]
    Error,
}

impl Level {
    /// The name in configuration and log lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per line.
    #[serde(alias = "JSON")]
    Json,
    /// Text for terminals.
    #[serde(alias = "TEXT")]
    Text,
}

/// Logging.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// The minimum severity of logged events.
    pub level: Level,
    /// The format of log lines.
    pub format: Format,
    file: PathBuf,
    file_max_mb: u64,
    /// Number of rotated files that are kept.
    pub file_count: usize,
    loki_url: SecretString,
}

impl Logging {
    /// Returns the same settings without a log file.
    #[must_use]
    pub fn without_file(self) -> Self {
        Self { file: PathBuf::new(), ..self }
    }

    /// The path of the log file, if one is set.
    pub fn file(&self) -> Option<&Path> {
        Some(&*self.file).filter(|file| !file.as_os_str().is_empty())
    }

    /// Size in bytes at which the log file is rotated.
    pub const fn file_bytes_max(&self) -> u64 {
        self.file_max_mb * 1024 * 1024
    }

    /// The URL of a Loki server, if one is set; may contain a password.
    pub fn loki(&self) -> Option<Url> {
        let url = self.loki_url.expose_secret();
        let url = Url::parse(url).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        check((1..=10_240).contains(&self.file_max_mb), "logging.file_max_mb", "1 to 10240")?;
        check((1..=100).contains(&self.file_count), "logging.file_count", "1 to 100")?;
        let none = self.loki_url.expose_secret().is_empty();
        let bare = self.loki().is_some_and(|url| url.path() == "/" && url.query().is_none());
        check(none || bare, "logging.loki_url", "a URL such as http://loki:3100, without a path")
    }
}
