//! Finding, reading and parsing the configuration file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    error::ConfigError,
    raw::{Raw, Source},
};

/// Maximum size of a configuration file in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The syntax of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    Toml,
    /// YAML 1.2, of which JSON is a subset.
    Yaml,
}

/// The path of the configuration file: the flag's, else the environment's, else the file in `dir`.
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

/// Reads the values of a configuration file.
pub(super) fn read(path: &Path) -> Result<Vec<Raw>, ConfigError> {
    let origin = Source::File(path.to_owned());
    Ok(flatten(&read_document(path)?)
        .into_iter()
        .map(|(key, value)| Raw { name: key.clone(), key, value, origin: origin.clone() })
        .collect())
}

/// Reads a YAML, TOML or JSON file of at most `FILE_BYTES_MAX` (1 MiB).
pub fn read_document(path: &Path) -> Result<Value, ConfigError> {
    let format = match path.extension().and_then(|e| e.to_str()) {
        Some("yaml" | "yml" | "json") => FileFormat::Yaml,
        Some("toml") => FileFormat::Toml,
        _ => return Err(ConfigError::Extension(path.to_owned())),
    };
    let text = read_bounded(path, FILE_BYTES_MAX)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, format).map_err(|message| ConfigError::Parse { path: path.to_owned(), message })
}

/// Reads a text file of at most `bytes_max` bytes.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    if fs::metadata(path)?.len() > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    fs::read_to_string(path)
}

/// Parses a document. The error names the position but never quotes the line, which may hold a
/// secret.
pub(super) fn parse(text: &str, format: FileFormat) -> Result<Value, String> {
    match format {
        FileFormat::Toml => toml::from_str(text).map(dates_as_text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            format!("{} at line {line}", error.message())
        }),
        FileFormat::Yaml => {
            // YAML 1.2: `yes` and `off` are strings; so are 08080 and 1_000 until a setting that is
            // a number reads them
            let options = serde_saphyr::options! {
                strict_booleans: true,
                leading_zero_numbers_as_strings: true,
                underscored_numbers_as_strings: true,
            };
            let document: Value = serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| error.without_snippet().to_string())?;
            match document {
                Value::Null | Value::Object(_) => Ok(document),
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Err("the document must be a mapping of keys to values".to_owned())
                }
            }
        }
    }
}

/// The key under which the parser of TOML hands over an unquoted date.
const TOML_DATE: &str = "$__toml_private_datetime";

/// Replaces unquoted dates of TOML by their text: `version = 2023-06-01` is a version, not a time.
fn dates_as_text(value: Value) -> Value {
    match value {
        Value::Object(mut map) => map.remove(TOML_DATE).unwrap_or_else(|| {
            let dated = map.into_iter().map(|(key, value)| (key, dates_as_text(value)));
            Value::Object(dated.collect())
        }),
        Value::Array(values) => Value::Array(values.into_iter().map(dates_as_text).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Lists the leaves of a tree by dotted name. Arrays are leaves; null means not set.
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
