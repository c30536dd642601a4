//! Secrets in lists of tables, such as the keys of `llm.providers`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{
    error::ConfigError,
    raw::{Raw, SECRET_TABLES},
    source,
};

/// Maximum size of a secret file in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What is shown instead of a secret.
const SHOWN: &str = "(set)";

/// The field with headers, whose values may be credentials.
const HEADERS: &str = "headers";

fn secret_field(key: &str) -> Option<&'static str> {
    SECRET_TABLES.iter().find(|(list, _)| *list == key).map(|(_, field)| *field)
}

/// True for a list of tables with secrets.
pub(super) fn has_secrets(key: &str) -> bool {
    secret_field(key).is_some()
}

/// The tables of a list with their secrets redacted; `None` if the key has no such list.
pub(super) fn redacted(key: &str, value: &Value) -> Option<Value> {
    let field = secret_field(key)?;
    let mut shown = value.clone();
    for table in tables(&mut shown) {
        if let Some(secret) = table.get_mut(field).filter(|secret| **secret != "") {
            *secret = SHOWN.into();
        }
        // a URL may hold a password
        for text in table.values_mut() {
            if text.as_str().is_some_and(|text| text.contains("://") && text.contains('@')) {
                *text = SHOWN.into();
            }
        }
        if let Some(Value::Object(headers)) = table.get_mut(HEADERS) {
            headers.values_mut().for_each(|header| *header = SHOWN.into());
        }
    }
    Some(shown)
}

/// The secrets of a list of tables.
pub(super) fn secrets(key: &str, value: &Value) -> Vec<String> {
    let Some(field) = secret_field(key) else { return Vec::new() };
    let tables = value.as_array().into_iter().flatten();
    let secret = tables.filter_map(|table| table.get(field)?.as_str());
    secret.filter(|secret| !secret.is_empty()).map(str::to_owned).collect()
}

/// Parses a list that a variable holds as JSON, and reads the files of its secrets.
pub(super) fn resolve(raw: &mut Raw) -> Result<(), ConfigError> {
    let Some(field) = secret_field(&raw.key) else { return Ok(()) };
    if let Value::String(text) = &raw.value
        && let Ok(list @ Value::Array(_)) = serde_json::from_str(text)
    {
        raw.value = list;
    }
    let name = raw.name.clone();
    let file = format!("{field}_file");
    for table in tables(&mut raw.value) {
        let Some(Value::String(path)) = table.remove(&file) else { continue };
        let secret = read_secret(&name, PathBuf::from(path))?;
        table.insert(field.to_owned(), Value::String(secret));
    }
    Ok(())
}

/// The secret in a file, without the line break at its end.
pub(super) fn read_secret(name: &str, path: PathBuf) -> Result<String, ConfigError> {
    let fail = |path: PathBuf, problem: String| {
        Err(ConfigError::SecretFile { name: name.to_owned(), path, problem })
    };
    match source::read_bounded(&path, SECRET_BYTES_MAX) {
        Err(error) => fail(path, format!("cannot be read: {error}")),
        Ok(text) => match text.trim_end_matches(['\r', '\n']) {
            "" => fail(path, "is empty".to_owned()),
            secret => Ok(secret.to_owned()),
        },
    }
}

fn tables(value: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
}
