//! Why an engine cannot be loaded, read or changed.

use std::sync::Arc;

use crate::{
    domain::ids::{EngineId, Position},
    store::{
        CommitError, MacKeyError, StoreError, seal::SealError, state_fold::ReplayError,
        subject::SubjectError, writer::WriteError,
    },
};

/// Why an engine cannot be loaded, read or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The log cannot be read or folded.
    #[error(transparent)]
    Folding(#[from] Arc<ReplayError>),
    /// The engine's keys cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A command was not recorded.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The engine's policy names an embedder that this server does not run.
    #[error(
        "the engine's vectors are made by {wanted}, but this server runs {running}: configure that \
         embedder, or copy the engine with `mlsdm engine migrate`"
    )]
    Embedder {
        /// The embedder of the policy.
        wanted: String,
        /// The embedder of the server.
        running: String,
    },
    /// The log has no events.
    #[error("engine {0} has no events because its creation did not finish: create it again")]
    Empty(EngineId),
    /// The requested time is before the first event of the log.
    #[error(
        "the requested time is before the first event of engine {0}; GET /v1/events/1 returns that \
         event"
    )]
    Before(EngineId),
    /// The requested position is after the last event of the log.
    #[error("position {position} is not in the log yet; its last event is at position {head}")]
    Beyond {
        /// The requested position.
        position: Position,
        /// The position of the last event.
        head: Position,
    },
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        Self::Folding(Arc::new(ReplayError::Store(error)))
    }
}

impl From<CommitError> for EngineError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Failed(error) => error.into(),
            CommitError::Unknown(error) => Self::Write(WriteError::InDoubt(error)),
        }
    }
}

impl From<ReplayError> for EngineError {
    fn from(error: ReplayError) -> Self {
        Self::Folding(Arc::new(error))
    }
}

impl From<MacKeyError> for EngineError {
    fn from(error: MacKeyError) -> Self {
        match error {
            MacKeyError::Store(error) => error.into(),
            MacKeyError::Seal(error) => error.into(),
        }
    }
}

impl From<SubjectError> for EngineError {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::Store(error) => error.into(),
            SubjectError::Seal(error) => error.into(),
        }
    }
}
