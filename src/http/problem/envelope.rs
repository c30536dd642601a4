//! The format of error bodies: RFC 9457, or the format that clients of OpenAI and Anthropic expect on
//! the routes in their dialect.
//!
//! The path alone decides, so that errors of the framework have the same format.

use actix_web::http::{StatusCode, header::HeaderMap};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Code, PROBLEM_JSON, Problem};
use crate::{
    http::{
        paths::{ENGINES, is_under},
        request_id::RequestIds,
    },
    llm::{INSUFFICIENT_QUOTA, MODEL_NOT_FOUND},
};

/// Routes of this server's own API, below the version and the engine. All other paths below the version
/// belong to the dialects, also those without a route: clients show only errors in their format.
const OWN: [&str; 7] = ["/generate", "/state", "/events", "/admin", "/keys", "/me", "/engines"];
/// Routes in the dialect of Anthropic.
const ANTHROPIC: [&str; 2] = ["/messages", "/complete"];
/// The header that every client of Anthropic sends.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// The format of an error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// `{"error": {"message", "type", "param", "code"}}`
    OpenAi,
    /// `{"type": "error", "error": {"type", "message"}}`
    Anthropic,
}

/// The error body of `OpenAI`'s API.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiError {
    #[schema(value_type = Object)]
    error: Value,
}

/// The error body of Anthropic's API.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnthropicError {
    #[serde(rename = "type")]
    kind: &'static str,
    #[schema(value_type = Object)]
    error: Value,
}

impl Envelope {
    /// The format for a request. On routes that both dialects have, the headers decide.
    pub fn of(path: &str, headers: &HeaderMap) -> Self {
        let Some(rest) = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')) else {
            return Self::Problem;
        };
        let of_engine = rest.strip_prefix(ENGINES).and_then(|rest| rest.strip_prefix('/'));
        let rest = match of_engine {
            Some(named) => named.find('/').map_or(ENGINES, |slash| &named[slash..]),
            None => rest,
        };
        let any = |paths: &[&str]| paths.iter().any(|path| is_under(rest, path));
        if any(&OWN) {
            Self::Problem
        } else if any(&ANTHROPIC) || headers.contains_key(ANTHROPIC_VERSION) {
            Self::Anthropic
        } else {
            Self::OpenAi
        }
    }

    /// The media type of the body.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Problem => PROBLEM_JSON,
            Self::OpenAi | Self::Anthropic => "application/json",
        }
    }

    /// The name of the body's schema in the OpenAPI document.
    pub(in crate::http) const fn schema(self) -> &'static str {
        match self {
            Self::Problem => "ProblemBody",
            Self::OpenAi => "OpenAiError",
            Self::Anthropic => "AnthropicError",
        }
    }

    /// The body of an error.
    pub(in crate::http) fn value(self, problem: &Problem, ids: &RequestIds) -> Value {
        match self {
            Self::Problem => serde_json::to_value(problem.body(ids)).unwrap_or_default(),
            Self::OpenAi => openai(problem, Some(ids.request_id())),
            Self::Anthropic => anthropic(problem, Some(ids.request_id())),
        }
    }
}

/// An error in the format of `OpenAI`'s API.
pub fn openai(problem: &Problem, request_id: Option<&str>) -> Value {
    let error = problem.call().and_then(|call| call.error);
    let status = problem.code().status();
    let by_status = match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::TOO_MANY_REQUESTS if problem.code() == Code::ModelQuota => INSUFFICIENT_QUOTA,
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        _ if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    let kind = error.filter(|_| status.is_client_error()).map_or(by_status, |error| error.kind);
    // a code that clients of OpenAI handle
    let content_filter = problem.code() == Code::ContentFilter;
    json!({"error": {
        "message": message(problem),
        "type": kind,
        "param": error.and_then(|error| error.param),
        "code": if content_filter { "content_filter" } else { code(problem) },
        "request_id": request_id,
        "mlsdm_code": problem.code().text(),
    }})
}

/// An error in the format of Anthropic's API.
pub fn anthropic(problem: &Problem, request_id: Option<&str>) -> Value {
    let kind = match problem.code().status() {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    let param = problem.call().and_then(|call| call.error).and_then(|error| error.param);
    let error = json!({
        "type": kind,
        "message": message(problem),
        "code": code(problem),
        "param": param,
        "mlsdm_code": problem.code().text(),
    });
    json!({"type": "error", "error": error, "request_id": request_id})
}

/// The code that clients know: that of the provider. Other errors have the code of this server.
fn code(problem: &Problem) -> &'static str {
    let said = problem.call().and_then(|call| call.error).map(|error| error.code);
    let is_unknown_model = problem.code() == Code::ModelNotFound;
    let unknown_model = is_unknown_model.then_some(MODEL_NOT_FOUND);
    said.or(unknown_model).unwrap_or_else(|| problem.code().text())
}

fn message(problem: &Problem) -> String {
    format!("{}: {}", problem.code().title(), problem.detail())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_path_decides_the_format_of_errors() {
        for (path, envelope) in [
            ("/v1/chat/completions", Envelope::OpenAi),
            ("/v1/chat/nonsense", Envelope::OpenAi),
            ("/v1/images/generations", Envelope::OpenAi),
            ("/v1/nonsense", Envelope::OpenAi),
            ("/v1/engines/support/nonsense", Envelope::OpenAi),
            ("/v1/engines/support/chat/completions", Envelope::OpenAi),
            ("/v1/engines/support/models", Envelope::OpenAi),
            ("/v1/messages", Envelope::Anthropic),
            ("/v1/messages/batches", Envelope::Anthropic),
            ("/v1/engines/support/messages", Envelope::Anthropic),
            ("/v1/engines/chat/state", Envelope::Problem),
            ("/v1/engines/chat", Envelope::Problem),
            ("/v1/engines", Envelope::Problem),
            ("/v1/messagesque", Envelope::OpenAi),
            ("/v1/generate", Envelope::Problem),
            ("/v1/me", Envelope::Problem),
            ("/v10/chat", Envelope::Problem),
            ("/chat", Envelope::Problem),
        ] {
            assert_eq!(Envelope::of(path, &HeaderMap::new()), envelope, "{path}");
        }
    }

    #[test]
    fn a_client_of_anthropic_gets_its_format_on_routes_of_both_dialects() {
        let name = HeaderName::from_static("anthropic-version");
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("2023-06-01"))]);
        for (path, envelope) in [
            ("/v1/models/m", Envelope::Anthropic),
            ("/v1/files", Envelope::Anthropic),
            ("/v1/generate", Envelope::Problem),
            ("/health", Envelope::Problem),
        ] {
            assert_eq!(Envelope::of(path, &headers), envelope, "{path}");
        }
    }
}
