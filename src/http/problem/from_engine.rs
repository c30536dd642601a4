//! Converts errors of the engine and the event log to problems.
//!
//! Every match is exhaustive: a new error variant does not compile until it has a code here.

use std::time::Duration;

use super::{Code, Problem};
use crate::{
    domain::{command::Refusal, event::FailStage, moral::ScoreError},
    embed::EmbedError,
    engine::{EngineError, FailedCall, StepError},
    llm::{CONTEXT_LENGTH_EXCEEDED, INSUFFICIENT_QUOTA, MODEL_NOT_FOUND, PROVIDER_UNAUTHORIZED},
    store::{StoreError, state_fold::ReplayError, writer::WriteError},
};

impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Write(error) => error.into(),
            StepError::Failed { step, stage, ref code, retry_after, ref call } => {
                let call = call.as_deref().cloned();
                let error_code = failed(stage, code, call.as_ref());
                let detail = format!("{error}{}", advice(call.as_ref()));
                let problem = Self::new(error_code, detail).with_step(step, code).with_call(call);
                let waits =
                    [Code::ModelUnavailable, Code::ModelRateLimited, Code::EmbedderUnavailable];
                match retry_after.filter(|_| waits.contains(&error_code)) {
                    Some(wait) => problem.retry_after(whole_seconds(wait)),
                    None => problem,
                }
            }
            StepError::StillRunning => {
                Self::new(Code::IdempotencyRunning, error.to_string()).retry_after(1)
            }
            StepError::TooLate { step } => {
                Self::new(Code::StepAbandoned, error.to_string()).with_step(step, "too_late")
            }
            StepError::InDoubt { step, cause } => {
                Self::in_doubt(&cause).with_step(step, "outcome_unknown")
            }
            StepError::ModelNotAllowed { .. } => Self::new(Code::ModelNotFound, error.to_string()),
            StepError::Untranslatable { .. } => Self::new(Code::ModelCannot, error.to_string()),
            StepError::ModelUnavailable { retry_after } => {
                Self::new(Code::ModelUnavailable, error.to_string())
                    .retry_after(whole_seconds(retry_after))
            }
            StepError::EmbedderUnavailable { retry_after } => {
                Self::new(Code::EmbedderUnavailable, error.to_string())
                    .retry_after(whole_seconds(retry_after))
            }
            StepError::MayNotAssert => Self::new(Code::Forbidden, error.to_string()),
            StepError::TooMuchText { .. } => Self::new(Code::PromptTooLong, error.to_string()),
            StepError::Erased => Self::new(Code::Erased, error.to_string()),
        }
    }
}

fn failed(stage: FailStage, code: &str, call: Option<&FailedCall>) -> Code {
    match stage {
        FailStage::Embedding => embedding_failed(code),
        FailStage::Llm => model_failed(code, call.and_then(|call| call.status)),
        FailStage::EmptyResponse => Code::EmptyResponse,
        FailStage::Cancelled => Code::Cancelled,
        FailStage::Abandoned => Code::StepAbandoned,
    }
}

/// The errors of the request keep the provider's status, so that SDKs do not retry them.
fn model_failed(code: &str, status: Option<u16>) -> Code {
    match (code, status) {
        ("refused", Some(400)) => Code::ProviderRefused,
        ("refused", Some(404)) => Code::ModelNotFound,
        ("refused", Some(413)) => Code::ProviderTooLarge,
        ("refused", Some(422)) => Code::ProviderUnprocessable,
        ("overloaded", Some(429)) => Code::ModelRateLimited,
        ("timeout", _) => Code::ModelTimedOut,
        ("deadline", _) => Code::DeadlineExceeded,
        ("breaker_open" | "bulkhead_full" | "overloaded", _) => Code::ModelUnavailable,
        ("context_unavailable", _) => Code::LogUnavailable,
        ("over_memory", _) => Code::OverMemory,
        ("unauthorized", _) => Code::ModelMisconfigured,
        (INSUFFICIENT_QUOTA, _) => Code::ModelQuota,
        ("model_not_allowed", _) => Code::ModelNotFound,
        ("untranslatable", _) => Code::ModelCannot,
        _ => Code::ModelFailed,
    }
}

