//! Validates the fields that all routes with steps have in common.

use std::collections::BTreeMap;

use crate::{
    http::{Code, Problem},
    llm::{LimitField, Llm, TokenLimit},
};

/// Upper bound of the tokens of a chat's answer.
const CHAT_TOKENS_MAX: i64 = 1_000_000;
/// Upper bound of `context_top_k`.
const TOP_K_MAX: i64 = 20;
/// Upper bound of the entries of `metadata`.
const METADATA_MAX: usize = 16;
/// Longest name of an entry, in characters.
const METADATA_NAME_MAX: usize = 64;
/// Longest text of an entry, in characters.
const METADATA_TEXT_MAX: usize = 512;

/// The caller's moral score of the prompt.
pub(super) fn moral_value(value: Option<f64>) -> Result<Option<f64>, Problem> {
    if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
        let detail = "moral_value must be between 0 and 1";
        return Err(Problem::new(Code::MoralValueRange, detail));
    }
    Ok(value)
}

/// Upper bound of the answer's tokens, 1 to `max`.
pub(super) fn max_tokens(
    value: Option<i64>,
    field: LimitField,
    max: i64,
) -> Result<Option<TokenLimit>, Problem> {
    let value = bounded(value, 1, max, Code::MaxTokensRange, field.as_str())?;
    Ok(value.map(|n| TokenLimit { tokens: n as u32, field: Some(field) }))
}

/// The limit of a chat's answer, at most the configured one.
pub(super) fn chat_tokens(
    value: Option<i64>,
    field: LimitField,
    llm: &Llm,
) -> Result<Option<TokenLimit>, Problem> {
    let limit = max_tokens(value, field, CHAT_TOKENS_MAX)?;
    let (Some(asked), Some(max)) = (limit, llm.max_tokens()) else { return Ok(limit) };
    if asked.tokens <= max {
        return Ok(limit);
    }
    let name = field.as_str();
    let detail = format!("{name} must be between 1 and {max}, the setting llm.max_tokens");
    Err(Problem::new(Code::MaxTokensRange, detail))
}

/// Upper bound of the memories in the context.
pub(super) fn context_top_k(value: Option<i64>) -> Result<Option<usize>, Problem> {
    let value = bounded(value, 0, TOP_K_MAX, Code::ContextTopKRange, "context_top_k")?;
    Ok(value.map(|n| n as usize))
}

fn bounded(
    value: Option<i64>,
    min: i64,
    max: i64,
    code: Code,
    name: &str,
) -> Result<Option<i64>, Problem> {
    if value.is_none_or(|value| (min..=max).contains(&value)) {
        return Ok(value);
    }
    Err(Problem::new(code, format!("{name} must be between {min} and {max}")))
}

/// Metadata of the prompt.
pub(super) fn metadata(metadata: &BTreeMap<String, String>) -> Result<(), Problem> {
    let short = metadata.iter().all(|(name, text)| {
        (1..=METADATA_NAME_MAX).contains(&name.chars().count())
            && text.chars().count() <= METADATA_TEXT_MAX
    });
    if metadata.len() <= METADATA_MAX && short {
        return Ok(());
    }
    let detail = format!(
        "metadata may have at most {METADATA_MAX} entries, names of 1 to {METADATA_NAME_MAX} and \
         texts of up to {METADATA_TEXT_MAX} characters"
    );
    Err(Problem::new(Code::BadMetadata, detail))
}
