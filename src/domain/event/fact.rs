//! Facts: events that the domain records without a decision.

use serde::Serialize;

use super::{
    AccessDenied, AuditKeyChanged, ContentRead, ContentsExpired, EngineRetired, Hold, LogRecovered,
    MacKeyChanged, MemoryForgotten, MemoryShared, RequestsRefused, ServerStarted, SettingsChanged,
    StepAnnotated, SubjectExported,
};

/// The maximum length of a reason or another free text in characters.
pub const TEXT_MAX: usize = 1_000;

/// A fact. `decide` checks its bounds, that the log has the format of its type, and that its items
/// exist; rules do not apply to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// Memory items and their contents were removed.
    MemoryForgotten(MemoryForgotten),
    /// Memory items were made visible to all data subjects.
    MemoryShared(MemoryShared),
    /// Contents of another data subject were read.
    ContentRead(ContentRead),
    /// The retention time of contents is over.
    ContentsExpired(ContentsExpired),
    /// A data subject's contents must not expire.
    HoldPlaced(Hold),
    /// A hold ended.
    HoldReleased(Hold),
    /// The data of a data subject was exported.
    SubjectExported(SubjectExported),
    /// A person judged a verdict.
    StepAnnotated(StepAnnotated),
    /// Requests were refused before a verdict.
    RequestsRefused(RequestsRefused),
    /// Events were moved into quarantine or lost.
    Recovered(LogRecovered),
    /// A process began to serve.
    ServerStarted(ServerStarted),
    /// Requests without a valid credential or permission were refused.
    AccessDenied(AccessDenied),
    /// New events are authenticated with another key.
    MacKeyChanged(MacKeyChanged),
    /// Checkpoints are signed with another key.
    AuditKeyChanged(AuditKeyChanged),
    /// Settings of the server were changed.
    SettingsChanged(SettingsChanged),
    /// An engine was put out of use.
    EngineRetired(EngineRetired),
}
