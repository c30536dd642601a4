//! The machine-readable part of a provider's error, from closed lists.
//!
//! The text of an error is never kept, because it may quote the prompt. It is only searched for phrases:
//! many servers name a common cause, such as a prompt that is too long, in their text alone.

use serde_json::Value;

/// What a provider says about a refused request. Each field is a constant of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// The provider's code, such as `context_length_exceeded`.
    pub code: &'static str,
    /// The provider's error type, such as `invalid_request_error`.
    pub kind: &'static str,
    /// The field of the request that is at fault, without indices.
    pub param: Option<&'static str>,
}

/// The prompt does not fit into the model's context window.
pub const CONTEXT_LENGTH_EXCEEDED: &str = "context_length_exceeded";
/// The provider does not have the requested model.
pub const MODEL_NOT_FOUND: &str = "model_not_found";
/// The provider's quota or credit is exhausted. Waiting does not help.
pub const INSUFFICIENT_QUOTA: &str = "insufficient_quota";
/// The provider limits the rate of requests.
pub const RATE_LIMIT_EXCEEDED: &str = "rate_limit_exceeded";
/// The provider rejects the credential of this server.
pub const PROVIDER_UNAUTHORIZED: &str = "provider_unauthorized";
/// The provider's content policy forbids the request.
const CONTENT_POLICY: &str = "content_policy";
const INVALID_REQUEST: &str = "invalid_request";
const NOT_FOUND: &str = "not_found";
const REQUEST_TOO_LARGE: &str = "request_too_large";
const INVALID_REQUEST_ERROR: &str = "invalid_request_error";
const NOT_FOUND_ERROR: &str = "not_found_error";

/// The codes that are kept: those of `OpenAI`, Azure, Groq and Anthropic, and those of this server.
const CODES: [&str; 53] = [
    CONTEXT_LENGTH_EXCEEDED,
    MODEL_NOT_FOUND,
    INSUFFICIENT_QUOTA,
    RATE_LIMIT_EXCEEDED,
    CONTENT_POLICY,
    INVALID_REQUEST,
    NOT_FOUND,
    REQUEST_TOO_LARGE,
    "array_above_max_length",
    "array_below_min_length",
    "content_filter",
    "content_policy_violation",
    "decimal_above_max_value",
    "decimal_below_min_value",
    "empty_array",
    "empty_string",
    "failed_to_download_image",
    "image_content_policy_violation",
    "image_parse_error",
    "image_too_large",
    "image_too_small",
    "integer_above_max_value",
    "integer_below_min_value",
    "invalid_base64_image",
    "invalid_encrypted_content",
    "invalid_function_parameters",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_mode",
    "invalid_image_url",
    "invalid_json",
    "invalid_json_schema",
    "invalid_model",
    "invalid_parameter",
    "invalid_prompt",
    "invalid_schema",
    "invalid_type",
    "invalid_value",
    "json_validate_failed",
    "missing_required_parameter",
    "model_decommissioned",
    "model_not_supported",
    "model_terms_required",
    "previous_response_not_found",
    "server_error",
    "string_above_max_length",
    "string_below_min_length",
    "tool_use_failed",
    "unknown_parameter",
    "unsupported_model",
    "unsupported_parameter",
    "unsupported_value",
    "vector_store_timeout",
];

/// Other spellings of codes, in lower case.
const ALIASES: [(&str, &str); 11] = [
    ("deploymentnotfound", MODEL_NOT_FOUND),
    ("exceed_context_size_error", CONTEXT_LENGTH_EXCEEDED),
    ("tokens_limit_reached", CONTEXT_LENGTH_EXCEEDED),
    ("string_too_long", "string_above_max_length"),
    ("data_inspection_failed", CONTENT_POLICY),
    ("datainspectionfailed", CONTENT_POLICY),
    ("billing_error", INSUFFICIENT_QUOTA),
    ("insufficient_balance", INSUFFICIENT_QUOTA),
    ("billing_hard_limit_reached", INSUFFICIENT_QUOTA),
    ("billing_not_active", INSUFFICIENT_QUOTA),
    ("access_terminated", INSUFFICIENT_QUOTA),
];

/// The error types that are kept: those of `OpenAI` and of Anthropic.
const KINDS: [&str; 12] = [
    INVALID_REQUEST_ERROR,
    NOT_FOUND_ERROR,
    "request_too_large",
    "rate_limit_error",
    "insufficient_quota",
    "authentication_error",
    "permission_error",
    "billing_error",
    "overloaded_error",
    "timeout_error",
    "api_error",
    "server_error",
];

/// Fields of requests that a provider may name.
const PARAMS: [&str; 56] = [
    "audio",
    "background",
    "container",
    "context_management",
    "conversation",
    "frequency_penalty",
    "function_call",
    "functions",
    "include",
    "input",
    "instructions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "mcp_servers",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "output_config",
    "output_format",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "stop_sequences",
    "store",
    "stream",
    "stream_options",
    "system",
    "temperature",
    "text",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "verbosity",
    "web_search_options",
];

