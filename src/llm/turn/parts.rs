//! The parts of a message's content, in every dialect.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{json, llm::Message};

/// A part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::llm) enum Part<'m> {
    /// Plain text.
    Text(Cow<'m, str>),
    /// The result of a tool.
    ToolResult,
    /// An image, a sound, a file.
    Media,
}

#[derive(Deserialize)]
struct Content<'m> {
    #[serde(borrow)]
    content: Option<&'m RawValue>,
}

#[derive(Deserialize)]
struct RawPart<'m> {
    #[serde(borrow)]
    r#type: Option<Cow<'m, str>>,
    #[serde(borrow)]
    text: Option<Cow<'m, str>>,
}

/// The parts in their order. A text content is one part.
pub(in crate::llm) fn parts(message: &Message) -> Vec<Part<'_>> {
    let list = message.raw.as_deref().and_then(list);
    list.unwrap_or_else(|| vec![Part::Text(Cow::Borrowed(&message.text))])
}

fn list(raw: &RawValue) -> Option<Vec<Part<'_>>> {
    let content = json::read::<Content<'_>>(raw).ok()?.content?;
    let parts: Vec<RawPart<'_>> = json::read(content).ok()?;
    Some(parts.into_iter().map(part).collect())
}

fn part(part: RawPart<'_>) -> Part<'_> {
    match part.r#type.as_deref() {
        Some("text" | "input_text") => Part::Text(part.text.unwrap_or_default()),
        Some("tool_result" | "function_call_output") => Part::ToolResult,
        _ => Part::Media,
    }
}
