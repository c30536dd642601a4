//! Merging layers of values over the defaults, key by key, with the source of each value.

use std::{collections::BTreeMap, path::PathBuf, sync::LazyLock};

use serde_json::{Map, Value};

use super::{
    error::{ConfigError, Fault, Invalid},
    raw::{Raw, SECRETS, Source},
    schema::Config,
    source::{self, FileFormat},
    suggest::nearest,
    tables,
};
use crate::domain::policy::Preset;

/// The defaults of all settings with their documentation.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Short names of keys.
const SHORTHANDS: [(&str, &str); 6] = [
    ("mlsdm.dimension", "mlsdm.policy.dimension"),
    ("mlsdm.capacity", "mlsdm.policy.capacity"),
    ("mlsdm.wake_duration", WAKE),
    ("mlsdm.sleep_duration", SLEEP),
    ("mlsdm.initial_threshold", "mlsdm.policy.moral.initial_threshold"),
    ("embeddings.dimension", "mlsdm.policy.dimension"),
];

const PRESET: &str = "mlsdm.preset";
const WAKE: &str = "mlsdm.policy.rhythm.wake_duration";
const SLEEP: &str = "mlsdm.policy.rhythm.sleep_duration";

/// The value of a key and its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The dotted name.
    pub key: String,
    value: Value,
    /// The layer that set the value.
    pub source: Source,
}

impl Setting {
    /// The value, with secrets redacted.
    pub fn shown(&self) -> Value {
        if let Some(shown) = tables::redacted(&self.key, &self.value) {
            return shown;
        }
        if let Value::String(text) = &self.value
            && (SECRETS.contains(&self.key.as_str()) || has_user(text))
        {
            return Value::String(redact(text));
        }
        self.value.clone()
    }

    /// Returns true for a secret that was given on the command line or in the configuration file, where
    /// others can read it, rather than in a variable or a separate file.
    pub fn is_exposed(&self) -> bool {
        self.secrets().iter().any(|text| match &self.source {
            Source::Default | Source::Env(_) => false,
            Source::Flag(_) => true,
            Source::File(path) => source::read_bounded(path, source::FILE_BYTES_MAX)
                .is_ok_and(|file| file.contains(text)),
        })
    }

    fn secrets(&self) -> Vec<String> {
        let mut secrets = tables::secrets(&self.key, &self.value);
        if let Value::String(text) = &self.value
            && SECRETS.contains(&self.key.as_str())
            && redact(text) != *text
        {
            secrets.push(text.clone());
        }
        secrets
    }
}

/// Returns true for a URL with user information, which may contain a password.
fn has_user(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// Redacts user information and query of a URL, and all of any other text.
fn redact(secret: &str) -> String {
    let Some((scheme, rest)) = secret.split_once("://") else {
        return if secret.is_empty() { String::new() } else { "(set)".to_owned() };
    };
    let shown = match rest.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => rest.to_owned(),
    };
    match shown.split_once('?') {
        Some((shown, _)) => format!("{scheme}://{shown}?***"),
        None => format!("{scheme}://{shown}"),
    }
}

/// The values of all keys.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    defaults: BTreeMap<String, Value>,
    current: BTreeMap<String, (Value, Source)>,
}

impl Settings {
    pub(super) fn defaults() -> Result<Self, ConfigError> {
        let tree = source::parse(DEFAULT_TOML, FileFormat::Toml).map_err(ConfigError::Default)?;
        let defaults: BTreeMap<_, _> = source::flatten(&tree).into_iter().collect();
        let keep = |(k, v): (&String, &Value)| (k.clone(), (v.clone(), Source::Default));
        let current = defaults.iter().map(keep).collect();
        Ok(Self { defaults, current })
    }

    /// Applies a layer over the current values.
    pub(super) fn apply(&mut self, layer: Vec<Raw>) -> Result<(), ConfigError> {
        let mut given: BTreeMap<String, (String, Value)> = BTreeMap::new();
        let (presets, others): (Vec<_>, Vec<_>) =
            layer.into_iter().partition(|raw| raw.key == PRESET);
        for preset in presets {
            self.apply_preset(&preset)?;
        }
        for raw in others {
            let raw = resolve(raw)?;
            let Some(default) = self.defaults.get(&raw.key) else {
                return Err(self.unknown(&raw));
            };
            let value = self.typed(&raw, default).or_else(|must| {
                let bare = without_comment(&raw).and_then(|bare| self.typed(&bare, default).ok());
                bare.ok_or_else(|| self.invalid(&raw, must))
            })?;
            if let Some((first, other)) = given.get(&raw.key)
                && *other != value
            {
                let (first, second) = (first.clone(), raw.name);
                return Err(ConfigError::Twice { key: raw.key, first, second });
            }
            given.insert(raw.key.clone(), (raw.name, value.clone()));
            self.current.insert(raw.key, (value, raw.origin));
        }
        Ok(())
    }

