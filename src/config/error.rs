//! What can be wrong with a configuration, said so that it can be put right.

use std::{borrow::Cow, fmt, io, path::PathBuf};

use super::Source;

/// Why a configuration may not be used. No variant holds the value of a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file whose kind is not known.
    #[error("{} must end in .yaml, .yml, .toml or .json", .0.display())]
    Extension(PathBuf),
    /// A file that is not what its name says.
    #[error("{} is not well formed: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, without the text of the line.
        message: String,
    },
    /// Two files, of which one would silently win.
    #[error("both config.yaml and config.toml are in {}; remove one, or name one with --config", .0.display())]
    TwoFiles(PathBuf),
    /// A key nobody reads.
    #[error("unknown setting {name} ({origin}){hint}")]
    UnknownKey {
        /// As it was written.
        name: String,
        /// Where.
        origin: Source,
        /// The nearest known name, as a sentence.
        hint: String,
    },
    /// A value that may not be used.
    #[error(transparent)]
    Invalid(Box<Invalid>),
    /// One key set to two values by two names for it.
    #[error("{first} and {second} set {key} to different values; remove one")]
    Twice {
        /// The key.
        key: String,
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// The file of a secret cannot be used.
    #[error("{name} names {}, which {problem}", path.display())]
    SecretFile {
        /// The key or variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Settings that promise what this version cannot do.
    #[error("{}", Lines(.0))]
    NotBuilt(Vec<Refusal>),
    /// The embedded defaults do not fit the program: a defect of the program.
    #[error("the embedded default.toml is broken: {0}")]
    Default(String),
}

/// A value that may not be used.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {shown} ({origin}): must be {must} (the default is {default})")]
pub struct Invalid {
    /// The key.
    pub key: String,
    /// The value, redacted for secrets.
    pub shown: String,
    /// Where it was given.
    pub origin: Source,
    /// What it has to be.
    pub must: String,
    /// The default value.
    pub default: String,
}

/// One setting that is refused because what it promises is not built yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The setting or variable as it was given.
    pub name: String,
    /// What to do instead.
    pub advice: &'static str,
}

struct Lines<'a>(&'a [Refusal]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings that this version cannot honour yet:")?;
        self.0.iter().try_for_each(|r| write!(f, "\n  {}: {}", r.name, r.advice))
    }
}

/// A bound that a section found violated; the loader adds value and source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The key.
    pub(super) key: Cow<'static, str>,
    /// What it has to be.
    pub(super) must: &'static str,
}

/// A fault unless the condition holds.
pub(super) fn check(ok: bool, key: &'static str, must: &'static str) -> Result<(), Fault> {
    if ok { Ok(()) } else { Err(Fault { key: Cow::Borrowed(key), must }) }
}
