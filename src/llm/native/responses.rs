//! A response as events.

use super::citations;
use crate::llm::{
    NativeEvent,
    object::{Object, Writer, is_empty},
};

/// The events of all output items. Each text comes in one piece.
pub(super) fn events(message: &str) -> Option<Vec<NativeEvent>> {
    let body = Object::parse(message)?;
    let mut events = Vec::new();
    for (at, item) in body.read::<Vec<Object<'_>>>("output")?.iter().enumerate() {
        push_item(&mut events, &at.to_string(), item);
    }
    Some(events)
}

fn push_item(events: &mut Vec<NativeEvent>, at: &str, item: &Object<'_>) {
    let kind = item.text("type").unwrap_or_default();
    // the fields whose values come in pieces
    let (pieces, empty) = match kind.as_str() {
        "message" => (&["content"][..], "[]"),
        "reasoning" => (&["summary"][..], "[]"),
        "function_call" => (&["arguments"][..], "\"\""),
        "custom_tool_call" => (&["input"][..], "\"\""),
        _ => (&[][..], "null"),
    };
    let (mut added, mut whole) = (Writer::new(), Writer::new());
    for (name, value) in item.iter() {
        whole.raw(name, value.get());
        let begins = if name == "status" { "\"in_progress\"" } else { value.get() };
        added.raw(name, if pieces.contains(&name) { empty } else { begins });
    }
    let id = item.get("id").map_or("null", |id| id.get());
    let own = [("item_id", id), ("output_index", at)];
    events.push(event("response.output_item.added", &[own[1], ("item", &added.end())]));
    match kind.as_str() {
        "message" => push_parts(events, &own, item, "content", "response.content_part"),
        "reasoning" => {
            push_parts(events, &own, item, "summary", "response.reasoning_summary_part");
        }
        "function_call" => {
            push_text(events, &own, item, "arguments", "response.function_call_arguments");
        }
        "custom_tool_call" => {
            push_text(events, &own, item, "input", "response.custom_tool_call_input");
        }
        _ => {}
    }
    events.push(event("response.output_item.done", &[own[1], ("item", &whole.end())]));
}

/// The parts of a message or of a reasoning.
fn push_parts(
    events: &mut Vec<NativeEvent>,
    own: &[(&str, &str)],
    item: &Object<'_>,
    list: &str,
    name: &str,
) {
    for (index, part) in item.read::<Vec<Object<'_>>>(list).into_iter().flatten().enumerate() {
        let index = index.to_string();
        let position = if list == "content" { "content_index" } else { "summary_index" };
        let own: Vec<(&str, &str)> = own.iter().copied().chain([(position, &*index)]).collect();
        let (text, piece) = match part.text("type").as_deref() {
            Some("refusal") => ("refusal", "response.refusal"),
            Some("summary_text") => ("text", "response.reasoning_summary_text"),
            _ => ("text", "response.output_text"),
        };
        let (mut begun, mut whole) = (Writer::new(), Writer::new());
        for (name, value) in part.iter() {
            whole.raw(name, value.get());
            begun.raw(name, if name == text { "\"\"" } else { value.get() });
        }
        events.push(with(&format!("{name}.added"), &own, &[("part", &begun.end())]));
        let given = part.get(text).map_or("\"\"", |text| text.get());
        let logprobs = part.get("logprobs").map_or("[]", |logprobs| logprobs.get());
        let logprobs = (piece == "response.output_text").then_some(("logprobs", logprobs));
        let delta: Vec<(&str, &str)> = [("delta", given)].into_iter().chain(logprobs).collect();
        events.push(with(&format!("{piece}.delta"), &own, &delta));
        let done: Vec<(&str, &str)> = [(text, given)].into_iter().chain(logprobs).collect();
        events.push(with(&format!("{piece}.done"), &own, &done));
        events.push(with(&format!("{name}.done"), &own, &[("part", &whole.end())]));
    }
}

fn push_text(
    events: &mut Vec<NativeEvent>,
    own: &[(&str, &str)],
    item: &Object<'_>,
    field: &str,
    name: &str,
) {
    let given = item.get(field).map_or("\"\"", |text| text.get());
    events.push(with(&format!("{name}.delta"), own, &[("delta", given)]));
    events.push(with(&format!("{name}.done"), own, &[(field, given)]));
}

fn with(name: &str, own: &[(&str, &str)], fields: &[(&str, &str)]) -> NativeEvent {
    let fields: Vec<(&str, &str)> = own.iter().chain(fields).copied().collect();
    event(name, &fields)
}

fn event(name: &str, fields: &[(&str, &str)]) -> NativeEvent {
    let mut data = Writer::new();
    data.text("type", name);
    for (name, value) in fields {
        data.raw(name, value);
    }
    NativeEvent { name: name.to_owned(), data: data.end() }
}

/// The types of the items and parts that have no neutral form, and the fields of those that have one.
pub(super) fn lost(message: &str) -> Option<Vec<String>> {
    let body = Object::parse(message)?;
    let mut lost = Vec::new();
    for item in body.read::<Vec<Object<'_>>>("output")? {
        let kind = item.text("type").unwrap_or_default();
        match kind.as_str() {
            "message" => {
                for part in item.read::<Vec<Object<'_>>>("content").into_iter().flatten() {
                    let neutral = ["type", "text", "refusal"];
                    let others = part.iter().filter(|(name, value)| {
                        !neutral.contains(name)
                            && !is_empty(value)
                            && !citations::has_form(name, value)
                    });
                    lost.extend(others.map(|(name, _)| name.to_owned()));
                }
            }
            "reasoning" => {
                lost.extend(item.get("encrypted_content").map(|_| "encrypted_content".to_owned()));
            }
            "function_call" | "custom_tool_call" => {}
            _ => lost.push(kind),
        }
    }
    Some(lost)
}
