//! A chat completion as chunks.

use super::citations;
use crate::llm::{
    NativeEvent,
    object::{Object, Writer, is_empty},
};

/// One chunk with the whole message.
pub(super) fn events(message: &str) -> Option<Vec<NativeEvent>> {
    let body = Object::parse(message)?;
    let choices: Vec<Object<'_>> = body.read("choices")?;
    let choice = choices.first()?;
    let mut chunk = Writer::new();
    for (name, value) in body.iter().filter(|(name, _)| !matches!(*name, "choices" | "usage")) {
        chunk.raw(name, value.get());
    }
    let mut written = Writer::new();
    for (name, value) in choice.iter() {
        match name {
            "message" => written.raw("delta", &delta(&choice.object(name)?)),
            "finish_reason" => written.raw(name, "null"),
            _ => written.raw(name, value.get()),
        }
    }
    chunk.raw("choices", &format!("[{}]", written.end()));
    Some(vec![NativeEvent { name: String::new(), data: chunk.end() }])
}

/// A message as a delta: the tool calls have an index.
fn delta(message: &Object<'_>) -> String {
    let mut delta = Writer::new();
    for (name, value) in message.iter() {
        let calls: Option<Vec<Object<'_>>> =
            if name == "tool_calls" { message.read(name) } else { None };
        let Some(calls) = calls else {
            delta.raw(name, value.get());
            continue;
        };
        let calls = calls.iter().enumerate().map(|(index, call)| {
            let mut written = Writer::new();
            written.raw("index", &index.to_string());
            for (name, value) in call.iter() {
                written.raw(name, value.get());
            }
            written.end()
        });
        delta.raw(name, &format!("[{}]", calls.collect::<Vec<_>>().join(",")));
    }
    delta.end()
}

/// The names of the fields that have no neutral form.
pub(super) fn lost(message: &str) -> Option<Vec<String>> {
    let body = Object::parse(message)?;
    let choices: Vec<Object<'_>> = body.read("choices")?;
    let choice = choices.first()?;
    let answer = choice.object("message")?;
    let mut lost = Vec::new();
    let neutral: [(&Object<'_>, &[&str]); 3] = [
        (&body, &["model", "choices", "usage"]),
        (choice, &["index", "message", "finish_reason"]),
        (&answer, &["role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls"]),
    ];
    for (object, neutral) in neutral {
        let others = object.iter().filter(|(name, value)| {
            !neutral.contains(name) && !is_empty(value) && !citations::has_form(name, value)
        });
        lost.extend(others.map(|(name, _)| name.to_owned()));
    }
    Some(lost)
}
