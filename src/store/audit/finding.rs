//! The findings of an audit.

use crate::domain::ids::{MacKeyId, Position};

/// An inconsistency of the stored bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inconsistency {
    /// The position.
    pub position: Position,
    /// The kind of inconsistency.
    pub what: Finding,
}

/// The kinds of inconsistency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Events without an engine, or an engine without its first event.
    #[error("the engine's row or its first event is missing")]
    NoEngine,
    /// The row does not have the form of an event.
    #[error("the row cannot be read ({0})")]
    Unreadable(&'static str),
    /// The position does not follow the previous one.
    #[error("an event before it is missing")]
    Gap,
    /// The time is before that of the previous event.
    #[error("it was recorded before the previous event")]
    TimeFalls,
    /// The hash of the columns differs from the stored leaf hash.
    #[error("a column was changed")]
    Leaf,
    /// The stored chain hash does not continue the chain.
    #[error("the chain is broken")]
    Chain,
    /// The event has no MAC although the format of the log requires one.
    #[error("it has no MAC, which the format of the log requires")]
    MacMissing,
    /// The key of the MAC is not known.
    #[error("its MAC key {0} is missing from mac_keys, or the content key does not open it")]
    MacKey(MacKeyId),
    /// The MAC is not that of this event.
    #[error("its MAC is invalid: no server of this deployment wrote it at this position")]
    Mac,
    /// The MAC has a key that a rotation before this event ended.
    #[error(
        "its MAC key {key} was rotated out before it: later events have key {least} or a later one"
    )]
    MacKeyRetired {
        /// The id of the key.
        key: MacKeyId,
        /// The lowest key that the event may have.
        least: MacKeyId,
    },
    /// The content key does not open the engine's index key.
    #[error("the content key does not open the engine's index key")]
    IndexKey,
    /// The column `log_format` was changed.
    #[error("the column log_format of the engine was changed from {written} to {row}")]
    FormatColumn {
        /// The format in the column.
        row: u32,
        /// The format for which the index key was wrapped.
        written: u32,
    },
    /// The log was replaced by one of another format, or the column `log_format` was changed.
    #[error("the engine's row has log format {row}, but its log has format {found}")]
    Format {
        /// The format in the column `log_format`.
        row: u32,
        /// The format of the log.
        found: u32,
    },
    /// The hash of the contents row differs from the event's content hash.
    #[error("its contents were changed")]
    Content,
    /// The contents row is missing, and no erasure explains it.
    #[error("its contents are missing without an erasure")]
    ContentMissing,
    /// A contents row without an event.
    #[error("contents without an event")]
    ContentStray,
}

impl Finding {
    /// True if a replay of the log stops at the event too.
    pub const fn concerns_event(self) -> bool {
        match self {
            Self::NoEngine
            | Self::Unreadable(_)
            | Self::Gap
            | Self::Leaf
            | Self::Chain
            | Self::MacMissing
            | Self::MacKey(_)
            | Self::Mac
            | Self::MacKeyRetired { .. }
            | Self::IndexKey
            | Self::Format { .. } => true,
            // a replay ignores the column
            Self::FormatColumn { .. }
            | Self::TimeFalls
            | Self::Content
            | Self::ContentMissing
            | Self::ContentStray => false,
        }
    }
}
