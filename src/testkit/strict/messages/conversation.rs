//! The order of messages and of their blocks.

use serde_json::Value;

use crate::testkit::strict::{
    Refusal,
    answer::signature,
    asked::list,
    refusal::{is_name, only},
};

/// Checks `system` and `messages`.
pub(super) fn check(body: &Value, system_role: bool) -> Result<(), Refusal> {
    for (index, part) in list(&body["system"]).iter().enumerate() {
        let path = format!("system.{index}");
        Refusal::unless(part["type"] == "text", &path, "Input should be a text block")?;
        text(part, &path)?;
    }
    let messages = list(&body["messages"]);
    Refusal::unless(!messages.is_empty(), "messages", "at least one message is required")?;
    roles(messages, system_role)?;
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages.{index}");
        only(message, &["role", "content"], &path)?;
        let last = index + 1 == messages.len();
        content(message, last, &path)?;
        if message["role"] != "system" {
            results(message, &open, &path)?;
            open = uses(message, &path)?;
        }
    }
    let message = "`tool_use` ids were found without `tool_result` blocks immediately after";
    Refusal::unless(open.is_empty(), "messages", message)?;
    thinking_first(body, messages)
}

/// User and assistant alternate, beginning with the user. A system message stands after a user's.
fn roles(messages: &[Value], system_role: bool) -> Result<(), Refusal> {
    let mut expected = "user";
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages.{index}.role");
        match message["role"].as_str() {
            Some("system") if system_role && index > 0 => {}
            Some(role @ ("user" | "assistant")) => {
                let text = "roles must alternate between \"user\" and \"assistant\"";
                Refusal::unless(role == expected, &path, text)?;
                expected = if role == "user" { "assistant" } else { "user" };
            }
            _ => return Err(Refusal::invalid(path, "Input should be 'user' or 'assistant'")),
        }
    }
    Ok(())
}

fn text(block: &Value, path: &str) -> Result<(), Refusal> {
    let Some(text) = block["text"].as_str() else {
        return Err(Refusal::invalid(format!("{path}.text"), "Field required"));
    };
    let message = "text content blocks must contain non-whitespace text";
    Refusal::unless(!text.trim().is_empty(), path, message)
}

fn content(message: &Value, last: bool, path: &str) -> Result<(), Refusal> {
    let (content, assistant) = (&message["content"], message["role"] == "assistant");
    let empty = content.as_str().map_or_else(|| list(content).is_empty(), str::is_empty);
    let message = "all messages must have non-empty content except for the optional final \
         assistant message";
    Refusal::unless(!empty || (last && assistant), path, message)?;
    let texts = list(content).last().map_or(content, |block| &block["text"]);
    let prefill = last && assistant && texts.as_str().is_some_and(|t| t.ends_with([' ', '\n']));
    let message = "final assistant content cannot end with trailing whitespace";
    Refusal::unless(!prefill, path, message)?;
    let known: &[&str] = if assistant {
        &["text", "tool_use", "thinking", "redacted_thinking", "server_tool_use"]
    } else {
        &["text", "image", "document", "tool_result", "search_result"]
    };
    for (index, block) in list(content).iter().enumerate() {
        let path = format!("{path}.content.{index}");
        let kind = block["type"].as_str().unwrap_or_default();
        let results = assistant && kind.ends_with("_tool_result");
        Refusal::unless(known.contains(&kind) || results, &path, "Input tag does not match")?;
        match kind {
            "text" => text(block, &path)?,
            "image" => Refusal::unless(block["source"].is_object(), &path, "Field required")?,
            "thinking" => {
                let own = block["thinking"].as_str().unwrap_or_default();
                let signed = block["signature"] == signature(own).as_str();
                Refusal::unless(signed, &path, "Invalid `signature` in `thinking` block")?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The results of all open calls come first in the message after them.
fn results(message: &Value, open: &[&str], path: &str) -> Result<(), Refusal> {
    let blocks = list(&message["content"]);
    let mut open = open.to_vec();
    for (index, block) in blocks.iter().enumerate() {
        if block["type"] == "tool_result" {
            let id = block["tool_use_id"].as_str().unwrap_or_default();
            let path = format!("{path}.content.{index}");
            let Some(at) = open.iter().position(|known| *known == id) else {
                let text = "unexpected `tool_use_id` found in `tool_result` blocks: each must have \
                     a corresponding `tool_use` block in the previous message";
                return Err(Refusal::invalid(path, text));
            };
            open.swap_remove(at);
        } else {
            let text = "`tool_use` ids were found without `tool_result` blocks immediately after";
            Refusal::unless(open.is_empty(), path, text)?;
        }
    }
    let text = "`tool_use` ids were found without `tool_result` blocks immediately after";
    Refusal::unless(open.is_empty(), path, text)
}

fn uses<'a>(message: &'a Value, path: &str) -> Result<Vec<&'a str>, Refusal> {
    let mut ids: Vec<&str> = Vec::new();
    for block in list(&message["content"]).iter().filter(|block| block["type"] == "tool_use") {
        let id = block["id"].as_str().unwrap_or_default();
        Refusal::unless(is_name(id, 256), path, "tool_use.id does not match the pattern")?;
        Refusal::unless(!ids.contains(&id), path, "`tool_use` ids must be unique")?;
        let name = block["name"].as_str().unwrap_or_default();
        Refusal::unless(is_name(name, 128), path, "tool_use.name does not match the pattern")?;
        Refusal::unless(block["input"].is_object(), path, "tool_use.input is no dictionary")?;
        ids.push(id);
    }
    Ok(ids)
}

/// With a budget of thinking, the turn whose tools are answered begins with its thinking.
fn thinking_first(body: &Value, messages: &[Value]) -> Result<(), Refusal> {
    let turns = messages.iter().filter(|message| message["role"] != "system");
    let [.., turn, last] = turns.collect::<Vec<_>>()[..] else { return Ok(()) };
    let answered = list(&last["content"]).iter().any(|block| block["type"] == "tool_result");
    if body["thinking"]["type"] != "enabled" || !answered {
        return Ok(());
    }
    let first = list(&turn["content"]).first().and_then(|block| block["type"].as_str());
    let thinks = matches!(first, Some("thinking" | "redacted_thinking"));
    let message = "Expected `thinking` or `redacted_thinking`, but found another block. When \
         `thinking` is enabled, a final assistant message must start with a thinking block";
    Refusal::unless(thinks, "messages", message)
}
