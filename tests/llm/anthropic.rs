//! Anthropic's messages API.

use mlsdm::{
    domain::event::Usage,
    llm::{Delta, Dialect, Message, Request, Role, ToolCall},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_json, header, method, path},
};

use crate::models::{anthropic, request, streamed, whole, with_fields};

/// A stream of events that are named after their types.
fn stream(events: &[Value]) -> ResponseTemplate {
    let line = |event: &Value| {
        let name = event["type"].as_str().unwrap();
        format!("event: {name}\r\ndata: {event}\r\n\r\n")
    };
    let body: String = events.iter().map(line).collect();
    ResponseTemplate::new(200).set_body_raw(body, "text/event-stream")
}

fn start(block: &Value) -> Value {
    json!({ "type": "content_block_start", "index": 0, "content_block": block })
}

fn delta(delta: &Value) -> Value {
    json!({ "type": "content_block_delta", "index": 0, "delta": delta })
}

fn text(text: &str) -> Value {
    delta(&json!({ "type": "text_delta", "text": text }))
}

fn input(json: &str) -> Value {
    delta(&json!({ "type": "input_json_delta", "partial_json": json }))
}

#[tokio::test]
async fn a_response_is_read_with_text_tools_and_usage() {
    let server = MockServer::start().await;
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1",
        "content": [
            { "type": "thinking", "thinking": "hm", "signature": "s" },
            { "type": "text", "text": "Hello there" },
            { "type": "tool_use", "id": "t-1", "name": "clock", "input": { "zone": 1 } }
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": { "input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 12 }
    });
    let sent = json!({
        "model": "m-1", "max_tokens": 64, "stream": true,
        "system": "Be kind", "messages": [{ "role": "user", "content": "Hi" }]
    });
    Mock::given(method("POST"))
        .and(path("/v1/messages"))
        .and(header("x-api-key", "sk-geheim"))
        .and(header("anthropic-version", "2023-06-01"))
        .and(body_json(sent))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(1)
        .mount(&server)
        .await;
    let messages = vec![Message::text(Role::System, "Be kind"), Message::text(Role::User, "Hi")];
    let request = Request { messages: messages.into(), ..with_fields(Dialect::OpenAi, json!({})) };
    let (report, sink) = whole(&anthropic(&format!("{}/v1", server.uri())), &request).await;
    let completion = report.result.unwrap();
    assert_eq!((report.provider, completion.model.as_str()), ("anthropic", "claude-1"));
    assert_eq!(completion.finish_reason, "tool_calls");
    assert_eq!(completion.usage, Usage { cached_tokens: Some(5), ..Usage::new(9, 12) });
    assert_eq!(sink.text(), "Hello there");
    let (id, name) = ("t-1".to_owned(), "clock".to_owned());
    assert_eq!(sink.tool_calls(), [ToolCall { id, name, arguments: "{\"zone\":1}".to_owned() }]);
}

#[tokio::test]
async fn events_become_deltas() {
    let server = MockServer::start().await;
    let usage = json!({ "input_tokens": 6, "cache_read_input_tokens": 3, "output_tokens": 1 });
    let stop = json!({ "type": "content_block_stop", "index": 0 });
    let message = json!({ "model": "claude-1", "content": [], "usage": usage });
    let events = [
        json!({ "type": "message_start", "message": message }),
        start(&json!({ "type": "thinking", "thinking": "" })),
        delta(&json!({ "type": "thinking_delta", "thinking": "hm" })),
        stop.clone(),
        json!({ "type": "ping" }),
        start(&json!({ "type": "text", "text": "" })),
        text("Hel"),
        text("lo"),
        stop.clone(),
        start(&json!({ "type": "tool_use", "id": "t-1", "name": "clock", "input": {} })),
        input(""),
        input("{\"zone\""),
        input(":1}"),
        stop.clone(),
        start(&json!({ "type": "tool_use", "id": "t-2", "name": "now", "input": {} })),
        stop,
        json!({
            "type": "message_delta", "delta": { "stop_reason": "max_tokens" },
            "usage": { "output_tokens": 15 }
        }),
        json!({ "type": "message_stop" }),
    ];
    Mock::given(method("POST")).respond_with(stream(&events)).mount(&server).await;
    let (report, text, deltas) = streamed(&anthropic(&server.uri()), &request()).await;
    let completion = report.result.unwrap();
    assert_eq!(
        (completion.model.as_str(), completion.finish_reason.as_str()),
        ("claude-1", "length")
    );
    assert_eq!(completion.usage, Usage { cached_tokens: Some(3), ..Usage::new(9, 15) });
    assert_eq!(text, "Hello");
    let mut arguments = [String::new(), String::new()];
    for delta in deltas {
        if let Delta::ToolCall { index, arguments: more, .. } = delta {
            arguments[index].push_str(&more);
        }
    }
    assert_eq!(arguments, ["{\"zone\":1}", "{}"]);
}

#[tokio::test]
async fn a_refusal_has_the_finish_reason_content_filter() {
    let server = MockServer::start().await;
    let answer = json!({
        "model": "claude-1", "content": [{ "type": "text", "text": "No." }],
        "stop_reason": "refusal", "usage": { "input_tokens": 1, "output_tokens": 1 }
    });
    let answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    let (report, _) = whole(&anthropic(&server.uri()), &request()).await;
    assert_eq!(report.result.unwrap().finish_reason, "content_filter");
}
