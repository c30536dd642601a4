//! Messages as whole answers and as events.

use serde_json::{Value, json};

use crate::testkit::strict::{
    Answer, Asked, Finish,
    answer::{pieces, signature},
    cached::Usage,
    wire::Response,
};

/// The answer in the form that the request asked for.
pub(in crate::testkit::strict) fn render(
    asked: &Asked<'_>,
    answer: &Answer,
    usage: Usage,
) -> Response {
    if asked.streams() {
        return stream(asked, answer, usage);
    }
    let mut message = message(asked, &counts(usage, usage.output));
    message["content"] = blocks(answer).into();
    message["stop_reason"] = reason(answer).into();
    Response::json(200, message.to_string())
}

const fn reason(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Length => "max_tokens",
        Finish::Complete if !answer.calls.is_empty() => "tool_use",
        Finish::Complete => "end_turn",
    }
}

fn counts(usage: Usage, output: u64) -> Value {
    json!({
        "input_tokens": usage.input - usage.cached, "output_tokens": output,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard", "inference_geo": "not_available",
    })
}

fn message(asked: &Asked<'_>, usage: &Value) -> Value {
    json!({
        "id": format!("msg_strict{}", asked.turn), "type": "message", "role": "assistant",
        "model": asked.model(), "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": usage,
    })
}

fn blocks(answer: &Answer) -> Vec<Value> {
    let thinking = answer
        .thinking
        .iter()
        .map(|text| json!({"type": "thinking", "thinking": text, "signature": signature(text)}));
    let text = (!answer.text.is_empty()).then(|| json!({"type": "text", "text": answer.text}));
    let calls = answer.calls.iter().map(
        |call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}),
    );
    thinking.chain(text).chain(calls).collect()
}

/// A block as it starts, and its deltas.
fn deltas(block: &Value) -> (Value, Vec<Value>) {
    let mut start = block.clone();
    let of = |name: &str| pieces(block[name].as_str().unwrap_or_default());
    let deltas = if block["type"] == "thinking" {
        start["thinking"] = "".into();
        start["signature"] = "".into();
        let thinking = of("thinking").into_iter();
        let thinking = thinking.map(|p| json!({"type": "thinking_delta", "thinking": p}));
        let signed = json!({"type": "signature_delta", "signature": block["signature"]});
        thinking.chain(std::iter::once(signed)).collect()
    } else if block["type"] == "text" {
        start["text"] = "".into();
        of("text").into_iter().map(|p| json!({"type": "text_delta", "text": p})).collect()
    } else {
        start["input"] = json!({});
        let parts = pieces(&block["input"].to_string()).into_iter();
        let parts = std::iter::once(String::new()).chain(parts);
        parts.map(|p| json!({"type": "input_json_delta", "partial_json": p})).collect()
    };
    (start, deltas)
}

fn stream(asked: &Asked<'_>, answer: &Answer, usage: Usage) -> Response {
    let start = message(asked, &counts(usage, 1));
    let mut events = vec![json!({"type": "message_start", "message": start})];
    for (index, block) in blocks(answer).iter().enumerate() {
        let (start, deltas) = deltas(block);
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        if index == 0 {
            events.push(json!({"type": "ping"}));
        }
        events.extend(
            deltas.into_iter().map(
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ),
        );
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({
        "type": "message_delta", "delta": {"stop_reason": reason(answer), "stop_sequence": null},
        "usage": {"output_tokens": usage.output}
    }));
    events.push(json!({"type": "message_stop"}));
    Response::events(events.iter().map(|event| (Some(name(event)), event.to_string())))
}

fn name(event: &Value) -> &'static str {
    let names = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "ping",
    ];
    names.into_iter().find(|name| event["type"] == *name).unwrap_or("message_stop")
}