/// What the caller can do about a provider's error. Clients look for these words, because Anthropic's
/// API has no code for the cause.
fn advice(call: Option<&FailedCall>) -> &'static str {
    match call.and_then(|call| call.error).map(|error| error.code) {
        Some(CONTEXT_LENGTH_EXCEEDED) => {
            "; the prompt is too long, it exceeds the maximum context length of the model: shorten the \
             messages"
        }
        Some(MODEL_NOT_FOUND) => "; the provider does not have this model",
        Some(INSUFFICIENT_QUOTA) => {
            "; sending it again does not help until the operator of this server raises the quota at \
             the provider"
        }
        Some(PROVIDER_UNAUTHORIZED) => {
            "; the operator of this server must check the provider's API key"
        }
        _ => "",
    }
}

fn embedding_failed(code: &str) -> Code {
    match code {
        "busy" | "breaker_open" | "overloaded" => Code::EmbedderUnavailable,
        _ => Code::EmbeddingFailed,
    }
}

impl From<EmbedError> for Problem {
    fn from(error: EmbedError) -> Self {
        let problem = Self::new(embedding_failed(error.code()), error.to_string());
        match error.retry_after() {
            Some(wait) => problem.retry_after(whole_seconds(wait)),
            None => problem,
        }
    }
}

/// A duration in seconds for `Retry-After`: rounded up, at least 1.
pub(in crate::http) const fn whole_seconds(wait: Duration) -> u64 {
    let rounded = if wait.subsec_nanos() > 0 { wait.as_secs() + 1 } else { wait.as_secs() };
    if rounded == 0 { 1 } else { rounded }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Write(error) => error.into(),
            EngineError::Folding(folding) => match &*folding {
                ReplayError::Store(error) => error.clone().into(),
                ReplayError::Damage(damage) => {
                    Self::new(Code::EngineRefused, damage.to_string()).caused_by(damage)
                }
            },
            EngineError::Seal(ref cause) => Self::new(
                Code::EngineRefused,
                "the keys of the engine cannot be decrypted; check the configured content key",
            )
            .caused_by(cause),
            EngineError::Embedder { .. } | EngineError::Empty(_) => {
                Self::new(Code::EngineRefused, error.to_string())
            }
            EngineError::Beyond { .. } | EngineError::Before(_) => {
                Self::new(Code::EventNotFound, error.to_string())
            }
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => refusal.into(),
            WriteError::OtherBody => Self::new(Code::IdempotencyMismatch, error.to_string()),
            WriteError::SubjectErased => Self::new(Code::Erased, error.to_string()),
            WriteError::QueueFull => Self::new(Code::WriterQueueFull, error.to_string()),
            WriteError::Overdue => {
                let detail = format!("{error}; send it again with the same Idempotency-Key");
                Self::new(Code::DeadlineExceeded, detail).outcome_unknown()
            }
            WriteError::Closed => Self::new(Code::Draining, error.to_string()),
            WriteError::Store(error) => error.into(),
            WriteError::InDoubt(ref cause) => Self::in_doubt(cause),
            WriteError::Untrusted(ref damage) => {
                Self::new(Code::EngineUntrusted, error.to_string()).caused_by(&**damage)
            }
            WriteError::Seal(ref cause) => Self::internal(cause),
            WriteError::Defect(_) => Self::internal(&error),
        }
    }
}

