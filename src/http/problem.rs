//! Errors as `application/problem+json` (RFC 9457), and the one table of their codes.
//!
//! The only place that makes such a body. A code's status and title never change by situation;
//! `detail` says what to do. Internal causes are logged, never shown.

mod code;

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

pub use code::Code;

use super::request::RequestIds;

/// Media type of all errors.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error as a caller sees it.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    retry_after_seconds: Option<u64>,
    allow: Option<String>,
    challenge: Option<&'static str>,
    cause: Option<String>,
    failed: Option<Box<(u64, String)>>,
}

/// The body of an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// Where the code is explained, relative to this server.
    #[serde(rename = "type")]
    #[schema(example = "/docs/errors#E101")]
    pub kind: String,
    /// What is wrong, the same for every error of this code.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, and what to do.
    pub detail: String,
    /// The code: `E`, family, number.
    #[schema(example = "E101")]
    pub code: &'static str,
    /// The id of the request, also in `X-Request-ID`.
    pub request_id: String,
    /// The id of the trace.
    pub trace_id: String,
}

impl Problem {
    /// An error; `detail` must quote no prompt, answer, key or token.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after_seconds = code.retry_after_seconds();
        let (allow, challenge, cause, failed) = (None, None, None, None);
        Self { code, detail: detail.into(), retry_after_seconds, allow, challenge, cause, failed }
    }

    /// An internal error: the cause is logged, the caller sees only ids.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let detail = "an internal error; the log has more under this request_id";
        Self::new(Code::Internal, detail).caused_by(cause)
    }

    /// Keeps the chain of causes for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: &dyn std::error::Error) -> Self {
        let chain = std::iter::successors(Some(cause), |error| error.source());
        self.cause = Some(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "));
        self
    }

    /// When to try again, in whole seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Names the methods a resource has.
    #[must_use]
    pub fn allow(mut self, methods: impl Into<String>) -> Self {
        self.allow = Some(methods.into());
        self
    }

    /// Says by which scheme to authenticate.
    #[must_use]
    pub const fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Says for the log which step failed, and the short name of why.
    #[must_use]
    pub fn of_step(mut self, step: u64, reason: impl Into<String>) -> Self {
        self.failed = Some(Box::new((step, reason.into())));
        self
    }

    /// The step that failed, if one was begun.
    pub fn step(&self) -> Option<u64> {
        self.failed.as_ref().map(|failed| failed.0)
    }

    /// The short name of why it failed.
    pub fn reason(&self) -> Option<&str> {
        self.failed.as_ref().map(|failed| failed.1.as_str())
    }

    /// The code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What happened inside, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What is wrong this time, and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The body in a stream, whose head has the ids.
    pub fn bare_body(&self) -> impl Serialize {
        serde_json::json!({
            "type": format!("/docs/errors#{}", self.code.text()),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "detail": self.detail,
            "code": self.code.text(),
        })
    }

    /// The body for one request.
    pub fn body(&self, ids: &RequestIds) -> ProblemBody {
        ProblemBody {
            kind: format!("/docs/errors#{}", self.code.text()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            code: self.code.text(),
            request_id: ids.request_id.clone(),
            trace_id: ids.trace_id.clone(),
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

    /// Head only: the middleware knows the ids and writes the body.
    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.code.status());
        response.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((header::RETRY_AFTER, seconds));
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
