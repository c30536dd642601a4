//! Why a model did not answer, and whether a retry or a fallback can help.

use std::time::Duration;

use super::provider_error::{
    self, INSUFFICIENT_QUOTA, PROVIDER_UNAUTHORIZED, ProviderError, RATE_LIMIT_EXCEEDED,
};

/// Why a provider cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreachableCause {
    /// Its name has no address.
    Dns,
    /// It accepts no connection.
    Connect,
    /// The TLS handshake failed, for example because its certificate is not trusted.
    Tls,
    /// The proxy refuses the connection.
    Proxy,
    /// The connection closed before the answer began.
    Reset,
}

impl UnreachableCause {
    /// The name in events and log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Reset => "reset",
        }
    }

    /// The cause with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Dns, Self::Connect, Self::Tls, Self::Proxy, Self::Reset];
        all.into_iter().find(|cause| cause.name() == name)
    }
}

/// Why a model did not answer. Holds neither the request nor the provider's response: an error body
/// may quote the prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LlmError {
    /// No connection, or it closed before the answer began.
    #[error("the provider cannot be reached ({})", cause.name())]
    Unreachable {
        /// The part that failed.
        cause: UnreachableCause,
    },
    /// The provider was silent for too long.
    #[error("the model did not answer before the deadline")]
    Timeout,
    /// The deadline of the step ended a call that had not had its own time: it began late, or the
    /// provider was answering.
    #[error("the deadline of the step ended the call of the model")]
    CutOff,
    /// The step has no time left for a call.
    #[error("the step has no time left for a call of the model")]
    NoTimeLeft,
    /// The provider is overloaded or limits the rate (429, 529).
    #[error("the provider is overloaded or limits the rate of requests")]
    Overloaded {
        /// The HTTP status.
        status: u16,
        /// The provider's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The provider failed (5xx).
    #[error("the provider failed with status {status}")]
    Upstream {
        /// The HTTP status.
        status: u16,
    },
    /// The provider rejects the API key (401, 403).
    #[error("the provider rejected the credentials with status {status}; check the API key")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
    },
    /// The provider's quota or credit is exhausted. Waiting does not help.
    #[error("the quota at the provider is exhausted")]
    QuotaExhausted {
        /// The HTTP status.
        status: u16,
    },
    /// The provider rejects the request (other 4xx).
    #[error("the provider rejected the request with status {status} ({})", error.code)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the provider says about it.
        error: ProviderError,
    },
    /// The response violates the provider's API.
    #[error("the provider's response is malformed: {what}")]
    Malformed {
        /// The violation.
        what: &'static str,
    },
    /// The connection closed after the answer had begun.
    #[error("the answer ended early")]
    BrokenOff,
    /// The provider's API has no form for the request.
    #[error("the request cannot be translated for the provider: {what}")]
    Untranslatable {
        /// The part without a translation.
        what: &'static str,
    },
    /// The requested model is not allowed.
    #[error("the requested model is not allowed")]
    NotAllowed,
    /// The provider's circuit breaker is open.
    #[error("the provider's circuit breaker is open after repeated failures")]
    BreakerOpen {
        /// The time until the breaker admits a probe.
        retry_after: Duration,
    },
    /// The provider's bulkhead and its queue are full.
    #[error("too many calls are waiting for the provider")]
    BulkheadFull,
    /// The client disconnected.
    #[error("the client disconnected")]
    CallerGone,
    /// The answer exceeds the size limit. The part within the limit is used.
    #[error("the answer exceeds the size limit")]
    TooLong,
    /// The answers that arrive take too much memory. This one is broken off.
    #[error("the answers that arrive take too much memory; raise limits.inflight_bytes")]
    OverMemory,
    /// The log has no answer to this prompt (provider `replay`).
    #[error("the log has no answer to this prompt")]
    NotRecorded,
    /// A fault injected by a test, or returned by a [`Function`](super::Function).
    #[error("the model is unavailable ({code})")]
    Unavailable {
        /// A short name of the cause.
        code: &'static str,
    },
}

impl LlmError {
    /// The error of a response that is no answer.
    pub(super) fn of_status(
        status: u16,
        retry_after: Option<Duration>,
        error: ProviderError,
    ) -> Self {
        match status {
            402 => Self::QuotaExhausted { status },
            400 | 403 | 429 if error.code == INSUFFICIENT_QUOTA => Self::QuotaExhausted { status },
            401 | 403 => Self::Unauthorized { status },
            429 | 529 => Self::Overloaded { status, retry_after },
            408 | 500..=599 => Self::Upstream { status },
            _ => Self::Refused { status, error },
        }
    }

    /// The error of an event within a stream, or of a body with status 200, from its JSON text.
    pub(super) fn in_stream(error: &str) -> Self {
        let error = serde_json::from_str(error).unwrap_or_default();
        let (status, error) = provider_error::in_stream(&error);
        Self::of_status(status, None, error)
    }

