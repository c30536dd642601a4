//! Identifiers: engines, data subjects, commands, API keys, positions and digests.
//!
//! They are plain values. Random ids are generated outside the domain and passed in.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A position in an engine's log: 1, 2, 3 … in commit order. 0 means "before the first event".
pub type Position = u64;

/// The number of a step within its engine, counted from 1.
pub type StepNumber = u64;

/// Microseconds since the Unix epoch, by the log's clock.
pub type Micros = i64;

/// The number of a key with which events are authenticated; the first key is 1.
pub type MacKeyId = u32;

/// The maximum length of an engine name in characters.
pub const ENGINE_ID_MAX: usize = 64;

/// The name of an engine: 1 to 64 characters of `a-z 0-9 - _`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EngineId(Arc<str>);

/// The text is not an engine name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an engine id is 1 to {ENGINE_ID_MAX} characters of a-z, 0-9, '-' and '_', but not {:?}",
    EngineId::SYSTEM
)]
pub struct InvalidEngineId;

impl EngineId {
    /// The engine that the server creates at its first start.
    pub const DEFAULT: &str = "default";

    /// The server's own log of administrative acts. It is stored like an engine's log, but no
    /// engine can have this name: [`FromStr`] refuses it.
    pub const SYSTEM: &str = "_system";

    /// The name of the server's own log.
    pub fn system() -> Self {
        Self(Self::SYSTEM.into())
    }

    /// True for the server's own log.
    pub fn is_system(&self) -> bool {
        self.as_str() == Self::SYSTEM
    }

    /// Parses the name of a log: an engine's, or the server's own.
    pub fn of_log(text: &str) -> Result<Self, InvalidEngineId> {
        if text == Self::SYSTEM { Ok(Self::system()) } else { text.parse() }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for EngineId {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for EngineId {
    type Err = InvalidEngineId;

    fn from_str(text: &str) -> Result<Self, InvalidEngineId> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let fits = (1..=ENGINE_ID_MAX).contains(&text.len()) && text != Self::SYSTEM;
        if fits && text.bytes().all(valid) { Ok(Self(text.into())) } else { Err(InvalidEngineId) }
    }
}

impl TryFrom<String> for EngineId {
    type Error = InvalidEngineId;

    fn try_from(text: String) -> Result<Self, InvalidEngineId> {
        text.parse()
    }
}

impl From<EngineId> for String {
    fn from(id: EngineId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u128);

        impl $name {
            /// Makes an id from its 128 bits.
            pub const fn new(bits: u128) -> Self {
                Self(bits)
            }

            /// The 128 bits.
            pub const fn get(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let plain: String = text.chars().filter(|c| *c != '-').collect();
                if plain.len() != 32 {
                    return Err(InvalidId);
                }
                u128::from_str_radix(&plain, 16).map(Self).map_err(|_| InvalidId)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

/// The text is not a 128-bit id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct InvalidId;

opaque_id! {
    /// The random pseudonym of a data subject, an actor or an API key within one engine.
    SubjectRef
}

opaque_id! {
    /// The id of a command. It is stored with every event of the command, so that a commit of
    /// unknown outcome can be found in the log.
    CommandId
}

opaque_id! {
    /// The permanent id of an API key; a rotation keeps it.
    KeyId
}

opaque_id! {
    /// The id under which quarantined events are kept.
    QuarantineId
}

/// The id of a process that serves, random and new at each start; 16 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReplicaId(pub [u8; 8]);

/// The first 8 bytes of a SHA-256 digest; 16 hexadecimal digits as text. It tells versions of a
/// policy apart; it is no evidence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShortHash(pub [u8; 8]);

/// The text is not a 64-bit id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is 16 hexadecimal digits")]
pub struct InvalidShortId;

macro_rules! short_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidShortId;

            fn try_from(text: String) -> Result<Self, InvalidShortId> {
                let mut bytes = [0; 8];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidShortId)?;
                Ok(Self(bytes))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

short_text!(ReplicaId);
short_text!(ShortHash);

/// A SHA-256 digest; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

/// The text is not a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 hexadecimal digits")]
pub struct InvalidSha256;

impl Sha256 {
    /// The first 8 bytes.
    pub fn short(&self) -> ShortHash {
        ShortHash(self.0.first_chunk().copied().unwrap_or_default())
    }
}

impl TryFrom<String> for Sha256 {
    type Error = InvalidSha256;

    fn try_from(text: String) -> Result<Self, InvalidSha256> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidSha256)?;
        Ok(Self(bytes))
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
