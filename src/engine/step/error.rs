//! Why a step has no answer.

use std::time::Duration;

use crate::{
    domain::event::{FailStage, ModelCall, Usage},
    llm::{CallReport, LlmError, ProviderError, UnreachableCause},
    store::{StoreError, seal::SealError, subject::SubjectError, writer::WriteError},
};

/// Why a step has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StepError {
    /// A command of the step was not recorded.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The step was admitted and recorded as failed.
    #[error("step {step} failed {} ({})", circumstance(*.stage), cause(.code, .call.as_deref()))]
    Failed {
        /// The step's number.
        step: u64,
        /// The stage at which it failed.
        stage: FailStage,
        /// A short name of the cause, such as `timeout`.
        code: String,
        /// The time after which a retry may succeed, if the provider or its breaker names one.
        retry_after: Option<Duration>,
        /// The failed call of a model.
        call: Option<Box<FailedCall>>,
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
    /// The database did not confirm the ending of the step before the step was abandoned.
    #[error("step {step} was admitted, and its answer is recorded or not: {cause}")]
    InDoubt {
        /// The step's number.
        step: u64,
        /// The error of the database.
        cause: StoreError,
    },
    /// The requested model is not allowed. Nothing was recorded.
    #[error("requests may not name this model (llm.models), only: {models}")]
    ModelNotAllowed {
        /// The models that requests may name.
        models: String,
    },
    /// The request has a part for which the provider's API has no form. Nothing was recorded.
    #[error("the request cannot be translated for the provider of the model: {what}")]
    Untranslatable {
        /// The part.
        what: &'static str,
    },
    /// The circuit breakers of the model and of its fallbacks are open. Nothing was recorded.
    #[error(
        "the model is not called at the moment because its last calls failed (its circuit breaker is open)"
    )]
    ModelUnavailable {
        /// The time until a breaker admits a call.
        retry_after: Duration,
    },
    /// The circuit breaker of the embedding server is open. Nothing was recorded.
    #[error(
        "the embedding server is not called at the moment because its last calls failed (its circuit \
         breaker is open)"
    )]
    EmbedderUnavailable {
        /// The time until the breaker admits a call.
        retry_after: Duration,
    },
    /// The caller's score is the only one, and the caller may not state it. Nothing was recorded.
    #[error(
        "the engine has no scorer (moral.scorer), and the caller's own score (moral_value) needs the \
         permission moral:assert; GET /v1/me lists your permissions"
    )]
    MayNotAssert,
    /// The texts that must be judged are too long. Nothing was recorded.
    #[error(
        "the request has {chars} characters to be judged, and at most {limit} are judged; shorten it, or \
         raise limits.judged_chars"
    )]
    TooMuchText {
        /// The length of the texts.
        chars: usize,
        /// The limit.
        limit: usize,
    },
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

/// The cause of a failure in brackets: its short name and what the provider said.
fn cause(code: &str, call: Option<&FailedCall>) -> String {
    let Some(call) = call else { return code.to_owned() };
    let status = call.status.map(|status| format!("status {status}"));
    let said = call.error.map(|error| error.code.to_owned()).filter(|said| said != code);
    let part = call.cause.map(|cause| cause.name().to_owned());
    let parts = [Some(code.to_owned()), status, said, part];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The call of a model whose failure ended a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCall {
    /// The provider's name.
    pub provider: String,
    /// The HTTP status, if the provider answered.
    pub status: Option<u16>,
    /// What the provider says about the failure.
    pub error: Option<ProviderError>,
    /// Why the provider cannot be reached.
    pub cause: Option<UnreachableCause>,
}

impl FailedCall {
    /// The failed call of a report.
    pub(super) fn new(report: &CallReport, error: &LlmError) -> Self {
        Self {
            provider: report.provider.to_owned(),
            status: error.status(),
            error: error.provider_error(),
            cause: error.unreachable_cause(),
        }
    }

    /// A recorded call.
    pub(super) fn recorded(call: &ModelCall) -> Self {
        let status = call.status;
        let code = call.provider_code.as_deref();
        Self {
            provider: call.provider.clone(),
            status,
            error: status.zip(code).map(|(status, code)| ProviderError::recorded(status, code)),
            cause: call.cause.as_deref().and_then(UnreachableCause::from_name),
        }
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
    pub(super) call: Option<Box<FailedCall>>,
}

impl Failure {
    pub(super) fn new(stage: FailStage, code: &str) -> Self {
        let (code, usage) = (code.to_owned(), Usage::default());
        Self { stage, code, usage, retry_after: None, call: None }
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
        let mut call = FailedCall {
            provider: "openai".to_owned(),
            status: None,
            error: None,
            cause: Some(UnreachableCause::Dns),
        };
        let text = |code: &str, call: &FailedCall| {
            let (stage, code, call) =
                (FailStage::Llm, code.to_owned(), Some(Box::new(call.clone())));
            StepError::Failed { step: 3, stage, code, retry_after: None, call }.to_string()
        };
        assert_eq!(
            text("unreachable", &call),
            "step 3 failed while the model was called (unreachable, dns)"
        );
        call = FailedCall { status: Some(400), cause: None, ..call };
        call.error = Some(ProviderError::recorded(400, "context_length_exceeded"));
        assert_eq!(
            text("refused", &call),
            "step 3 failed while the model was called (refused, status 400, context_length_exceeded)"
        );
    }
}
