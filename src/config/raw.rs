//! Values as they were given, before they are merged: the vocabulary of all other files here.

use std::{fmt, path::PathBuf};

use serde_json::Value;

/// Keys whose values are redacted, and which may be given as `KEY_file`.
pub const SECRETS: [&str; 10] = [
    "auth.keys.user",
    "auth.keys.admin",
    "database.url",
    "database.content_key",
    "llm.openai.api_key",
    "llm.anthropic.api_key",
    "llm.replay.database",
    "embeddings.api_key",
    "traces.headers",
    "logging.loki_url",
];

/// Keys of lists of tables, and the field of a table that is redacted and may be given as
/// `FIELD_file`. A field `headers` is redacted too.
pub(super) const SECRET_TABLES: [(&str, &str); 1] = [("llm.providers", "api_key")];

/// The layer in which a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The embedded defaults.
    Default,
    /// The configuration file at this path.
    File(PathBuf),
    /// The environment variable of this name.
    Env(String),
    /// The command line flag of this name.
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

/// A value given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as typed, for messages.
    pub name: String,
    /// The key to set.
    pub key: String,
    /// The value as typed.
    pub value: String,
}

/// One value as it was given.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// The name used in the layer: a key, or an environment variable.
    pub(super) name: String,
    /// The key to set; may be a shorthand.
    pub(super) key: String,
    /// The value. Variables and flags are always strings, whatever the type of the key.
    pub(super) value: Value,
    /// The layer.
    pub(super) origin: Source,
}

impl From<Flag> for Raw {
    fn from(flag: Flag) -> Self {
        let origin = Source::Flag(flag.name);
        Self { name: flag.key.clone(), key: flag.key, value: Value::String(flag.value), origin }
    }
}