    fn apply_preset(&mut self, raw: &Raw) -> Result<(), ConfigError> {
        let Ok(preset) = serde_json::from_value::<Preset>(raw.value.clone()) else {
            let must = "balanced, throughput or consolidating".to_owned();
            return Err(self.invalid(raw, must));
        };
        let (wake, sleep) = preset.durations();
        for (key, steps) in [(WAKE, wake), (SLEEP, sleep)] {
            self.current.insert(key.to_owned(), (Value::from(steps), raw.origin.clone()));
        }
        Ok(())
    }

    /// Converts a value to the type of its key; the error describes the valid values.
    fn typed(&self, raw: &Raw, default: &Value) -> Result<Value, String> {
        let like = of_kind(&raw.key, &raw.value, default);
        let value = coerce(&raw.value, like).ok_or_else(|| kind(like).to_owned())?;
        self.check_type(&raw.key, &value)?;
        Ok(value)
    }

    /// Checks that a value deserialises; the error describes the valid values.
    fn check_type(&self, key: &str, value: &Value) -> Result<(), String> {
        let others = self.defaults.iter().map(|(k, v)| (k.as_str(), v));
        let tree = nest(others.filter(|(k, _)| *k != key).chain([(key, value)]));
        match serde_json::from_value::<Config>(tree) {
            Ok(_) => Ok(()),
            Err(error) => Err(expectation(&error.to_string())),
        }
    }

    /// Sets a key that is derived from another key, with the source of that key.
    pub(super) fn derive(&mut self, key: &str, value: Value, from: &str) {
        let source = self.source(from).cloned().unwrap_or(Source::Default);
        self.current.insert(key.to_owned(), (value, source));
    }

    pub(super) fn build(&self) -> Result<Config, ConfigError> {
        let tree = nest(self.current.iter().map(|(k, (v, _))| (k.as_str(), v)));
        serde_json::from_value(tree).map_err(|e| ConfigError::Default(expectation(&e.to_string())))
    }

    /// Returns true if the value of a key is not its default.
    pub(super) fn differs(&self, key: &str) -> bool {
        self.current.get(key).map(|(value, _)| value) != self.defaults.get(key)
    }

    /// The source of a key's value.
    pub(super) fn source(&self, key: &str) -> Option<&Source> {
        self.current.get(key).map(|(_, source)| source)
    }

    /// The redacted value of a key, for messages.
    pub(super) fn shown(&self, key: &str) -> String {
        let (value, source) =
            self.current.get(key).cloned().unwrap_or((Value::Null, Source::Default));
        text(&Setting { key: key.to_owned(), value, source }.shown())
    }

    pub(super) fn explain(&self, fault: Fault) -> ConfigError {
        let key = fault.key.into_owned();
        let origin = self.source(&key).cloned().unwrap_or(Source::Default);
        let (shown, default) = (self.shown(&key), self.default_text(&key));
        let must = fault.must.to_owned();
        ConfigError::Invalid(Box::new(Invalid { key, shown, origin, must, default }))
    }

    pub(super) fn into_rows(self) -> Vec<Setting> {
        let row = |(key, (value, source))| Setting { key, value, source };
        self.current.into_iter().map(row).collect()
    }

    fn default_text(&self, key: &str) -> String {
        self.defaults.get(key).map_or_else(|| "not set".to_owned(), text)
    }

    fn invalid(&self, raw: &Raw, must: String) -> ConfigError {
        let (must, shown) = if SECRETS.contains(&raw.key.as_str()) {
            ("a text (in quotes)".to_owned(), "***".to_owned())
        } else if tables::has_secrets(&raw.key) {
            (must, "***".to_owned())
        } else {
            (must, text(&raw.value))
        };
        let default = self.default_text(&raw.key);
        let (key, origin) = (raw.key.clone(), raw.origin.clone());
        ConfigError::Invalid(Box::new(Invalid { key, shown, origin, must, default }))
    }

    fn unknown(&self, raw: &Raw) -> ConfigError {
        let section = format!("{}.", raw.key);
        let is_section = self.defaults.keys().any(|known| known.starts_with(&section));
        let hint = if is_section {
            "; it is a section, which holds settings".to_owned()
        } else {
            let shorthands = SHORTHANDS.iter().map(|(short, _)| *short);
            let known = self.defaults.keys().map(String::as_str).chain(shorthands).chain([PRESET]);
            nearest(&raw.key, known).map_or_else(String::new, |name| {
                let as_given = match raw.origin {
                    Source::Env(_) => format!("MLSDM__{}", name.replace('.', "__").to_uppercase()),
                    Source::Default | Source::File(_) | Source::Flag(_) => name.to_owned(),
                };
                format!("; did you mean {as_given}?")
            })
        };
        ConfigError::UnknownKey { name: raw.name.clone(), origin: raw.origin.clone(), hint }
    }
}