impl Problem {
    /// The database did not confirm a commit.
    fn in_doubt(cause: &StoreError) -> Self {
        let detail = "the database of the event log did not confirm the write, so the request is recorded \
                      or not; send it again with the same Idempotency-Key, or read /v1/events before you \
                      send it again without one";
        Self::new(Code::LogUnavailable, detail).outcome_unknown().caused_by(cause)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Shutdown { .. } => Code::EmergencyShutdown,
            Refusal::Budget { .. } => Code::BudgetSpent,
            Refusal::BudgetHolders { .. } => Code::BudgetHolders,
            Refusal::NoPrice => Code::NoPrice,
            Refusal::Score(ScoreError::Missing) => Code::MoralValueRequired,
            Refusal::Score(ScoreError::OutOfRange) => Code::MoralValueRange,
            Refusal::NotOpen { .. } | Refusal::NotExpired { .. } => Code::StepAbandoned,
            Refusal::Policy(_) | Refusal::Fixed { .. } => Code::BadPolicy,
            Refusal::Dimension { .. } => Code::EmbeddingFailed,
            Refusal::Key(_) => Code::BadField,
            Refusal::NoKey { .. } => Code::KeyNotFound,
            Refusal::TooManyKeys => Code::TooManyKeys,
            // unreachable through the API: no route adds items or records facts, and the server
            // generates key ids
            Refusal::OtherSource { .. }
            | Refusal::OutOfOrder { .. }
            | Refusal::KeyExists
            | Refusal::LogFormat { .. }
            | Refusal::UnknownFormat { .. }
            | Refusal::FactBound { .. }
            | Refusal::NoItem { .. }
            | Refusal::NoPosition { .. }
            | Refusal::TooManyHolds
            | Refusal::ReplicaAlive { .. }
            | Refusal::NoReplica { .. } => Code::Internal,
        };
        let problem = Self::new(code, refusal.to_string());
        match refusal.retry_after() {
            None => problem,
            Some(micros) => problem.retry_after(micros.unsigned_abs().div_ceil(1_000_000).max(1)),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Unavailable(_)
            | StoreError::Timeout(_)
            | StoreError::Serialization(_)
            | StoreError::ReadOnly(_)
            | StoreError::Locked(_)
            | StoreError::FileChanged { .. } => Code::LogUnavailable,
            StoreError::DiskFull(_) => Code::DiskFull,
            StoreError::EngineMissing(_) => Code::EngineNotFound,
            StoreError::EngineExists(_) => Code::EngineExists,
            StoreError::Corrupt { .. } => Code::EngineRefused,
            StoreError::File { .. }
            | StoreError::Url(_)
            | StoreError::Login(_)
            | StoreError::Unmigrated(_)
            | StoreError::OtherSchema(_)
            | StoreError::Denied(_)
            | StoreError::Other(_) => Code::Internal,
        };
        let detail = match &error {
            // driver messages may contain host and file names, so they are logged and not sent
            StoreError::Unavailable(_) => {
                "the database of the event log is unavailable; try again later".to_owned()
            }
            StoreError::Timeout(_) => {
                "the database of the event log did not answer in time; try again later".to_owned()
            }
            StoreError::ReadOnly(_) => {
                "the database of the event log accepts no writes at the moment; try again later"
                    .to_owned()
            }
            StoreError::DiskFull(_) => {
                "the disk of the event log is full; free disk space on the database server"
                    .to_owned()
            }
            StoreError::FileChanged { .. } => {
                "a file of the event log was removed or replaced while the server was running; it \
                 accepts no writes until the file is restored"
                    .to_owned()
            }
            StoreError::EngineMissing(_)
            | StoreError::EngineExists(_)
            | StoreError::Corrupt { .. } => error.to_string(),
            StoreError::Serialization(_)
            | StoreError::Locked(_)
            | StoreError::File { .. }
            | StoreError::Url(_)
            | StoreError::Login(_)
            | StoreError::Unmigrated(_)
            | StoreError::OtherSchema(_)
            | StoreError::Denied(_)
            | StoreError::Other(_) => {
                let detail = "the event log did not accept the request; search the server's log for \
                              this request_id to find the cause";
                return Self::new(code, detail).caused_by(&error);
            }
        };
        let problem = Self::new(code, detail);
        let expected = matches!(code, Code::EngineNotFound | Code::EngineExists);
        if expected { problem } else { problem.caused_by(&error) }
    }
}
