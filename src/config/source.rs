//! Where a value comes from, and the configuration file.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{ConfigError, merge::Raw};

/// Largest configuration file in bytes; a larger one is refused.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The embedded defaults.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command line flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The configuration file: the flag's, else the environment's, else the one in `dir`, if any.
pub(super) fn find(
    flag: Option<PathBuf>,
    env: Option<PathBuf>,
    dir: &Path,
) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(named) = flag.or(env) {
        return Ok(Some(named));
    }
    let present = |name| Some(dir.join(name)).filter(|path| path.exists());
    match (present("config.yaml"), present("config.toml")) {
        (Some(_), Some(_)) => Err(ConfigError::TwoFiles(dir.to_owned())),
        (yaml, toml) => Ok(yaml.or(toml)),
    }
}

/// The values of a configuration file.
pub(super) fn read(path: &Path) -> Result<Vec<Raw>, ConfigError> {
    let origin = Source::File(path.to_owned());
    Ok(flatten(&read_document(path)?)
        .into_iter()
        .map(|(key, value)| Raw { name: key.clone(), key, value, origin: origin.clone() })
        .collect())
}

/// The content of a small YAML, TOML or JSON file.
pub fn read_document(path: &Path) -> Result<Value, ConfigError> {
    let format = match path.extension().and_then(|e| e.to_str()) {
        // JSON is YAML
        Some("yaml" | "yml" | "json") => config::FileFormat::Yaml,
        Some("toml") => config::FileFormat::Toml,
        _ => return Err(ConfigError::Extension(path.to_owned())),
    };
    let text = read_bounded(path, FILE_BYTES_MAX)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, format).map_err(|message| ConfigError::Parse { path: path.to_owned(), message })
}

/// The text of a small file.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    if fs::metadata(path)?.len() > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    fs::read_to_string(path)
}

/// Parses a text; errors say where, but never quote the line, which may hold a secret.
pub(super) fn parse(text: &str, format: config::FileFormat) -> Result<Value, String> {
    let quiet = |error: config::ConfigError| {
        let text = if let config::ConfigError::FileParse { cause, .. } = error {
            cause.to_string()
        } else {
            error.to_string()
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.contains('|'));
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
    };
    let built = config::Config::builder()
        .add_source(config::File::from_str(text, format))
        .build()
        .map_err(quiet)?;
    built.try_deserialize().map_err(quiet)
}

/// The leaves of a tree by dotted name. Arrays are leaves; what is null is not set.
pub(super) fn flatten(tree: &Value) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    collect("", tree, &mut leaves);
    leaves
}

fn collect(path: &str, value: &Value, leaves: &mut Vec<(String, Value)>) {
    if let Value::Object(map) = value {
        for (key, inner) in map {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(&name, inner, leaves);
        }
    } else if !value.is_null() {
        leaves.push((path.to_owned(), value.clone()));
    }
}
