//! Responses as whole answers and as events.

use serde_json::{Value, json};

use super::input_items;
use crate::testkit::strict::{
    Answer, Asked, Finish, ToolUse,
    answer::{pieces, signature},
    cached::Usage,
    wire::Response,
};

/// The id of the n-th response.
pub(in crate::testkit::strict) fn id(number: usize) -> String {
    format!("resp_strict{number}")
}

/// The answer in the form that the request asked for, and the items that a later response may
/// refer to.
pub(in crate::testkit::strict) fn render(
    asked: &Asked<'_>,
    answer: &Answer,
    usage: Usage,
    number: usize,
) -> (Response, Vec<Value>) {
    let output = output(asked, answer, number);
    let items = input_items(asked.body).into_iter().chain(output.clone()).collect();
    let open = response(asked, number);
    let mut done = open.clone();
    done["output"] = output.clone().into();
    done["usage"] = counts(usage);
    done["status"] = "completed".into();
    if answer.finish == Finish::Length {
        done["status"] = "incomplete".into();
        done["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    let response = if asked.streams() {
        stream(&open, &done, &output)
    } else {
        Response::json(200, done.to_string())
    };
    (response, items)
}

fn counts(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    })
}

fn response(asked: &Asked<'_>, number: usize) -> Value {
    let of = |name: &str, default: Value| {
        let value = &asked.body[name];
        if value.is_null() { default } else { value.clone() }
    };
    json!({
        "id": id(number), "object": "response", "created_at": 1_741_569_952,
        "status": "in_progress", "background": false, "error": null, "incomplete_details": null,
        "instructions": of("instructions", Value::Null),
        "max_output_tokens": of("max_output_tokens", Value::Null),
        "model": format!("{}-2026-01-01", asked.model()), "output": [],
        "parallel_tool_calls": of("parallel_tool_calls", json!(true)),
        "previous_response_id": of("previous_response_id", Value::Null),
        "reasoning": of("reasoning", json!({"effort": null, "summary": null})),
        "service_tier": "default", "store": of("store", json!(true)),
        "temperature": 1.0, "text": of("text", json!({"format": {"type": "text"}})),
        "tool_choice": of("tool_choice", json!("auto")), "tools": of("tools", json!([])),
        "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "usage": null, "user": null,
        "metadata": of("metadata", json!({})),
    })
}

fn output(asked: &Asked<'_>, answer: &Answer, number: usize) -> Vec<Value> {
    let sealed = asked.body["include"].to_string().contains("reasoning.encrypted_content");
    let thinking = answer.thinking.iter().map(|text| {
        let mut item = json!({"id": format!("rs_strict{number}"), "type": "reasoning",
            "summary": [{"type": "summary_text", "text": text}]});
        if sealed {
            item["encrypted_content"] = format!("enc-{}", signature(text)).into();
        }
        item
    });
    let part =
        json!({"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []});
    let text = (!answer.text.is_empty()).then(|| {
        json!({"id": format!("msg_strict{number}"), "type": "message", "status": "completed",
            "role": "assistant", "content": [part]})
    });
    let call = |(index, call): (usize, &ToolUse)| {
        json!({"id": format!("fc_strict{number}_{index}"), "type": "function_call",
            "status": "completed", "call_id": call.id, "name": call.name,
            "arguments": call.arguments.to_string()})
    };
    thinking.chain(text).chain(answer.calls.iter().enumerate().map(call)).collect()
}

fn stream(open: &Value, done: &Value, output: &[Value]) -> Response {
    let mut events = vec![
        ("response.created", json!({ "response": open })),
        ("response.in_progress", json!({ "response": open })),
    ];
    for (index, item) in output.iter().enumerate() {
        let mut start = item.clone();
        start["status"] = "in_progress".into();
        let inner = inner(item, &mut start, index);
        events.push(("response.output_item.added", json!({"output_index": index, "item": start})));
        events.extend(inner);
        events.push(("response.output_item.done", json!({"output_index": index, "item": item})));
    }
    let last =
        if done["status"] == "completed" { "response.completed" } else { "response.incomplete" };
    events.push((last, json!({ "response": done })));
    Response::events(events.into_iter().enumerate().map(|(number, (name, mut event))| {
        event["type"] = name.into();
        event["sequence_number"] = number.into();
        (Some(name), event.to_string())
    }))
}

/// The events between the start of an item and its end. The start loses what they bring.
fn inner(item: &Value, start: &mut Value, index: usize) -> Vec<(&'static str, Value)> {
    let place = |more: Value| {
        let mut event = json!({"output_index": index, "item_id": item["id"]});
        for (name, value) in more.as_object().into_iter().flatten() {
            event[name] = value.clone();
        }
        event
    };
    if item["type"] == "function_call" {
        let arguments = item["arguments"].as_str().unwrap_or_default();
        start["arguments"] = "".into();
        let deltas = pieces(arguments).into_iter().map(|piece| {
            ("response.function_call_arguments.delta", place(json!({ "delta": piece })))
        });
        let done = json!({"arguments": arguments, "name": item["name"]});
        let done = ("response.function_call_arguments.done", place(done));
        return deltas.chain(std::iter::once(done)).collect();
    }
    let reasons = item["type"] == "reasoning";
    let (list, at, names) = if reasons {
        ("summary", "summary_index", REASONING)
    } else {
        ("content", "content_index", MESSAGE)
    };
    start[list] = json!([]);
    let part = &item[list][0];
    let text = part["text"].as_str().unwrap_or_default();
    let mut empty = part.clone();
    empty["text"] = "".into();
    let mut events = vec![(names[0], place(json!({at: 0, "part": empty})))];
    for piece in pieces(text) {
        events.push((names[1], place(json!({at: 0, "delta": piece, "logprobs": []}))));
    }
    events.push((names[2], place(json!({at: 0, "text": text, "logprobs": []}))));
    events.push((names[3], place(json!({at: 0, "part": part}))));
    events
}

const MESSAGE: [&str; 4] = [
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
];

const REASONING: [&str; 4] = [
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
];
