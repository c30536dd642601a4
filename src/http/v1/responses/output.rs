//! The output items of a response.

use std::sync::Arc;

use serde_json::{Value, json, value::RawValue};

use super::echo::Echo;
use crate::{
    engine::Answer,
    http::native,
    json::{self, Fields},
    llm::{Citation, Dialect, ToolCall, custom_input},
};

/// The ids of the output items of a response, which is told by the server's id of its request.
#[derive(Clone, Default)]
pub(super) struct ItemIds(pub(super) String);

impl ItemIds {
    /// The n-th message, from 0.
    pub(super) fn message(&self, n: usize) -> String {
        self.numbered("msg", n)
    }

    /// The n-th reasoning, from 0.
    pub(super) fn reasoning(&self, n: usize) -> String {
        self.numbered("rs", n)
    }

    /// The n-th call of a tool, from 0.
    pub(super) fn call(&self, n: usize, is_custom: bool) -> String {
        self.numbered(if is_custom { "ctc" } else { "fc" }, n)
    }

    fn numbered(&self, kind: &str, n: usize) -> String {
        let Self(id) = self;
        if n == 0 { format!("{kind}_{id}") } else { format!("{kind}_{id}_{n}") }
    }
}

/// The output items as the provider sent them, or as this server wrote them, each with the id that the
/// client knows.
pub(super) fn originals(answer: &Answer, echo: &Echo) -> Vec<(String, Arc<RawValue>)> {
    let provided = answer.native.as_ref().filter(|native| native.dialect == Dialect::Responses);
    let given: Option<Vec<Box<RawValue>>> = provided
        .and_then(|native| json::read::<Fields>(&native.message).ok())
        .and_then(|message| message.read("output").ok().flatten());
    let Some(given) = given else {
        let written = items(answer, echo).into_iter();
        return written
            .filter_map(|item| Some((item["id"].as_str()?.to_owned(), json::raw(&item).ok()?)))
            .collect();
    };
    let given = given.into_iter().enumerate();
    given
        .filter_map(|(at, item)| {
            let id: Option<String> = json::read::<Fields>(&item).ok()?.read("id").ok().flatten();
            let id = id.unwrap_or_default();
            let known = renamed(&answer.id, at, &id).unwrap_or(id);
            Some((known, Arc::from(item)))
        })
        .collect()
}

/// The id by which the client knows an item of a provider of this dialect: one that leads back to the
/// response in the log. Reasoning keeps its id, to which its encrypted form is bound.
pub(super) fn renamed(answer_id: &str, at: usize, id: &str) -> Option<String> {
    let (kind, _) = id.split_once('_')?;
    (kind != "rs").then(|| format!("{kind}_{answer_id}_{at}"))
}

/// The output of an answer that no provider of this dialect gave.
pub(super) fn items(answer: &Answer, echo: &Echo) -> Vec<Value> {
    let ids = ItemIds(answer.id.clone());
    if answer.refusal().is_some() {
        return refusal(answer, &ids, echo);
    }
    let mut items = Vec::new();
    if !answer.reasoning.is_empty() {
        items.push(reasoning(&ids.reasoning(0), &answer.reasoning));
    }
    if !answer.response.is_empty() || answer.tool_calls.is_empty() {
        let status = if incomplete(answer).is_some() { "incomplete" } else { "completed" };
        let text = annotated(text_part(&answer.response), &annotations(answer));
        items.push(message(&ids.message(0), status, &[text]));
    }
    let calls = answer.tool_calls.iter().enumerate();
    items.extend(calls.map(|(n, call)| {
        tool_call(&ids.call(n, echo.is_custom(&call.name)), call, echo, "completed")
    }));
    items
}

/// Why an answer is incomplete, if it is.
pub(super) fn incomplete(answer: &Answer) -> Option<&'static str> {
    match answer.finish_reason.as_str() {
        _ if answer.refusal().is_some() => None,
        "length" | "pause_turn" => Some("max_output_tokens"),
        "content_filter" => Some("content_filter"),
        _ => None,
    }
}

/// A refused request. Clients that ignore refusals, such as Codex, show the text instead; it is left out
/// if the answer must have a given form.
pub(super) fn refusal(answer: &Answer, ids: &ItemIds, echo: &Echo) -> Vec<Value> {
    let refused = json!({"type": "refusal", "refusal": answer.note});
    let mut items = vec![message(&ids.message(0), "completed", &[refused])];
    if !echo.is_formed() {
        items.push(message(&ids.message(1), "completed", &[text_part(&refusal_text(answer))]));
    }
    items
}

/// The text that says that a request was refused.
pub(super) fn refusal_text(answer: &Answer) -> String {
    format!("The request was refused: {}.", answer.note)
}

pub(super) fn message(id: &str, status: &str, content: &[Value]) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// A part of text with the sources that it names.
pub(super) fn annotated(mut part: Value, annotations: &[Value]) -> Value {
    part["annotations"] = annotations.into();
    part
}

/// The sources of a provider with another dialect.
pub(super) fn annotations(answer: &Answer) -> Vec<Value> {
    let form = |citation: Citation| {
        let Citation { url, title, start, end } = citation;
        json!({
            "type": "url_citation", "url": url, "title": title, "start_index": start,
            "end_index": end,
        })
    };
    native::citations(answer, Dialect::Responses).into_iter().map(form).collect()
}

pub(super) fn reasoning(id: &str, text: &str) -> Value {
    let summary = json!({"type": "summary_text", "text": text});
    json!({"id": id, "type": "reasoning", "summary": [summary]})
}

/// A call of a tool, in the form of the tool.
pub(super) fn tool_call(id: &str, call: &ToolCall, echo: &Echo, status: &str) -> Value {
    let ToolCall { id: call_id, name, arguments } = call;
    let tool = echo.tool(name);
    let mut item = json!({
        "id": id, "type": "function_call", "status": status, "call_id": call_id,
        "name": tool.map_or(name, |tool| &tool.name),
    });
    if let Some(namespace) = tool.and_then(|tool| tool.namespace.as_ref()) {
        item["namespace"] = json!(namespace);
    }
    if echo.is_custom(name) {
        item["type"] = json!("custom_tool_call");
        item["input"] = json!(custom_input(arguments));
    } else {
        item["arguments"] = json!(arguments);
    }
    item
}
