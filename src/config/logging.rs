//! `logging`: how much is logged, how it looks, and where it goes.

use std::path::{Path, PathBuf};

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::error::{Fault, check};

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Everything.
    #[serde(alias = "trace")]
    Trace,
    /// What helps to find a fault.
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
    file: PathBuf,
    file_max_mb: u64,
    /// How many full files are kept beside the one that is written.
    pub file_count: usize,
    loki_url: SecretString,
}

impl Logging {
    /// The same without a file to log to.
    #[must_use]
    pub fn without_file(self) -> Self {
        Self { file: PathBuf::new(), ..self }
    }

    /// A file to log to as well.
    pub fn file(&self) -> Option<&Path> {
        Some(&*self.file).filter(|file| !file.as_os_str().is_empty())
    }

    /// The size at which a file is full, in bytes.
    pub const fn file_bytes_max(&self) -> u64 {
        self.file_max_mb * 1024 * 1024
    }

    /// A Loki to push to; its URL may hold a password.
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
