//! The place of the memory context in a chat.
//!
//! The context must not stand between the call of a tool and its result, and must not make two
//! messages of the user follow each other. It is therefore part of a message that the client sent.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    json::{self, Fields},
    llm::{Message, Messages, Role},
};

/// The types of parts that only the dialect of responses has.
const INPUTS: [&str; 3] = ["input_text", "input_image", "input_file"];

/// The place of a text: a message, and a part of its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The index of the message.
    pub message: usize,
    /// The index of the part; 0 if the content is a text.
    pub part: usize,
}

impl Messages {
    /// These messages with a context directly before the part at `place`: as a part of its own in a
    /// list of parts, and as a paragraph in a plain text, because not every server takes a list.
    #[must_use]
    pub fn with_context_at(&self, place: Place, context: &str) -> Self {
        let Some(message) = self.get(place.message) else { return self.clone() };
        self.with_replaced(place.message, with_text(message, context, Some(place.part)))
    }

    /// These messages with a context at the end of the first system text, or as the first message.
    #[must_use]
    pub fn with_system_context(&self, context: &str) -> Self {
        match self.first() {
            Some(message) if message.role == Role::System => {
                self.with_replaced(0, with_text(message, context, None))
            }
            _ => self.with_inserted(0, Message::text(Role::System, context)),
        }
    }
}

/// A message with a text before the part at an index, or at its end.
fn with_text(message: &Message, added: &str, before: Option<usize>) -> Message {
    let joined = |text: &str| match before {
        Some(_) => format!("{added}\n\n{text}"),
        None => format!("{text}\n\n{added}"),
    };
    let raw = message.raw.as_deref().map(|raw| with_part(raw, added, before, &joined));
    match raw {
        // a text that is not in the expected form is sent as plain text
        Some(None) | None => Message::text(message.role, joined(&message.text)),
        Some(raw) => Message { role: message.role, text: joined(&message.text), raw },
    }
}

/// The JSON of a message, or of its content alone, with a text.
fn with_part(
    raw: &RawValue,
    added: &str,
    before: Option<usize>,
    joined: &impl Fn(&str) -> String,
) -> Option<Arc<RawValue>> {
    if raw.get().starts_with('[') {
        return with_item(raw, added, before);
    }
    let mut fields: Fields = json::read(raw).ok()?;
    let content = Arc::clone(fields.get("content")?);
    let content = if content.get().starts_with('[') {
        with_item(&content, added, before)?
    } else {
        json::raw(&joined(&json::read::<String>(&content).ok()?)).ok()?
    };
    fields.insert("content", content);
    json::raw(&fields).ok()
}

/// A list of parts with a part of text, named as the dialect of the list names it.
fn with_item(list: &RawValue, added: &str, before: Option<usize>) -> Option<Arc<RawValue>> {
    let mut parts: Vec<Arc<RawValue>> =
        json::read::<Vec<Box<RawValue>>>(list).ok()?.into_iter().map(Arc::from).collect();
    let index = before.map_or(parts.len(), |index| index.min(parts.len()));
    let is_input = |part: &Arc<RawValue>| {
        let kind =
            json::read::<Fields>(part).ok().and_then(|part| part.read("type").ok().flatten());
        kind.is_some_and(|kind: String| INPUTS.contains(&kind.as_str()))
    };
    let kind = if parts.iter().any(is_input) { "input_text" } else { "text" };
    parts.insert(index, json::raw(&serde_json::json!({ "type": kind, "text": added })).ok()?);
    let parts: Vec<&RawValue> = parts.iter().map(AsRef::as_ref).collect();
    json::raw(&parts).ok()
}
