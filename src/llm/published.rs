//! The request fields that clients may send to a provider.
//!
//! A field that names an address or a credential would let a client redirect a request, or the
//! provider's answer, past this server.

use serde_json::value::RawValue;

use super::Dialect;
use crate::json::Fields;

/// Fields of client libraries and gateways that carry an address, a credential or another body.
const DENIED: [&str; 46] = [
    "access_token",
    "api_base",
    "api_key",
    "api_type",
    "api_url",
    "api_version",
    "auth",
    "authorization",
    "aws_access_key_id",
    "aws_bedrock_runtime_endpoint",
    "aws_region_name",
    "aws_role_name",
    "aws_secret_access_key",
    "aws_session_token",
    "azure_ad_token",
    "azure_deployment",
    "azure_endpoint",
    "base_url",
    "callback_url",
    "callbacks",
    "credentials",
    "custom_llm_provider",
    "default_headers",
    "deployment_id",
    "endpoint",
    "extra_body",
    "extra_headers",
    "extra_query",
    "failure_callback",
    "fallbacks",
    "headers",
    "host",
    "http_client",
    "litellm_params",
    "mock_response",
    "organization",
    "password",
    "proxies",
    "proxy",
    "secret",
    "success_callback",
    "token",
    "vertex_credentials",
    "vertex_location",
    "vertex_project",
    "webhook_url",
];

/// Fields of chat completions, as `OpenAI` publishes them.
const OPENAI: [&str; 37] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// Fields of messages, as Anthropic publishes them, those behind beta headers included.
const ANTHROPIC: [&str; 22] = [
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// Fields of responses, as `OpenAI` publishes them, and that of its command line client.
const RESPONSES: [&str; 32] = [
    "background",
    "client_metadata",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Longest text of a field that is not published, in characters.
const TEXT_MAX: usize = 64;

/// Why a field does not pass to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldFault {
    /// The field would carry an address, a credential or another body.
    Denied(&'static str),
    /// The field is not published, and its value is more than a number, a boolean or a word. Holds the
    /// name if it is safe to repeat.
    Unpublished(Option<String>),
}

/// Checks that all fields may pass to a provider. `added` are the names that the configuration adds.
///
/// # Errors
/// The first field that may not pass.
pub fn check(dialect: Dialect, fields: &Fields, added: &[String]) -> Result<(), FieldFault> {
    for (name, value) in fields.iter() {
        let normal = name.to_ascii_lowercase().replace('-', "_");
        if let Some(denied) = DENIED.iter().find(|denied| **denied == normal) {
            return Err(FieldFault::Denied(denied));
        }
        let passes = published(dialect).contains(&name)
            || added.iter().any(|added| added == name)
            || is_small(value);
        if !passes {
            return Err(FieldFault::Unpublished(repeatable(name)));
        }
    }
    Ok(())
}

/// The published fields of a dialect.
pub(super) const fn published(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::OpenAi => &OPENAI,
        Dialect::Anthropic => &ANTHROPIC,
        Dialect::Responses => &RESPONSES,
    }
}

/// True for a number, a boolean, and a short text without white space.
fn is_small(value: &RawValue) -> bool {
    match value.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(value.get()).is_ok_and(|text| {
            text.chars().count() <= TEXT_MAX && !text.chars().any(char::is_whitespace)
        }),
        Some(b'{' | b'[') => false,
        _ => true,
    }
}

fn repeatable(name: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (name.len() <= TEXT_MAX && name.bytes().all(plain)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), FieldFault> {
        let passed = ["guided_json".to_owned(), "api_key".to_owned()];
        check(Dialect::OpenAi, &serde_json::from_str(text).unwrap(), &passed)
    }

    #[test]
    fn published_small_and_configured_fields_pass() {
        for text in [
            r#"{"tools":[{"type":"function"}],"stop":["a b"],"user":"Ann Lee"}"#,
            r#"{"top_k":40,"min_p":0.05,"ignore_eos":true,"mode":"fast","extra":null}"#,
            r#"{"guided_json":{"type":"object"}}"#,
        ] {
            assert_eq!(checked(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_address_or_a_credential_is_refused_even_if_the_configuration_passes_it() {
        for name in ["api_base", "base_url", "api_key", "extra_body", "extra_headers", "Api-Key"] {
            let fault = checked(&format!("{{\"{name}\":\"x\"}}")).unwrap_err();
            assert!(matches!(fault, FieldFault::Denied(_)), "{name}");
        }
    }

    #[test]
    fn another_field_with_a_structure_or_a_sentence_is_refused_by_name() {
        let named = Err(FieldFault::Unpublished(Some("vendor".to_owned())));
        assert_eq!(checked(r#"{"vendor":{}}"#), named);
        assert_eq!(checked(r#"{"vendor":[1]}"#), named);
        assert_eq!(checked(r#"{"vendor":"two words"}"#), named);
        assert_eq!(checked(&format!("{{\"vendor\":\"{}\"}}", "x".repeat(65))), named);
        assert_eq!(checked(r#"{"my secret":{}}"#), Err(FieldFault::Unpublished(None)));
    }
}
