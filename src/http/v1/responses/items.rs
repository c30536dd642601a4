//! Items of the Responses API: who wrote them, and their text.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    json::{self, Fields},
    llm::{Message, Role},
};

/// An item as a message. It keeps its original JSON.
pub(super) fn message(raw: Arc<RawValue>) -> Result<Message, &'static str> {
    let fields: Fields = json::read(&raw).map_err(|_| "expected an object with unique names")?;
    let kind: Option<String> = fields.read("type").map_err(|_| "type must be a string")?;
    let role: Option<String> = fields.read("role").map_err(|_| "role must be a string")?;
    let (role, text) = match (kind.as_deref(), role.as_deref()) {
        (Some("message") | None, Some(role)) => {
            let role = match role {
                "system" | "developer" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                _ => return Err("role must be system, developer, user or assistant"),
            };
            (role, text_of(fields.get("content").map(AsRef::as_ref))?)
        }
        (Some("message"), None) => return Err("role is missing"),
        (None, None) => return Err("type is missing"),
        (Some(kind), _) if kind.ends_with("_output") => {
            // an output may be of any form; only text is looked at
            let text = text_of(fields.get("output").map(AsRef::as_ref)).unwrap_or_default();
            (Role::Tool, text)
        }
        (Some("mcp_approval_response"), _) => (Role::Tool, String::new()),
        (Some(_), _) => (Role::Assistant, String::new()),
    };
    Ok(Message { role, text, raw: Some(raw) })
}

/// The text of a message: its content, or its text parts joined by line breaks.
fn text_of(content: Option<&RawValue>) -> Result<String, &'static str> {
    let Some(content) = content else { return Ok(String::new()) };
    match content.get().as_bytes().first() {
        Some(b'n') => Ok(String::new()),
        Some(b'"') => json::read(content).map_err(|_| "content is not a valid string"),
        Some(b'[') => {
            let parts: Vec<Fields> =
                json::read(content).map_err(|_| "a part is not an object with unique names")?;
            let mut texts = Vec::new();
            for part in &parts {
                let kind: Option<String> = part.read("type").ok().flatten();
                let name = match kind.as_deref() {
                    Some("input_text" | "output_text" | "text") => "text",
                    Some("refusal") => "refusal",
                    _ => continue,
                };
                let text: Option<String> = part.read(name).ok().flatten();
                texts.push(text.ok_or("a text part has no text")?);
            }
            Ok(texts.join("\n"))
        }
        _ => Err("content must be a string or a list of parts"),
    }
}
