//! Chat completions as whole answers and as chunks.

use serde_json::{Value, json};

use crate::testkit::strict::{
    Answer, Asked, Finish, ToolUse, answer::pieces, cached::Usage, wire::Response,
};

const ID: &str = "chatcmpl-strict";
const CREATED: u64 = 1_741_569_952;

/// The answer in the form that the request asked for.
pub(in crate::testkit::strict) fn render(
    asked: &Asked<'_>,
    answer: &Answer,
    usage: Usage,
) -> Response {
    if asked.streams() {
        stream(asked, answer, usage)
    } else {
        Response::json(200, whole(asked, answer, usage).to_string())
    }
}

const fn reason(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Length => "length",
        Finish::Complete if !answer.calls.is_empty() => "tool_calls",
        Finish::Complete => "stop",
    }
}

fn counts(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    })
}

fn calls(answer: &Answer) -> Vec<Value> {
    let call = |call: &ToolUse| {
        json!({"id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": call.arguments.to_string()}})
    };
    answer.calls.iter().map(call).collect()
}

fn whole(asked: &Asked<'_>, answer: &Answer, usage: Usage) -> Value {
    let text = (!answer.text.is_empty()).then_some(&answer.text);
    let mut message =
        json!({"role": "assistant", "content": text, "refusal": null, "annotations": []});
    if !answer.calls.is_empty() {
        message["tool_calls"] = calls(answer).into();
    }
    if let Some(thinking) = &answer.thinking {
        message["reasoning_content"] = json!(thinking);
    }
    json!({
        "id": ID, "object": "chat.completion", "created": CREATED,
        "model": format!("{}-2026-01-01", asked.model()),
        "choices": [{"index": 0, "message": message, "logprobs": null,
            "finish_reason": reason(answer)}],
        "usage": counts(usage), "service_tier": "default", "system_fingerprint": "fp_strict",
    })
}

fn stream(asked: &Asked<'_>, answer: &Answer, usage: Usage) -> Response {
    let model = format!("{}-2026-01-01", asked.model());
    let chunk = |choices: Value| {
        json!({"id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": model,
            "service_tier": "default", "system_fingerprint": "fp_strict", "choices": choices})
    };
    let delta = |delta: Value, reason: Option<&str>| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]))
    };
    let mut chunks =
        vec![delta(json!({"role": "assistant", "content": "", "refusal": null}), None)];
    for piece in answer.thinking.iter().flat_map(|text| pieces(text)) {
        chunks.push(delta(json!({ "reasoning_content": piece }), None));
    }
    for piece in pieces(&answer.text) {
        chunks.push(delta(json!({ "content": piece }), None));
    }
    for (index, mut call) in calls(answer).into_iter().enumerate() {
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default().to_owned();
        call["index"] = index.into();
        call["function"]["arguments"] = "".into();
        chunks.push(delta(json!({ "tool_calls": [call] }), None));
        for piece in pieces(&arguments) {
            let call = json!({"index": index, "function": {"arguments": piece}});
            chunks.push(delta(json!({ "tool_calls": [call] }), None));
        }
    }
    chunks.push(delta(json!({}), Some(reason(answer))));
    if asked.body["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!([]));
        last["usage"] = counts(usage);
        chunks.push(last);
    }
    let done = std::iter::once("[DONE]".to_owned());
    let lines = chunks.iter().map(Value::to_string).chain(done);
    Response::events(lines.map(|line| (None, line)))
}
