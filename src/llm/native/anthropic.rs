//! A message as events.

use serde_json::value::RawValue;

use super::citations;
use crate::llm::{
    NativeEvent,
    object::{Object, Writer, is_empty, quoted},
};

/// The start, the blocks and the end of a message.
pub(super) fn events(message: &str) -> Option<Vec<NativeEvent>> {
    let body = Object::parse(message)?;
    let mut start = Writer::new();
    for (name, value) in body.iter() {
        match name {
            "content" => start.raw(name, "[]"),
            "stop_reason" | "stop_sequence" => start.raw(name, "null"),
            _ => start.raw(name, value.get()),
        }
    }
    let mut events = vec![event("message_start", &[("message", &start.end())])];
    for (at, block) in body.read::<Vec<&RawValue>>("content")?.into_iter().enumerate() {
        push_block(&mut events, at, &Object::parse(block.get())?);
    }
    let mut delta = Writer::new();
    for name in ["stop_reason", "stop_sequence"] {
        delta.raw(name, body.get(name).map_or("null", RawValue::get));
    }
    let usage = body.get("usage").map_or("{}", RawValue::get);
    events.push(event("message_delta", &[("delta", &delta.end()), ("usage", usage)]));
    Some(events)
}

/// A block: what a client collects from deltas is in deltas, the rest in the start.
fn push_block(events: &mut Vec<NativeEvent>, at: usize, block: &Object<'_>) {
    let at = at.to_string();
    let kind = block.text("type").unwrap_or_default();
    let mut start = Writer::new();
    let mut deltas = Vec::new();
    for (name, value) in block.iter() {
        let text = value.get();
        let delta = |kind: &str, field: &str, json: &str| {
            format!(r#"{{"type":"{kind}","{field}":{json}}}"#)
        };
        match (kind.as_str(), name) {
            ("text", "text") => deltas.push(delta("text_delta", "text", text)),
            ("thinking", "thinking") => deltas.push(delta("thinking_delta", "thinking", text)),
            ("thinking", "signature") => deltas.push(delta("signature_delta", "signature", text)),
            ("tool_use" | "server_tool_use" | "mcp_tool_use", "input") => {
                deltas.push(delta("input_json_delta", "partial_json", &quoted(text)));
                start.raw(name, "{}");
                continue;
            }
            _ => {
                start.raw(name, text);
                continue;
            }
        }
        start.raw(name, "\"\"");
    }
    events.push(event("content_block_start", &[("index", &at), ("content_block", &start.end())]));
    for delta in deltas {
        events.push(event("content_block_delta", &[("index", &at), ("delta", &delta)]));
    }
    events.push(event("content_block_stop", &[("index", &at)]));
}

fn event(name: &str, fields: &[(&str, &str)]) -> NativeEvent {
    let mut data = Writer::new();
    data.text("type", name);
    for (name, value) in fields {
        data.raw(name, value);
    }
    NativeEvent { name: name.to_owned(), data: data.end() }
}

/// The names of the fields and the types of the blocks that have no neutral form.
pub(super) fn lost(message: &str) -> Option<Vec<String>> {
    let body = Object::parse(message)?;
    let neutral = ["type", "role", "model", "content", "stop_reason", "usage"];
    let others = body.iter().filter(|(name, value)| !neutral.contains(name) && !is_empty(value));
    let mut lost: Vec<String> = others.map(|(name, _)| name.to_owned()).collect();
    for block in body.read::<Vec<Object<'_>>>("content")? {
        let kind = block.text("type").unwrap_or_default();
        let neutral: &[&str] = match kind.as_str() {
            "text" => &["type", "text"],
            "thinking" => &["type", "thinking"],
            "tool_use" => &["type", "id", "name", "input"],
            _ => {
                lost.push(kind);
                continue;
            }
        };
        let others = block.iter().filter(|(name, value)| {
            !neutral.contains(name) && !is_empty(value) && !citations::has_form(name, value)
        });
        lost.extend(others.map(|(name, _)| name.to_owned()));
    }
    Some(lost)
}
