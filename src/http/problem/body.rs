//! [`Problem`], the error type of all handlers.
//!
//! Status and title depend on the code alone; `detail` names the cause and the fix. Internal causes are
//! logged and never sent to the client.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Code;
use crate::{engine::FailedCall, http::request_id::RequestIds, llm::UnreachableCause};

/// Media type of errors, except on routes in the dialect of another API.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The header that tells the SDKs of OpenAI and Anthropic whether to retry, whatever the status.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error response.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    retry_after_seconds: Option<u64>,
    allow: Option<String>,
    challenge: Option<&'static str>,
    cause: Option<String>,
    failed: Option<Box<FailedStep>>,
    is_in_doubt: bool,
}

/// The step that failed, for the log and for clients.
#[derive(Clone, Debug)]
struct FailedStep {
    number: u64,
    reason: String,
    call: Option<FailedCall>,
}

/// The body of an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// URL of the explanation of the code, relative to this server.
    #[serde(rename = "type")]
    #[schema(example = "/docs/errors#E101")]
    pub kind: String,
    /// Summary of the error, the same for every error with this code.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The cause of this error and what to do about it.
    pub detail: String,
    /// Error code: `E` and three digits, of which the first is the family.
    #[schema(example = "E101")]
    pub code: &'static str,
    /// Request id, equal to the header `X-Request-ID`.
    pub request_id: String,
    /// Trace id: 32 hexadecimal digits.
    pub trace_id: String,
    /// `unknown` if the database did not confirm the write: the request is recorded or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "unknown")]
    pub outcome: Option<&'static str>,
    /// The number of the step, if the request had started one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// What the model provider said, if it is the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_error: Option<ProviderErrorBody>,
}

/// The machine-readable part of a provider's error.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProviderErrorBody {
    /// The provider.
    pub provider: String,
    /// The HTTP status of its response.
    pub status: Option<u16>,
    /// Its code, from a closed list.
    #[schema(example = "context_length_exceeded")]
    pub code: Option<&'static str>,
    /// The field of the request that is at fault.
    pub param: Option<&'static str>,
    /// Why the provider could not be reached: `dns`, `connect`, `tls`, `proxy` or `reset`.
    pub cause: Option<&'static str>,
}

impl From<&FailedCall> for ProviderErrorBody {
    fn from(call: &FailedCall) -> Self {
        Self {
            provider: call.provider.clone(),
            status: call.status,
            code: call.error.map(|error| error.code),
            param: call.error.and_then(|error| error.param),
            cause: call.cause.map(UnreachableCause::name),
        }
    }
}

impl Problem {
    /// Creates an error. `detail` must not quote a prompt, an answer, a key or a token.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after_seconds = code.retry_after_seconds();
        let (allow, challenge, cause, failed) = (None, None, None, None);
        let detail = detail.into();
        let is_in_doubt = false;
        Self { code, detail, retry_after_seconds, allow, challenge, cause, failed, is_in_doubt }
    }

    /// An internal error. The cause is logged; the client sees only the ids.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let detail =
            "an internal error; search the server's log for this request_id to find the cause";
        Self::new(Code::Internal, detail).caused_by(cause)
    }

    /// Adds an error and its sources for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: &dyn std::error::Error) -> Self {
        let chain = std::iter::successors(Some(cause), |error| error.source());
        self.cause = Some(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "));
        self
    }

    /// Sets `Retry-After`, in seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Sets `Allow`, the methods of the resource.
    #[must_use]
    pub fn allow(mut self, methods: impl Into<String>) -> Self {
        self.allow = Some(methods.into());
        self
    }

    /// Sets `WWW-Authenticate`.
    #[must_use]
    pub const fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// True if the error is the failure of a step.
    pub(in crate::http) const fn names_step(&self) -> bool {
        self.failed.is_some()
    }

    /// Says that the request may be recorded.
    #[must_use]
    pub const fn outcome_unknown(mut self) -> Self {
        self.is_in_doubt = true;
        self
    }

    /// Adds the failed step and the reason for the log.
    #[must_use]
    pub fn with_step(mut self, step: u64, reason: impl Into<String>) -> Self {
        let call = None;
        self.failed = Some(Box::new(FailedStep { number: step, reason: reason.into(), call }));
        self
    }

    /// Adds the failed call of a model to the failed step.
    #[must_use]
    pub fn with_call(mut self, call: Option<FailedCall>) -> Self {
        if let Some(failed) = &mut self.failed {
            failed.call = call;
        }
        self
    }

    /// The failed call of a model, if one is the cause.
    pub fn call(&self) -> Option<&FailedCall> {
        self.failed.as_ref().and_then(|failed| failed.call.as_ref())
    }

    /// The number of the failed step, if the request had started one.
    pub fn step(&self) -> Option<u64> {
        self.failed.as_ref().map(|failed| failed.number)
    }

    /// The reason for which the step failed, such as `timeout`.
    pub fn reason(&self) -> Option<&str> {
        self.failed.as_ref().map(|failed| failed.reason.as_str())
    }

    fn outcome(&self) -> Option<&'static str> {
        self.is_in_doubt.then_some("unknown")
    }

    /// The error code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The internal cause, for the log only.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The cause of this error and what to do about it.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The body for an event of a stream, without the ids, which the response head has.
    pub fn event_body(&self) -> impl Serialize {
        serde_json::json!({
            "type": format!("/docs/errors#{}", self.code.text()),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "detail": self.detail,
            "code": self.code.text(),
            "outcome": self.outcome(),
            "step": self.step(),
            "provider_error": self.call().map(ProviderErrorBody::from),
        })
    }

    /// The body of the response.
    pub fn body(&self, ids: &RequestIds) -> ProblemBody {
        ProblemBody {
            kind: format!("/docs/errors#{}", self.code.text()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            code: self.code.text(),
            request_id: ids.request_id().to_owned(),
            trace_id: ids.trace_id.clone(),
            outcome: self.outcome(),
            step: self.step(),
            provider_error: self.call().map(ProviderErrorBody::from),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code.text(), self.code.title(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    /// Only the head: the middleware `request_context` knows the ids and writes the body.
    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.code.status());
        response.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if !self.code.may_retry() {
            response.insert_header((SHOULD_RETRY, "false"));
        }
        if let Some(methods) = &self.allow
            && let Ok(value) = HeaderValue::from_str(methods)
        {
            response.insert_header((header::ALLOW, value));
        }
        if let Some(challenge) = self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        let mut response = response.finish();
        response.extensions_mut().insert(self.clone());
        response
    }
}
