//! The message of a choice, or the delta of one.

use serde_json::{Value, value::RawValue};

use super::{answer::Answer, tool_call::write_call};
use crate::llm::{
    LlmError, Sink,
    object::{Object, Writer, is_empty},
    tool_calls::{CallPart, SentPart},
};

/// The names under which servers send reasoning. If there are several, the first one counts.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// A delta as a client of the same dialect gets it.
pub(super) struct Sent {
    /// The JSON of the delta.
    pub(super) delta: String,
    /// True if the delta is a part of the answer.
    pub(super) is_content: bool,
    /// True if the delta has a field with a value, such as the role.
    pub(super) has_fields: bool,
}

/// Reads a delta into the sink and the answer.
pub(super) async fn take(
    delta: &Object<'_>,
    is_whole: bool,
    answer: &mut Answer,
    sink: &mut Sink,
) -> Result<Sent, LlmError> {
    let mut written = Writer::new();
    let (mut is_content, mut has_fields) = (false, false);
    let content = delta.get("content").map(parts);
    if let Some(Parts { reasoning, .. }) = &content
        && !reasoning.is_empty()
    {
        sink.push_reasoning(reasoning).await?;
        // SDKs take a list of parts as it is, but cannot put one together
        if !is_whole {
            answer.add_text("reasoning_content", reasoning);
            written.text("reasoning_content", reasoning);
        }
        is_content = true;
    }
    let reasoning = REASONING.iter().find_map(|name| delta.text(name));
    if let Some(reasoning) = reasoning.filter(|text| !text.is_empty()) {
        sink.push_reasoning(&reasoning).await?;
    }
    // sent in place of content when the model refuses the requested format
    let refusal = if content.is_none() { delta.text("refusal") } else { None };
    let text = content.as_ref().map(|parts| parts.text.as_str()).or(refusal.as_deref());
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        sink.push_text(text).await?;
    }
    for (name, value) in delta.iter() {
        let is_value = !is_empty(value);
        match (name, &content) {
            ("tool_calls", _) => continue,
            ("content", Some(parts)) if !is_whole => {
                answer.add_text(name, &parts.text);
                // a text that cannot be decoded is neither judged nor sealed
                if value.get().starts_with('"') && (!parts.text.is_empty() || !is_value) {
                    written.raw(name, value.get());
                } else {
                    written.text(name, &parts.text);
                }
                for (name, value) in &parts.others {
                    sink.count_media(value.to_string().len())?;
                    answer.add(name, value.clone());
                }
            }
            _ => {
                written.raw(name, value.get());
                answer.take_message(name, value, sink)?;
            }
        }
        has_fields |= is_value;
        is_content |= is_value && name != "role";
    }
    if let Some(sent) = take_calls(delta, sink).await?
        && !sent.is_empty()
    {
        written.raw("tool_calls", &calls(&sent));
        (is_content, has_fields) = (true, true);
    }
    Ok(Sent { delta: written.end(), is_content, has_fields })
}

/// The content of a message: a text, or a list of parts.
#[derive(Default)]
struct Parts {
    text: String,
    reasoning: String,
    /// Parts that are neither text nor reasoning, by the name of their type.
    others: Vec<(String, Value)>,
}

fn parts(content: &RawValue) -> Parts {
    if let Ok(text) = serde_json::from_str(content.get()) {
        return Parts { text, ..Parts::default() };
    }
    let mut parts = Parts::default();
    for part in serde_json::from_str::<Vec<Value>>(content.get()).unwrap_or_default() {
        let text = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "text" | "output_text" => parts.text.push_str(text("text")),
            "thinking" | "reasoning" => match part.get("thinking").or_else(|| part.get("text")) {
                Some(Value::String(text)) => parts.reasoning.push_str(text),
                Some(Value::Array(inner)) => {
                    let texts = inner.iter().filter_map(|part| part["text"].as_str());
                    texts.for_each(|text| parts.reasoning.push_str(text));
                }
                _ => {}
            },
            kind => {
                let kind = if kind.is_empty() { "parts" } else { kind };
                parts.others.push((kind.to_owned(), Value::Array(vec![part.clone()])));
            }
        }
    }
    parts
}

/// Reads the tool calls. Returns the parts that the client gets.
async fn take_calls(
    delta: &Object<'_>,
    sink: &mut Sink,
) -> Result<Option<Vec<SentPart>>, LlmError> {
    let Some(calls) = delta.read::<Vec<Object<'_>>>("tool_calls") else { return Ok(None) };
    let count = calls.len();
    let mut sent = Vec::new();
    for (position, call) in calls.iter().enumerate() {
        let position = (count > 1).then_some(position);
        let mut part = part(call, position);
        let extra: usize = part.extra.values().map(|value| value.to_string().len()).sum();
        if extra > 0 && !sink.keep_extra(extra)? {
            part.extra.clear();
        }
        sent.extend(sink.push_call(part).await?);
    }
    Ok(Some(sent))
}

fn part(call: &Object<'_>, position: Option<usize>) -> CallPart {
    let function = call.object("function").or_else(|| call.object("custom")).unwrap_or_default();
    // a JSON text; some servers send a JSON object
    let arguments = function
        .get("arguments")
        .or_else(|| function.get("input"))
        .map(|value| serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned()));
    let own = ["index", "id", "function", "custom"];
    let others = call.iter().filter(|(name, value)| !own.contains(name) && !is_empty(value));
    let extra = others.filter_map(|(name, value)| {
        Some((name.to_owned(), serde_json::from_str(value.get()).ok()?))
    });
    CallPart {
        index: call.read("index").or(position),
        id: call.text("id"),
        name: function.text("name"),
        arguments: arguments.unwrap_or_default(),
        extra: extra.collect(),
    }
}

/// The parts of calls as a JSON list.
pub(super) fn calls(sent: &[SentPart]) -> String {
    let written: Vec<String> = sent
        .iter()
        .map(|part| {
            let mut call = Writer::new();
            call.raw("index", &part.index.to_string());
            write_call(
                &mut call,
                part.id.as_deref(),
                part.name.as_deref(),
                &part.arguments,
                &part.extra,
            );
            call.end()
        })
        .collect();
    format!("[{}]", written.join(","))
}
