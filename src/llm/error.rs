//! Why a model did not answer, and what follows from it.

use std::time::Duration;

/// Why a model did not answer. Never holds what it was asked, nor what the provider said: an error
/// body may quote the prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LlmError {
    /// No connection, or it broke before an answer began.
    #[error("the provider cannot be reached")]
    Unreachable,
    /// It took longer than the step's deadline.
    #[error("the model did not answer before the deadline")]
    Timeout,
    /// It has too much to do (429, 529).
    #[error("the provider is overloaded or limits the rate")]
    Overloaded {
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It failed (5xx).
    #[error("the provider failed with status {status}")]
    Upstream {
        /// The HTTP status.
        status: u16,
    },
    /// It does not accept our key (401, 403).
    #[error("the provider refused our credentials with status {status}; check the API key")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
    },
    /// It does not accept the request (other 4xx).
    #[error("the provider refused the request with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// Its answer is not of the shape it promises.
    #[error("the provider's answer cannot be understood: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The connection broke after the answer had begun.
    #[error("the answer broke off")]
    BrokenOff,
    /// The request says what this provider's dialect cannot.
    #[error("the provider cannot be asked for this: {what}")]
    Untranslatable {
        /// What it is.
        what: &'static str,
    },
    /// The model is not among those that may be asked.
    #[error("the model is not among those that may be asked")]
    NotAllowed,
    /// The provider failed too often lately and is left alone for a while.
    #[error("the provider failed too often lately; its circuit breaker is open")]
    BreakerOpen {
        /// When it will be tried again.
        retry_after: Duration,
    },
    /// Too many calls of this provider run and wait already.
    #[error("too many calls wait for the provider")]
    BulkheadFull,
    /// The caller went away.
    #[error("the caller went away")]
    CallerGone,
    /// The answer is as long as it may be; what there is of it is used.
    #[error("the answer is too long")]
    TooLong,
    /// Nothing is recorded for this prompt (the `replay` provider).
    #[error("no answer to this prompt is recorded")]
    NotRecorded,
    /// A fault set by a test, or by a program's own function.
    #[error("the model is unavailable ({code})")]
    Unavailable {
        /// A short name of the cause.
        code: &'static str,
    },
}

impl LlmError {
    /// The short name recorded in `step.failed`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Overloaded { .. } => "overloaded",
            Self::Upstream { .. } => "upstream",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Refused { .. } => "refused",
            Self::Malformed { .. } => "malformed",
            Self::BrokenOff => "broken_off",
            Self::Untranslatable { .. } => "untranslatable",
            Self::NotAllowed => "model_not_allowed",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::BulkheadFull => "bulkhead_full",
            Self::CallerGone => "client_gone",
            Self::TooLong => "too_long",
            Self::NotRecorded => "not_recorded",
            Self::Unavailable { code } => code,
        }
    }

    /// When it may be worth asking again, if the provider or its breaker says so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } => *retry_after,
            Self::BreakerOpen { retry_after } => Some(*retry_after),
            Self::Unreachable
            | Self::Timeout
            | Self::Upstream { .. }
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::BrokenOff
            | Self::Untranslatable { .. }
            | Self::NotAllowed
            | Self::BulkheadFull
            | Self::CallerGone
            | Self::TooLong
            | Self::NotRecorded
            | Self::Unavailable { .. } => None,
        }
    }

    /// Whether the same call may succeed a little later, with the same provider.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable
            | Self::Overloaded { .. }
            | Self::Upstream { .. }
            | Self::BrokenOff => true,
            Self::Timeout
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::Untranslatable { .. }
            | Self::NotAllowed
            | Self::BreakerOpen { .. }
            | Self::BulkheadFull
            | Self::CallerGone
            | Self::TooLong
            | Self::NotRecorded
            | Self::Unavailable { .. } => false,
        }
    }

    /// Whether it speaks against the provider, which its circuit breaker counts.
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::Overloaded { .. }
            | Self::Upstream { .. }
            | Self::Unauthorized { .. }
            | Self::Malformed { .. }
            | Self::BrokenOff
            | Self::Unavailable { .. } => true,
            Self::Refused { .. }
            | Self::Untranslatable { .. }
            | Self::NotAllowed
            | Self::BreakerOpen { .. }
            | Self::BulkheadFull
            | Self::CallerGone
            | Self::TooLong
            | Self::NotRecorded => false,
        }
    }

    /// Whether another provider may be asked instead.
    pub const fn may_fall_back(&self) -> bool {
        match self {
            Self::CallerGone | Self::TooLong | Self::Timeout | Self::NotAllowed => false,
            Self::Unreachable
            | Self::Overloaded { .. }
            | Self::Upstream { .. }
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::BrokenOff
            | Self::Untranslatable { .. }
            | Self::BreakerOpen { .. }
            | Self::BulkheadFull
            | Self::NotRecorded
            | Self::Unavailable { .. } => true,
        }
    }
}
