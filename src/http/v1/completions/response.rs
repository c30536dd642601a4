//! Completions in the format of `OpenAI`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clock,
    engine::Answer,
    http::{governance::Governance, v1::chat::completions::Usage},
};

/// A completion.
#[derive(Debug, Serialize, ToSchema)]
pub struct TextCompletion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    choices: [TextChoice; 1],
    usage: Usage,
    /// Governance of the step.
    mlsdm: Governance,
}

/// The text, or a piece of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TextChoice {
    pub(super) text: String,
    pub(super) index: u32,
    pub(super) logprobs: Option<bool>,
    /// `stop`, `length`, or `content_filter` after a moral rejection.
    pub(super) finish_reason: Option<String>,
}

/// The body of a whole answer.
pub(super) fn body(answer: &Answer) -> String {
    let completion = TextCompletion {
        id: id(&answer.id),
        object: "text_completion",
        created: clock::now_micros() / 1_000_000,
        model: answer.model.clone(),
        choices: [TextChoice {
            text: answer.response.clone(),
            index: 0,
            logprobs: None,
            finish_reason: Some(finish_reason(answer)),
        }],
        usage: Usage::from(answer),
        mlsdm: Governance::from(answer),
    };
    // a plain structure always has a JSON form
    serde_json::to_string(&completion).unwrap_or_default()
}

pub(super) fn finish_reason(answer: &Answer) -> String {
    if answer.refusal().is_some() {
        return "content_filter".to_owned();
    }
    answer.finish_reason.clone()
}

pub(super) fn id(id: &str) -> String {
    format!("cmpl-{id}")
}