/// A variable without the comment at its end, which Docker takes from the lines of an env file.
/// Only for values that are invalid with it: `#` is a valid character of texts and secrets.
fn without_comment(raw: &Raw) -> Option<Raw> {
    let (Source::Env(_), Value::String(text)) = (&raw.origin, &raw.value) else { return None };
    let is_comment = |&(at, _): &(usize, &str)| text[..at].ends_with(char::is_whitespace);
    let (at, _) = text.match_indices('#').find(is_comment)?;
    let value = &text[..at];
    Some(Raw { value: Value::String(value.trim().to_owned()), ..raw.clone() })
}

/// Resolves shorthands and reads secret files.
fn resolve(mut raw: Raw) -> Result<Raw, ConfigError> {
    tables::resolve(&mut raw)?;
    if let Some((_, key)) = SHORTHANDS.iter().find(|(short, _)| *short == raw.key) {
        (*key).clone_into(&mut raw.key);
    }
    let secret = SECRETS.iter().find(|secret| raw.key.strip_suffix("_file") == Some(**secret));
    if let (Some(key), Value::String(path)) = (secret, &raw.value) {
        raw.value = Value::String(tables::read_secret(&raw.name, PathBuf::from(path))?);
        (*key).clone_into(&mut raw.key);
    }
    Ok(raw)
}

/// Keys of numbers whose default is "not set", an empty text; with a number of their kind.
static OPTIONAL_NUMBERS: LazyLock<[(&str, Value); 4]> = LazyLock::new(|| {
    [
        ("llm.max_tokens", 1.into()),
        ("llm.temperature", 0.5.into()),
        ("limits.step_concurrency", 1.into()),
        ("limits.step_queue", 1.into()),
    ]
});

/// A value of the key's type.
fn of_kind<'a>(key: &str, value: &Value, default: &'a Value) -> &'a Value {
    let number = OPTIONAL_NUMBERS.iter().find(|(optional, _)| *optional == key);
    match (number, value.as_str()) {
        (None, _) | (Some(_), Some("")) => default,
        (Some((_, number)), _) => number,
    }
}

/// Converts a value to the type of the key's default.
fn coerce(value: &Value, like: &Value) -> Option<Value> {
    match (like, value) {
        (Value::Bool(_), Value::String(text)) => parse_bool(text).map(Value::Bool),
        (Value::Number(n), Value::String(text)) if n.is_f64() => {
            text.trim().parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::from)
        }
        (Value::Number(_), Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
        (Value::Number(n), Value::Number(given)) if n.is_f64() => given.as_f64().map(Value::from),
        (Value::Number(_), Value::Number(given)) => given.as_i64().map(Value::from),
        (Value::Array(likes), Value::String(text)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let items = parts.map(|part| Value::String(part.to_owned())).collect();
            coerce(&Value::Array(items), &Value::Array(likes.clone()))
        }
        (Value::Array(likes), Value::Array(items)) => {
            let text = Value::String(String::new());
            let like = likes.first().unwrap_or(&text);
            // the fields of a table are checked with the type of the key
            let item = |item: &Value| {
                if item.is_object() { Some(item.clone()) } else { coerce(item, like) }
            };
            items.iter().map(item).collect::<Option<_>>().map(Value::Array)
        }
        (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => {
            Some(value.clone())
        }
        _ => None,
    }
}

/// Parses the usual notations of booleans.
fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "true or false",
        Value::Number(n) if n.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::Array(_) => "a list (separated by commas in a variable)",
        Value::String(_) | Value::Null | Value::Object(_) => "a text (in quotes)",
    }
}

/// Describes the value that a deserialiser expected, without the actual value.
fn expectation(message: &str) -> String {
    let expected = message.rsplit_once("expected ").map_or(message, |(_, rest)| rest);
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    match expected {
        "u16" => "an integer from 0 to 65535".to_owned(),
        "u32" => "an integer from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "an integer, not negative".to_owned(),
        other => other.replace("one of ", "one of: "),
    }
}

fn text(value: &Value) -> String {
    match value.as_str() {
        Some("") => "not set".to_owned(),
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

fn nest<'a>(leaves: impl Iterator<Item = (&'a str, &'a Value)>) -> Value {
    let mut tree = Map::new();
    for (key, value) in leaves {
        insert(&mut tree, key, value);
    }
    Value::Object(tree)
}

fn insert(tree: &mut Map<String, Value>, key: &str, value: &Value) {
    let Some((section, rest)) = key.split_once('.') else {
        tree.insert(key.to_owned(), value.clone());
        return;
    };
    let inner = tree.entry(section).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}
