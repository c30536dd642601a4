//! Damage: the position and the cause at which a log cannot be folded.

use crate::{
    domain::{
        event::LOG_FORMAT,
        evolve::FoldError,
        ids::{EngineId, MacKeyId, Position, Sha256},
        rules::Rules,
    },
    store::{Head, StoreError, codec::CodecError},
};

/// The first log format whose events have a MAC.
pub const MAC_FORMAT: u32 = 2;

/// A log that cannot be folded, with the position and the cause.
#[derive(Debug, thiserror::Error)]
#[error("engine {engine}, position {position}: {cause}")]
pub struct LogDamage {
    /// The engine.
    pub engine: EngineId,
    /// The position of the row.
    pub position: Position,
    /// The cause.
    #[source]
    pub cause: DamageCause,
}

/// The reason why a row cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum DamageCause {
    /// A row is missing.
    #[error("a row is missing: found position {found} instead")]
    Gap {
        /// The position of the row found instead.
        found: Position,
    },
    /// The row does not have the form of an event.
    #[error("the row cannot be read ({0})")]
    Unreadable(&'static str),
    /// The log ends before an event that this process has folded.
    #[error("events up to position {folded} were removed after this process had read them")]
    Removed {
        /// The position of the last event that this process has folded.
        folded: Position,
    },
    /// The last event that this process has folded is another one now.
    #[error("this event or an earlier one was replaced after this process had read it")]
    Replaced,
    /// The background audit found an edit before the last folded event.
    #[error("the audit failed: {0}; `mlsdm audit verify` repeats it")]
    Audit(String),
    /// This row or an earlier one was edited.
    #[error("the hash chain is broken; `mlsdm audit verify` shows where it was edited")]
    Chain,
    /// The event cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The event contradicts the state before it.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The log has a newer format.
    #[error("log format {found} is newer than {LOG_FORMAT}; run a newer binary")]
    Format {
        /// The format of the log.
        found: u32,
    },
    /// The event was decided by rules that this binary does not have.
    #[error(
        "it was decided by rules version {found}, and mlsdm {} has version {}; run the mlsdm that \
         recorded it or a newer one",
        env!("CARGO_PKG_VERSION"), Rules::NEWEST.version()
    )]
    Rules {
        /// The version of the rules.
        found: u32,
    },
    /// The event has no MAC.
    #[error(
        "it has no MAC, which log format {MAC_FORMAT} requires: it was not written by a server of this \
         deployment"
    )]
    MacMissing,
    /// The key of the MAC is unknown.
    #[error(
        "its MAC key {key} is missing from mac_keys, or the row of that key was replaced: the content \
         key does not open it"
    )]
    MacKey {
        /// The id of the key.
        key: MacKeyId,
    },
    /// The MAC is not that of this event.
    #[error(
        "its MAC is invalid: it was not written by a server of this deployment, or not at this \
         position of this log"
    )]
    Mac,
    /// The MAC has a key that a rotation before this event ended.
    #[error(
        "its MAC key {key} was rotated out before it: events of this log have key {least} or a later \
         one. Whoever wrote it holds an old key"
    )]
    MacKeyRetired {
        /// The id of the key.
        key: MacKeyId,
        /// The lowest key that the event may have.
        least: MacKeyId,
    },
    /// The log has a lower format than the engine's row proves.
    #[error(
        "the engine has log format {written}, but its log ends with format {found}: the log was \
         replaced; restore it from a backup"
    )]
    FormatOfLog {
        /// The format at the end of the log.
        found: u32,
        /// The format for which the engine's index key was wrapped.
        written: u32,
    },
}

impl DamageCause {
    /// True if the event may be genuine, and a newer binary may be able to fold it.
    pub const fn may_be_newer(&self) -> bool {
        match self {
            Self::Format { .. } | Self::Rules { .. } => true,
            Self::Codec(error) => error.may_be_newer(),
            Self::Gap { .. }
            | Self::Unreadable(_)
            | Self::Removed { .. }
            | Self::Replaced
            | Self::Audit(_)
            | Self::Chain
            | Self::Fold(_)
            | Self::MacMissing
            | Self::MacKey { .. }
            | Self::MacKeyRetired { .. }
            | Self::Mac
            | Self::FormatOfLog { .. } => false,
        }
    }

    /// The kind of damage, without values of the row.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "missing",
            Self::Unreadable(_) => "unreadable",
            Self::Chain => "chain",
            Self::Codec(_) => "event",
            Self::Fold(_) => "contradiction",
            Self::Format { .. } => "format",
            Self::Rules { .. } => "rules",
            Self::Removed { .. } => "removed",
            Self::Replaced => "replaced",
            Self::Audit(_) => "audit",
            Self::MacMissing => "mac_missing",
            Self::MacKey { .. } => "mac_key",
            Self::MacKeyRetired { .. } => "mac_key_retired",
            Self::Mac => "mac",
            Self::FormatOfLog { .. } => "format_changed",
        }
    }
}

/// The error of a replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be folded.
    #[error(transparent)]
    Damage(#[from] Box<LogDamage>),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks that a log still contains all that was folded. Its head may be after the folded events, which
/// is no damage: the chain shows whether the events between continue them.
pub fn check_head(
    engine: &EngineId,
    (position, chain_hash): (Position, Sha256),
    head: &Head,
) -> Result<(), Box<LogDamage>> {
    let damage =
        |position, cause| Err(Box::new(LogDamage { engine: engine.clone(), position, cause }));
    if head.position < position {
        return damage(head.position + 1, DamageCause::Removed { folded: position });
    }
    if head.position == position && head.chain_hash != chain_hash {
        return damage(position, DamageCause::Replaced);
    }
    Ok(())
}

/// Checks that this binary supports the log format of an engine.
pub fn check_format(engine: &EngineId, format: u32) -> Result<(), Box<LogDamage>> {
    if format <= LOG_FORMAT {
        return Ok(());
    }
    let cause = DamageCause::Format { found: format };
    Err(Box::new(LogDamage { engine: engine.clone(), position: 0, cause }))
}
