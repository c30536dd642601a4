//! The prompt of a chat, and the texts of it that are judged.
//!
//! A turn is the list of user messages after an answer of the model. The prompt is the text of the
//! last turn that has one: clients send the results of tools as a turn of their own, and blocks of
//! text that the user did not write. The judged texts are those before anything is left out.

mod blocks;
mod parts;
mod place;

use std::borrow::Cow;

use serde_json::Value;

pub use blocks::ClientBlocks;
pub(super) use parts::{Part, parts};
pub use place::Place;

use super::{Extra, Message, Messages, Role};
use crate::{
    domain::{confidence::is_blank, policy::JudgedScope},
    json,
};

/// Fields whose values may be files in base64.
const URLS: [&str; 2] = ["url", "image_url"];

/// Fields of messages and tools whose values are data or names of the protocol.
const NO_TEXT: [&str; 14] = [
    "call_id",
    "data",
    "detail",
    "encrypted_content",
    "file_data",
    "file_id",
    "format",
    "id",
    "media_type",
    "role",
    "signature",
    "tool_call_id",
    "tool_use_id",
    "type",
];

/// The prompt of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its text; empty if the turn has only media.
    pub text: String,
    /// The place of the text in the chat; that of the media if there is none.
    pub place: Place,
    /// The index of the first message of the turn.
    pub turn: usize,
}

/// Why a chat has no prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPrompt {
    /// It has no message of the user.
    NoUser,
    /// No message of the user has text or media.
    Blank,
}

/// The prompt: the text of the last turn that has text, without the blocks that clients add. A turn of
/// media alone has an empty prompt.
///
/// # Errors
/// No message of the user has content.
pub fn prompt(messages: &[Message], blocks: &ClientBlocks) -> Result<Prompt, NoPrompt> {
    let none = ClientBlocks::none();
    let found = last_turn(messages, blocks).or_else(|| last_turn(messages, &none));
    let has_user = messages.iter().any(|message| message.role == Role::User);
    found.ok_or(if has_user { NoPrompt::Blank } else { NoPrompt::NoUser })
}

fn last_turn(messages: &[Message], blocks: &ClientBlocks) -> Option<Prompt> {
    let mut end = messages.len();
    loop {
        let answer = messages[..end].iter().rposition(|message| message.role == Role::Assistant);
        let start = answer.map_or(0, |answer| answer + 1);
        let found = prompt_of_turn(messages, start..end, blocks);
        if found.is_some() {
            return found;
        }
        end = answer?;
    }
}

fn prompt_of_turn(
    messages: &[Message],
    turn: std::ops::Range<usize>,
    blocks: &ClientBlocks,
) -> Option<Prompt> {
    let start = turn.start;
    let (mut texts, mut place, mut media) = (Vec::new(), None, None);
    for (index, message) in turn.zip(&messages[start..]) {
        if message.role != Role::User {
            continue;
        }
        let mut own: Vec<String> = Vec::new();
        for (part, content) in parts(message).into_iter().enumerate() {
            match content {
                Part::Text(text) => {
                    let text = blocks.without(&text);
                    if !is_blank(&text) {
                        place.get_or_insert(Place { message: index, part });
                        own.push(text.into_owned());
                    }
                }
                Part::Media => _ = media.get_or_insert(Place { message: index, part }),
                Part::ToolResult => {}
            }
        }
        if !own.is_empty() {
            texts.push(joined(own, "\n"));
        }
    }
    let place = place.or(media)?;
    Some(Prompt { text: joined(texts, "\n\n"), place, turn: start })
}

/// The texts, joined; a single one is not copied.
pub(crate) fn joined(mut texts: Vec<String>, separator: &str) -> String {
    if texts.len() == 1 { texts.swap_remove(0) } else { texts.join(separator) }
}

/// The texts that are judged, as the caller sent them. Blank ones are left out.
pub fn judged<'m>(
    messages: &'m Messages,
    extra: &Extra,
    turn: usize,
    scope: JudgedScope,
) -> Vec<Cow<'m, str>> {
    let turn = messages.iter().skip(turn);
    let turn = turn.filter(|message| message.role == Role::User && !is_blank(&message.text));
    let mut turn = turn.map(|message| Cow::Borrowed(message.text.as_str()));
    match scope {
        JudgedScope::LastMessage => turn.next_back().into_iter().collect(),
        JudgedScope::Turn => turn.collect(),
        JudgedScope::Request => {
            let mut texts = Vec::new();
            for message in messages.iter() {
                match message.parts() {
                    None => texts.push(Cow::Borrowed(message.text.as_str())),
                    Some(raw) => collect("", &json::read(raw).unwrap_or_default(), &mut texts),
                }
            }
            for (name, value) in extra.fields.iter() {
                collect(name, &json::read(value).unwrap_or_default(), &mut texts);
            }
            texts.retain(|text| !is_blank(text));
            texts
        }
    }
}

/// Adds all texts in the value of a field.
fn collect(name: &str, value: &Value, texts: &mut Vec<Cow<'_, str>>) {
    match value {
        Value::String(text) if URLS.contains(&name) && is_data_url(text) => {}
        Value::String(text) => texts.push(Cow::Owned(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| collect(name, item, texts)),
        Value::Object(fields) => {
            for (name, value) in fields {
                // a field of an object that is named like one of these is text if it is no text itself
                if !NO_TEXT.contains(&name.as_str()) || !value.is_string() {
                    collect(name, value, texts);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// True if a text is a file in base64. A text that only begins like one is judged.
fn is_data_url(text: &str) -> bool {
    let data = text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    data.is_some_and(|(media_type, data)| {
        !media_type.contains(char::is_whitespace) && data.bytes().all(is_base64)
    })
}

#[cfg(test)]
mod tests;
