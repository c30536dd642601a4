//! Chat completions in their usual shapes.

use mlsdm::{
    domain::event::Usage,
    llm::{Delta, Dialect, Request, ToolCall},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, header, method, path, query_param},
};

use crate::models::{PROMPT, llm, openai, request, streamed, whole, wishing};

fn call(index: usize, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments } })
}

/// A stream of these pieces.
fn stream(pieces: &[Value]) -> ResponseTemplate {
    let lines = pieces.iter().map(Value::to_string).chain(["[DONE]".to_owned()]);
    let body = lines.fold(String::new(), |body, line| body + "data: " + &line + "\n\n");
    ResponseTemplate::new(200).set_body_raw(body, "text/event-stream; charset=utf-8")
}

fn delta(delta: &Value) -> Value {
    json!({ "model": "m-1-2026", "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn finish(reason: &str) -> Value {
    json!({ "choices": [{ "delta": {}, "finish_reason": reason }] })
}

#[tokio::test]
async fn a_whole_answer_with_its_figures() {
    let server = MockServer::start().await;
    let answer = json!({
        "id": "x", "object": "chat.completion", "model": "m-1-2026",
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": { "role": "assistant", "content": "Hello there", "refusal": null }
        }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21 }
    });
    let asked = json!({
        "model": "m-1", "max_tokens": 64, "temperature": 0.7, "stream": false,
        "messages": [{ "role": "user", "content": PROMPT }]
    });
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", "Bearer sk-geheim"))
        .and(header("user-agent", concat!("mlsdm/", env!("CARGO_PKG_VERSION"))))
        .and(body_partial_json(asked))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(1)
        .mount(&server)
        .await;
    let (called, sink) = whole(&openai(&server.uri()), &request()).await;
    let ended = called.result.unwrap();
    assert_eq!((called.provider, called.attempts), ("openai", 1));
    assert_eq!((ended.model.as_str(), ended.finish_reason.as_str()), ("m-1-2026", "stop"));
    assert_eq!(ended.usage, Usage { prompt_tokens: 9, completion_tokens: 12 });
    assert_eq!(sink.text(), "Hello there");
}

#[tokio::test]
async fn pieces_are_passed_on_as_they_come() {
    let server = MockServer::start().await;
    let last = json!({ "choices": [], "usage": { "prompt_tokens": 9, "completion_tokens": 2 } });
    let pieces = [
        delta(&json!({ "role": "assistant", "content": "" })),
        delta(&json!({ "content": "Hel" })),
        delta(&json!({ "content": "lo" })),
        finish("length"),
        last,
    ];
    let asked = json!({ "stream": true, "stream_options": { "include_usage": true } });
    Mock::given(body_partial_json(asked)).respond_with(stream(&pieces)).mount(&server).await;
    let (called, said, heard) = streamed(&openai(&server.uri()), &request()).await;
    let ended = called.result.unwrap();
    assert_eq!((ended.model.as_str(), ended.finish_reason.as_str()), ("m-1-2026", "length"));
    assert_eq!(ended.usage, Usage { prompt_tokens: 9, completion_tokens: 2 });
    let text = |text: &str| Delta::Text(text.to_owned());
    assert_eq!((said.as_str(), heard), ("Hello", vec![text("Hel"), text("lo")]));
}

#[tokio::test]
async fn calls_of_tools_come_whole_and_in_pieces() {
    let wanted = |id: &str, arguments: &str| ToolCall {
        id: id.to_owned(),
        name: "clock".to_owned(),
        arguments: arguments.to_owned(),
    };
    let wishes = json!({ "tools": [{ "type": "function", "function": { "name": "clock" } }] });
    let wishing = wishing(Dialect::OpenAi, wishes.clone());

    let server = MockServer::start().await;
    let calls = [call(0, Some("a"), Some("clock"), "{}"), call(1, Some("b"), Some("clock"), "[1]")];
    let answer = json!({
        "choices": [{ "message": { "content": null, "tool_calls": calls }, "finish_reason": "stop" }]
    });
    let whole_answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(body_partial_json(wishes)).respond_with(whole_answer).mount(&server).await;
    let (called, sink) = whole(&openai(&server.uri()), &wishing).await;
    assert_eq!(called.result.unwrap().finish_reason, "tool_calls");
    assert_eq!(sink.tool_calls(), [wanted("a", "{}"), wanted("b", "[1]")]);

    let server = MockServer::start().await;
    let pieces = [
        delta(&json!({ "tool_calls": [call(0, Some("a"), Some("clock"), "")] })),
        delta(&json!({ "tool_calls": [call(0, None, None, "{\"zone\"")] })),
        delta(&json!({ "tool_calls": [call(0, None, None, ":1}")] })),
        delta(&json!({ "tool_calls": [call(1, Some("b"), Some("clock"), "{}")] })),
        finish("tool_calls"),
    ];
    Mock::given(method("POST")).respond_with(stream(&pieces)).mount(&server).await;
    let (called, _, heard) = streamed(&openai(&server.uri()), &wishing).await;
    assert_eq!(called.result.unwrap().finish_reason, "tool_calls");
    let indices: Vec<_> = heard
        .iter()
        .map(|piece| match piece {
            Delta::ToolCall { index, .. } => *index,
            Delta::Text(_) => panic!("no text was said"),
        })
        .collect();
    assert_eq!(indices, [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_server_of_ones_own_gets_no_key() {
    let server = MockServer::start().await;
    let answer = json!({ "choices": [{ "message": { "content": "Hi" }, "finish_reason": "eos" }] });
    let answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    let local = llm(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &server.uri()),
        ("MLSDM__LLM__OPENAI__MAX_TOKENS_FIELD", "max_completion_tokens"),
        ("MLSDM__LLM__MAX_TOKENS", "10"),
    ]);
    let asked = Request { temperature: Some(0.0), ..request() };
    let ended = whole(&local, &asked).await.0.result.unwrap();
    assert_eq!((ended.model.as_str(), ended.finish_reason.as_str()), ("m-1", "stop"));
    assert!(ended.usage.prompt_tokens > 0, "estimated");
    let got = &server.received_requests().await.unwrap()[0];
    assert!(!got.headers.contains_key("authorization"));
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!((&body["max_completion_tokens"], &body["temperature"]), (&json!(10), &json!(0.0)));
}

#[tokio::test]
async fn azure_gets_its_version_and_its_header() {
    let server = MockServer::start().await;
    let answer = json!({ "choices": [{ "message": { "content": "Hi" } }] });
    Mock::given(path("/openai/deployments/d/chat/completions"))
        .and(query_param("api-version", "2024-10-21"))
        .and(header("api-key", "sk-geheim"))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(1)
        .mount(&server)
        .await;
    let azure = llm(&[
        ("LLM_BACKEND", "openai"),
        ("OPENAI_API_KEY", "sk-geheim"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &format!("{}/openai/deployments/d", server.uri())),
        ("MLSDM__LLM__OPENAI__API_VERSION", "2024-10-21"),
    ]);
    assert!(whole(&azure, &request()).await.0.result.is_ok());
}
