use super::*;
use crate::llm::LlmError;

fn said(status: u16, body: &str) -> (&'static str, &'static str, Option<&'static str>) {
    let ProviderError { code, kind, param } = parse(status, body.as_bytes());
    (code, kind, param)
}

const INVALID: &str = "invalid_request_error";

type Case = (u16, &'static str, (&'static str, &'static str, Option<&'static str>));

fn all(cases: &[Case]) {
    for (status, body, expected) in cases {
        assert_eq!(said(*status, body), *expected, "{body}");
    }
}

#[test]
fn codes_are_understood() {
    all(&[
        // OpenAI
        (
            400,
            r#"{"error":{"message":"x","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            (CONTEXT_LENGTH_EXCEEDED, INVALID, Some("messages")),
        ),
        (
            400,
            r#"{"error":{"message":"x","type":"invalid_request_error","param":"tools[0].function.parameters","code":"invalid_function_parameters"}}"#,
            ("invalid_function_parameters", INVALID, Some("tools")),
        ),
        (
            404,
            r#"{"error":{"message":"x","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            (MODEL_NOT_FOUND, INVALID, None),
        ),
        (
            429,
            r#"{"error":{"message":"x","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            (INSUFFICIENT_QUOTA, "insufficient_quota", None),
        ),
        // Azure
        (
            404,
            r#"{"error":{"code":"DeploymentNotFound","message":"x"}}"#,
            (MODEL_NOT_FOUND, "not_found_error", None),
        ),
        (
            400,
            r#"{"error":{"code":"content_filter","message":"x","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            ("content_filter", INVALID, None),
        ),
    ]);
}

#[test]
fn the_texts_of_anthropic_are_understood() {
    all(&[
        // Anthropic has no codes
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"}}"#,
            (CONTEXT_LENGTH_EXCEEDED, INVALID, None),
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: must be greater than thinking.budget_tokens"}}"#,
            ("invalid_request", INVALID, Some("max_tokens")),
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API"}}"#,
            (INSUFFICIENT_QUOTA, INVALID, None),
        ),
        (
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-0"}}"#,
            (MODEL_NOT_FOUND, "not_found_error", Some("model")),
        ),
        (
            413,
            r#"{"type":"error","error":{"type":"request_too_large","message":"x"}}"#,
            ("request_too_large", "request_too_large", None),
        ),
    ]);
}

#[test]
fn the_errors_of_other_servers_are_understood() {
    all(&[
        // vLLM, llama.cpp, Ollama, Gemini, Mistral
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens","type":"BadRequestError","param":null,"code":400}"#,
            (CONTEXT_LENGTH_EXCEEDED, INVALID, None),
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"x","type":"exceed_context_size_error","n_ctx":4096}}"#,
            (CONTEXT_LENGTH_EXCEEDED, INVALID, None),
        ),
        (404, r#"{"error":"model 'm' not found"}"#, (MODEL_NOT_FOUND, "not_found_error", None)),
        (
            400,
            r#"[{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (4).","status":"INVALID_ARGUMENT"}}]"#,
            (CONTEXT_LENGTH_EXCEEDED, INVALID, None),
        ),
        (
            422,
            r#"{"detail":[{"loc":["body","messages"],"msg":"Field required","type":"missing"}]}"#,
            ("invalid_request", INVALID, None),
        ),
        // no JSON
        (404, "<html>nginx</html>", ("not_found", "not_found_error", None)),
        (413, "", ("request_too_large", "request_too_large", None)),
        (400, "[]", ("invalid_request", INVALID, None)),
        (400, "null", ("invalid_request", INVALID, None)),
    ]);
}

#[test]
fn a_text_of_the_provider_is_never_kept() {
    let body = r#"{"error":{"code":"my secret","type":"my secret","param":"secret[0]","message":"secret: x"}}"#;
    assert_eq!(said(400, body), ("invalid_request", "invalid_request_error", None));
}

#[test]
fn a_refusal_keeps_its_status_and_an_exhausted_quota_is_not_a_rate_limit() {
    let error =
        |status, body: &str| LlmError::of_status(status, None, parse(status, body.as_bytes()));
    for status in [302, 400, 404, 413, 422] {
        assert!(
            matches!(error(status, ""), LlmError::Refused { status: kept, .. } if kept == status)
        );
    }
    assert_eq!(error(401, ""), LlmError::Unauthorized { status: 401 });
    assert_eq!(error(429, ""), LlmError::Overloaded { status: 429, retry_after: None });
    assert_eq!(error(529, ""), LlmError::Overloaded { status: 529, retry_after: None });
    for status in [408, 500, 503] {
        assert_eq!(error(status, ""), LlmError::Upstream { status });
    }
    let quota = r#"{"error":{"code":"insufficient_quota"}}"#;
    assert_eq!(error(429, quota), LlmError::QuotaExhausted { status: 429 });
    assert_eq!(error(402, ""), LlmError::QuotaExhausted { status: 402 });
    assert!(!error(429, quota).is_retryable() && !error(429, quota).is_fault());
}

#[test]
fn an_error_in_a_stream_has_the_status_of_its_meaning() {
    let status = |text: &str| in_stream(&serde_json::from_str(text).unwrap()).0;
    for (text, expected) in [
        (r#"{"code":400}"#, 400),
        (r#"{"code":"context_length_exceeded"}"#, 400),
        (r#"{"code":"model_not_found"}"#, 404),
        (r#"{"code":"rate_limit_exceeded"}"#, 429),
        (r#"{"type":"invalid_request_error","code":null}"#, 400),
        (r#"{"type":"overloaded_error"}"#, 529),
        (r#"{"type":"server_error"}"#, 500),
        (r#"{"message":"x"}"#, 500),
        (r#"{"code":200}"#, 500),
    ] {
        assert_eq!(status(text), expected, "{text}");
    }
}
