//! Why a step has no answer.

use std::time::Duration;

use crate::{
    domain::event::{FailStage, Usage},
    store::{StoreError, seal::SealError, subject::SubjectError, writer::WriteError},
};

/// Why a step has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StepError {
    /// A command of the step was not recorded.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The step was admitted and recorded as failed.
    #[error("step {step} failed {} ({code})", circumstance(*.stage))]
    Failed {
        /// The step's number.
        step: u64,
        /// The stage at which it failed.
        stage: FailStage,
        /// A short name of the cause, such as `timeout`.
        code: String,
        /// The time after which a retry may succeed, if the provider or its breaker names one.
        retry_after: Option<Duration>,
    },
    /// An earlier request with the same idempotency key is still running.
    #[error("a request with this Idempotency-Key is still running; retry later")]
    StillRunning,
    /// The model answered after the step had been recorded as abandoned. The answer was discarded.
    #[error("the answer to step {step} arrived after the step had been abandoned")]
    TooLate {
        /// The step's number.
        step: u64,
    },
    /// The requested model is not allowed. Nothing was recorded.
    #[error("this model is not allowed; GET /v1/models lists the allowed models (llm.models)")]
    ModelNotAllowed,
    /// The idempotency key belongs to a step whose answer was erased.
    #[error("the answer to the earlier request with this Idempotency-Key was erased")]
    Erased,
}

/// The stage of a failure as the end of a sentence.
const fn circumstance(stage: FailStage) -> &'static str {
    match stage {
        FailStage::Embedding => "while its prompt was embedded",
        FailStage::Llm => "while the model was called",
        FailStage::EmptyResponse => "because the model returned no text",
        FailStage::Cancelled => "because the client disconnected",
        FailStage::Abandoned => "because no result was recorded before its deadline",
    }
}

impl StepError {
    pub(super) fn defect(what: &str) -> Self {
        Self::Write(WriteError::Defect(what.to_owned()))
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

impl From<SealError> for StepError {
    fn from(error: SealError) -> Self {
        Self::Write(error.into())
    }
}

impl From<SubjectError> for StepError {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::Store(error) => error.into(),
            SubjectError::Seal(error) => error.into(),
        }
    }
}

/// Why an admitted step failed, before that is recorded.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) stage: FailStage,
    pub(super) code: String,
    pub(super) usage: Usage,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(stage: FailStage, code: &str) -> Self {
        let (code, usage) = (code.to_owned(), Usage::default());
        Self { stage, code, usage, retry_after: None }
    }

    /// The client disconnected.
    pub(super) fn cancelled() -> Self {
        Self::new(FailStage::Cancelled, "client_gone")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_failure_names_stage_and_cause_in_words() {
        let stage = FailStage::Llm;
        let error = StepError::Failed { step: 3, stage, code: "timeout".into(), retry_after: None };
        assert_eq!(error.to_string(), "step 3 failed while the model was called (timeout)");
    }
}