    /// The HTTP status of the provider's response, if there was one that says why.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Overloaded { status, .. }
            | Self::Upstream { status }
            | Self::Unauthorized { status }
            | Self::QuotaExhausted { status }
            | Self::Refused { status, .. } => Some(*status),
            Self::Unreachable { .. }
            | Self::Timeout
            | Self::CutOff
            | Self::NoTimeLeft
            | Self::Malformed { .. }
            | Self::BrokenOff
            | Self::Untranslatable { .. }
            | Self::NotAllowed
            | Self::BreakerOpen { .. }
            | Self::BulkheadFull
            | Self::CallerGone
            | Self::TooLong
            | Self::OverMemory
            | Self::NotRecorded
            | Self::Unavailable { .. } => None,
        }
    }

    /// What the provider says about the failure, if it says more than its status.
    pub const fn provider_error(&self) -> Option<ProviderError> {
        let (status, code) = match self {
            Self::Refused { error, .. } => return Some(*error),
            Self::Unauthorized { status } => (*status, PROVIDER_UNAUTHORIZED),
            Self::QuotaExhausted { status } => (*status, INSUFFICIENT_QUOTA),
            Self::Overloaded { status: 429, .. } => (429, RATE_LIMIT_EXCEEDED),
            Self::Overloaded { .. }
            | Self::Upstream { .. }
            | Self::Unreachable { .. }
            | Self::Timeout
            | Self::CutOff
            | Self::NoTimeLeft
            | Self::Malformed { .. }
            | Self::BrokenOff
            | Self::Untranslatable { .. }
            | Self::NotAllowed
            | Self::BreakerOpen { .. }
            | Self::BulkheadFull
            | Self::CallerGone
            | Self::TooLong
            | Self::OverMemory
            | Self::NotRecorded
            | Self::Unavailable { .. } => return None,
        };
        Some(ProviderError { code, ..ProviderError::of_status(status) })
    }

    /// Why the provider cannot be reached.
    pub const fn unreachable_cause(&self) -> Option<UnreachableCause> {
        if let Self::Unreachable { cause } = self { Some(*cause) } else { None }
    }

    /// The short name recorded in `step.failed`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout | Self::CutOff => "timeout",
            Self::NoTimeLeft => "deadline",
            Self::Overloaded { .. } => "overloaded",
            Self::Upstream { .. } => "upstream",
            Self::Unauthorized { .. } => "unauthorized",
            Self::QuotaExhausted { .. } => INSUFFICIENT_QUOTA,
            Self::Refused { .. } => "refused",
            Self::Malformed { .. } => "malformed",
            Self::BrokenOff => "broken_off",
            Self::Untranslatable { .. } => "untranslatable",
            Self::NotAllowed => "model_not_allowed",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::BulkheadFull => "bulkhead_full",
            Self::CallerGone => "client_gone",
            Self::TooLong => "too_long",
            Self::OverMemory => "over_memory",
            Self::NotRecorded => "not_recorded",
            Self::Unavailable { code } => code,
        }
    }

    /// The time after which a retry may succeed, if the provider or its breaker names one.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => *retry_after,
            Self::BreakerOpen { retry_after } => Some(*retry_after),
            Self::Unreachable { .. }
            | Self::Timeout
            | Self::CutOff
            | Self::NoTimeLeft
            | Self::Upstream { .. }
            | Self::Unauthorized { .. }
            | Self::QuotaExhausted { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::BrokenOff
            | Self::Untranslatable { .. }
            | Self::NotAllowed
            | Self::BulkheadFull
            | Self::CallerGone
            | Self::TooLong
            | Self::OverMemory
            | Self::NotRecorded
            | Self::Unavailable { .. } => None,
        }
    }

    /// True if a retry with the same provider may succeed.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Overloaded { .. }
            | Self::Upstream { .. }
            | Self::BrokenOff => true,
            Self::Timeout
            | Self::CutOff
            | Self::NoTimeLeft
            | Self::Unauthorized { .. }
            | Self::QuotaExhausted { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::Untranslatable { .. }
            | Self::NotAllowed
            | Self::BreakerOpen { .. }
            | Self::BulkheadFull
            | Self::CallerGone
            | Self::TooLong
            | Self::OverMemory
            | Self::NotRecorded
            | Self::Unavailable { .. } => false,
        }
    }

    /// True if the provider is at fault. The circuit breaker counts these errors.
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout
            | Self::Overloaded { .. }
            | Self::Upstream { .. }
            | Self::Unauthorized { .. }
            | Self::Malformed { .. }
            | Self::BrokenOff
            | Self::Unavailable { .. } => true,
            Self::CutOff
            | Self::NoTimeLeft
            | Self::QuotaExhausted { .. }
            | Self::Refused { .. }
            | Self::Untranslatable { .. }
            | Self::NotAllowed
            | Self::BreakerOpen { .. }
            | Self::BulkheadFull
            | Self::CallerGone
            | Self::TooLong
            | Self::OverMemory
            | Self::NotRecorded => false,
        }
    }

    /// True if a fallback provider may be called.
    pub const fn may_fall_back(&self) -> bool {
        match self {
            Self::CallerGone
            | Self::TooLong
            | Self::OverMemory
            | Self::Timeout
            | Self::CutOff
            | Self::NoTimeLeft
            | Self::NotAllowed => false,
            Self::Unreachable { .. }
            | Self::Overloaded { .. }
            | Self::Upstream { .. }
            | Self::Unauthorized { .. }
            | Self::QuotaExhausted { .. }
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