/// Phrases of error texts, in lower case, and the code that they mean.
const PHRASES: [(&str, &str); 23] = [
    ("credit balance is too low", INSUFFICIENT_QUOTA),
    ("insufficient balance", INSUFFICIENT_QUOTA),
    ("insufficient credits", INSUFFICIENT_QUOTA),
    ("prompt is too long", CONTEXT_LENGTH_EXCEEDED),
    ("input is too long", CONTEXT_LENGTH_EXCEEDED),
    ("prompt contains too many tokens", CONTEXT_LENGTH_EXCEEDED),
    ("maximum context length", CONTEXT_LENGTH_EXCEEDED),
    ("max context length", CONTEXT_LENGTH_EXCEEDED),
    ("context length exceeded", CONTEXT_LENGTH_EXCEEDED),
    ("exceeds the context length", CONTEXT_LENGTH_EXCEEDED),
    ("model's context length", CONTEXT_LENGTH_EXCEEDED),
    ("context window", CONTEXT_LENGTH_EXCEEDED),
    ("exceed context limit", CONTEXT_LENGTH_EXCEEDED),
    ("available context size", CONTEXT_LENGTH_EXCEEDED),
    ("maximum number of tokens allowed", CONTEXT_LENGTH_EXCEEDED),
    ("reduce the length of the messages", CONTEXT_LENGTH_EXCEEDED),
    ("`max_new_tokens` must be <=", CONTEXT_LENGTH_EXCEEDED),
    ("longer than the model's context", CONTEXT_LENGTH_EXCEEDED),
    ("content filtering policy", CONTENT_POLICY),
    ("content management policy", CONTENT_POLICY),
    ("content policy", CONTENT_POLICY),
    ("usage policy", CONTENT_POLICY),
    ("usage policies", CONTENT_POLICY),
];

impl ProviderError {
    /// The error of a status whose body says nothing.
    pub(super) const fn of_status(status: u16) -> Self {
        let (code, kind) = match status {
            404 => (NOT_FOUND, NOT_FOUND_ERROR),
            413 => (REQUEST_TOO_LARGE, REQUEST_TOO_LARGE),
            429 => (RATE_LIMIT_EXCEEDED, "rate_limit_error"),
            _ => (INVALID_REQUEST, INVALID_REQUEST_ERROR),
        };
        Self { code, kind, param: None }
    }

    /// The error with a recorded code.
    pub fn recorded(status: u16, code: &str) -> Self {
        let by_status = Self::of_status(status);
        Self { code: listed(&CODES, code).unwrap_or(by_status.code), ..by_status }
    }
}

/// The error of a response with this status and body.
pub(super) fn parse(status: u16, body: &[u8]) -> ProviderError {
    let by_status = ProviderError::of_status(status);
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return by_status };
    of_fields(status, fields(&body))
}

/// The error object in a body: `{"error": {…}}`, a list of one, or the body itself.
fn fields(body: &Value) -> &Value {
    let body = body.get(0).unwrap_or(body);
    body.get("error").filter(|error| !error.is_null()).unwrap_or(body)
}

fn of_fields(status: u16, fields: &Value) -> ProviderError {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let message = text("message").or_else(|| text("detail")).or_else(|| fields.as_str());
    let message = message.unwrap_or_default().to_lowercase();
    let by_status = ProviderError::of_status(status);
    let inner = fields.get("innererror").and_then(|inner| inner.get("code"));
    let named = [text("code"), text("type"), inner.and_then(Value::as_str)];
    // `invalid_request` and the like say less than the text
    let specific = named.into_iter().flatten().find_map(code);
    let said =
        || PHRASES.iter().find(|(phrase, _)| message.contains(phrase)).map(|(_, code)| *code);
    let missing_model = || (status == 404 && message.contains("model")).then_some(MODEL_NOT_FOUND);
    ProviderError {
        code: specific.or_else(said).or_else(missing_model).unwrap_or(by_status.code),
        kind: text("type").and_then(|kind| listed(&KINDS, kind)).unwrap_or(by_status.kind),
        param: text("param").and_then(param).or_else(|| param_of_text(&message)),
    }
}

fn code(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let generic = [INVALID_REQUEST, NOT_FOUND].contains(&text.as_str());
    let alias = || ALIASES.iter().find(|(alias, _)| *alias == text).map(|(_, code)| *code);
    listed(&CODES, &text).filter(|_| !generic).or_else(alias)
}

/// The first field of a path such as `messages[1].content`.
fn param(path: &str) -> Option<&'static str> {
    listed(&PARAMS, root(path))
}

/// The field that a text such as `max_tokens: …` begins with.
fn param_of_text(text: &str) -> Option<&'static str> {
    let root = root(text);
    let is_path = text[root.len()..].starts_with([':', '.', '[']);
    listed(&PARAMS, root).filter(|_| is_path)
}

fn root(path: &str) -> &str {
    let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &path[..end.unwrap_or(path.len())]
}

fn listed(list: &[&'static str], text: &str) -> Option<&'static str> {
    list.iter().find(|known| **known == text).copied()
}

/// The error of an event within a stream, or of a body with status 200. The status is the number that
/// the event gives, or the one with the same meaning.
pub(super) fn in_stream(error: &Value) -> (u16, ProviderError) {
    let number = |name: &str| error.get(name).and_then(Value::as_u64);
    let number = number("code").or_else(|| number("status")).and_then(|n| u16::try_from(n).ok());
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let status = number.filter(|status| (400..600).contains(status));
    let status = status.unwrap_or_else(|| match (text("type"), code(text("code"))) {
        (_, Some(INSUFFICIENT_QUOTA | RATE_LIMIT_EXCEEDED)) | ("rate_limit_error", _) => 429,
        (NOT_FOUND_ERROR, _) | (_, Some(MODEL_NOT_FOUND)) => 404,
        (REQUEST_TOO_LARGE, _) => 413,
        (INVALID_REQUEST_ERROR, _) => 400,
        ("authentication_error", _) => 401,
        ("billing_error", _) => 402,
        ("permission_error", _) => 403,
        ("overloaded_error", _) => 529,
        ("timeout_error", _) => 504,
        (_, Some("server_error") | None) => 500,
        (_, Some(_)) => 400,
    });
    (status, of_fields(status, error))
}

#[cfg(test)]
mod tests;
