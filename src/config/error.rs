//! Configuration errors. Each names the setting, its source and the valid values.

use std::{borrow::Cow, fmt, io, path::PathBuf};

use super::raw::Source;

/// Why a configuration is refused. No variant contains the value of a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The extension of a file is unknown.
    #[error("{} must end in .yaml, .yml, .toml or .json", .0.display())]
    Extension(PathBuf),
    /// A file cannot be parsed.
    #[error("{} is not well formed: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The message of the parser, without the text of the line.
        message: String,
    },
    /// Both default files exist; one would silently win.
    #[error("both config.yaml and config.toml are in {}; remove one, or name one with --config", .0.display())]
    TwoFiles(PathBuf),
    /// A key does not exist.
    #[error("unknown setting {name} ({origin}){hint}")]
    UnknownKey {
        /// The name as given.
        name: String,
        /// The layer.
        origin: Source,
        /// A suggestion with the most similar name; may be empty.
        hint: String,
    },
    /// A value is out of bounds or has the wrong type.
    #[error(transparent)]
    Invalid(Box<Invalid>),
    /// Two names of one key set it to different values.
    #[error("{first} and {second} set {key} to different values; remove one")]
    Twice {
        /// The key.
        key: String,
        /// The first name.
        first: String,
        /// The second name.
        second: String,
    },
    /// The file of a secret cannot be used.
    #[error("{name} names {}, which {problem}", path.display())]
    SecretFile {
        /// The key or variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// The problem, as a clause after "which".
        problem: String,
    },
    /// Settings of features that are not implemented yet.
    #[error("{}", Lines(.0))]
    NotBuilt(Vec<Refusal>),
    /// The embedded defaults do not match the program, which is a defect of the program.
    #[error("the embedded default.toml is broken: {0}")]
    Default(String),
}

/// An invalid value.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {shown} ({origin}): must be {must} (the default is {default})")]
pub struct Invalid {
    /// The key.
    pub key: String,
    /// The value, redacted for secrets.
    pub shown: String,
    /// The layer.
    pub origin: Source,
    /// The valid values.
    pub must: String,
    /// The default value.
    pub default: String,
}

/// A setting that is refused because its feature is not implemented yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The setting or variable as given.
    pub name: String,
    /// The remediation.
    pub advice: &'static str,
}

struct Lines<'a>(&'a [Refusal]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings that this version does not support yet:")?;
        self.0.iter().try_for_each(|r| write!(f, "\n  {}: {}", r.name, r.advice))
    }
}

/// A violated bound. The loader adds value and source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The key.
    pub(super) key: Cow<'static, str>,
    /// The valid values.
    pub(super) must: &'static str,
}

/// Returns a fault unless `ok`.
pub(super) fn check(ok: bool, key: &'static str, must: &'static str) -> Result<(), Fault> {
    if ok { Ok(()) } else { Err(Fault { key: Cow::Borrowed(key), must }) }
}
