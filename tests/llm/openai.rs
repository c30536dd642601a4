//! Chat completions.

use mlsdm::{
    domain::event::Usage,
    llm::{Delta, Dialect, Request, ToolCall},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, header, method, path, query_param},
};

use crate::models::{PROMPT, configured, llm, openai, request, streamed, whole, with_fields};

fn call(index: usize, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments } })
}

/// A stream of chunks.
fn stream(chunks: &[Value]) -> ResponseTemplate {
    let lines = chunks.iter().map(Value::to_string).chain(["[DONE]".to_owned()]);
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
async fn a_response_is_read_with_text_and_usage() {
    let server = MockServer::start().await;
    let answer = json!({
        "id": "x", "object": "chat.completion", "model": "m-1-2026",
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": { "role": "assistant", "content": "Hello there", "refusal": null }
        }],
        "usage": {
            "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
            "prompt_tokens_details": { "cached_tokens": 8, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 7, "audio_tokens": 0 }
        }
    });
    let sent = json!({
        "model": "m-1", "max_tokens": 64, "stream": true,
        "messages": [{ "role": "user", "content": PROMPT }]
    });
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", "Bearer sk-geheim"))
        .and(header("user-agent", concat!("mlsdm/", env!("CARGO_PKG_VERSION"))))
        .and(body_partial_json(sent))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(1)
        .mount(&server)
        .await;
    let (report, sink) = whole(&openai(&server.uri()), &request()).await;
    let completion = report.result.unwrap();
    assert_eq!((report.provider, report.attempts), ("openai", 1));
    assert_eq!(
        (completion.model.as_str(), completion.finish_reason.as_str()),
        ("m-1-2026", "stop")
    );
    let parts = Usage { cached_tokens: Some(8), reasoning_tokens: Some(7), ..Usage::new(9, 12) };
    assert_eq!(completion.usage, parts);
    assert_eq!(sink.text(), "Hello there");
}

#[tokio::test]
async fn chunks_become_deltas() {
    let server = MockServer::start().await;
    let last = json!({
        "choices": [],
        "usage": {
            "prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": null,
            "completion_tokens_details": { "reasoning_tokens": 0 }
        }
    });
    let chunks = [
        delta(&json!({ "role": "assistant", "content": "" })),
        delta(&json!({ "content": "Hel" })),
        delta(&json!({ "content": "lo" })),
        finish("length"),
        last,
    ];
    let sent = json!({ "stream": true, "stream_options": { "include_usage": true } });
    Mock::given(body_partial_json(sent)).respond_with(stream(&chunks)).mount(&server).await;
    let (report, collected, deltas) = streamed(&openai(&server.uri()), &request()).await;
    let completion = report.result.unwrap();
    assert_eq!(
        (completion.model.as_str(), completion.finish_reason.as_str()),
        ("m-1-2026", "length")
    );
    assert_eq!(completion.usage, Usage { reasoning_tokens: Some(0), ..Usage::new(9, 2) });
    let text = |text: &str| Delta::Text(text.to_owned());
    assert_eq!((collected.as_str(), deltas), ("Hello", vec![text("Hel"), text("lo")]));
}

#[tokio::test]
async fn tool_calls_are_read_with_and_without_streaming() {
    let expected = |id: &str, arguments: &str| ToolCall {
        id: id.to_owned(),
        name: "clock".to_owned(),
        arguments: arguments.to_owned(),
    };
    let fields = json!({ "tools": [{ "type": "function", "function": { "name": "clock" } }] });
    let request = with_fields(Dialect::OpenAi, fields.clone());

    let server = MockServer::start().await;
    let calls = [call(0, Some("a"), Some("clock"), "{}"), call(1, Some("b"), Some("clock"), "[1]")];
    let answer = json!({
        "choices": [{ "message": { "content": null, "tool_calls": calls }, "finish_reason": "stop" }]
    });
    let whole_answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(body_partial_json(fields)).respond_with(whole_answer).mount(&server).await;
    let (report, sink) = whole(&openai(&server.uri()), &request).await;
    assert_eq!(report.result.unwrap().finish_reason, "tool_calls");
    assert_eq!(sink.tool_calls(), [expected("a", "{}"), expected("b", "[1]")]);

    let server = MockServer::start().await;
    let chunks = [
        delta(&json!({ "tool_calls": [call(0, Some("a"), Some("clock"), "")] })),
        delta(&json!({ "tool_calls": [call(0, None, None, "{\"zone\"")] })),
        delta(&json!({ "tool_calls": [call(0, None, None, ":1}")] })),
        delta(&json!({ "tool_calls": [call(1, Some("b"), Some("clock"), "{}")] })),
        finish("tool_calls"),
    ];
    Mock::given(method("POST")).respond_with(stream(&chunks)).mount(&server).await;
    let (report, _, deltas) = streamed(&openai(&server.uri()), &request).await;
    assert_eq!(report.result.unwrap().finish_reason, "tool_calls");
    let indices: Vec<_> = deltas
        .iter()
        .map(|delta| {
            let Delta::ToolCall { index, .. } = delta else { panic!("{delta:?} is no tool call") };
            *index
        })
        .collect();
    assert_eq!(indices, [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_server_without_a_key_gets_no_authorization_header() {
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
    let request = Request { temperature: Some(0.0), ..request() };
    let completion = whole(&local, &request).await.0.result.unwrap();
    assert_eq!((completion.model.as_str(), completion.finish_reason.as_str()), ("m-1", "stop"));
    assert!(completion.usage.prompt_tokens > 0, "estimated");
    let got = &server.received_requests().await.unwrap()[0];
    assert!(!got.headers.contains_key("authorization"));
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!((&body["max_completion_tokens"], &body["temperature"]), (&json!(10), &json!(0.0)));
}

#[tokio::test]
async fn azure_gets_its_api_version_and_key_header() {
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

#[tokio::test]
async fn a_translated_request_respects_the_rules_of_its_model() {
    let server = MockServer::start().await;
    let answer = json!({ "choices": [{
        "finish_reason": "stop", "message": { "role": "assistant", "content": "Hi" }
    }] });
    let answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let models = r#"[llm]
        models = [
            "m-1", { name = "plain-*", temperature = "refused" }, { name = "o3", temperature = 1.0 }
        ]"#;
    std::fs::write(&file, models).unwrap();
    let url = format!("{}/v1", server.uri());
    let env = [("LLM_BACKEND", "openai"), ("MLSDM__LLM__OPENAI__BASE_URL", &*url)];
    let llm = configured(Some(file), &env);
    for (model, takes) in [("plain-7", false), ("o3", true), ("m-1", true)] {
        let request = Request {
            model: Some(model.to_owned()),
            temperature: Some(0.5),
            ..with_fields(Dialect::Anthropic, json!({ "temperature": 0.5, "top_p": 0.9 }))
        };
        let (report, sink) = whole(&llm, &request).await;
        assert!(report.result.is_ok(), "{model}: {:?}", report.result);
        let sent = server.received_requests().await.unwrap().pop().unwrap();
        let sent: Value = serde_json::from_slice(&sent.body).unwrap();
        let is_sent = |name: &str| sent.get(name).is_some();
        assert_eq!((is_sent("temperature"), is_sent("top_p")), (takes, takes), "{model}: {sent}");
        let dropped = sink.into_parts().dropped;
        let expected: &[&str] = if takes { &[] } else { &["temperature", "top_p"] };
        assert_eq!(dropped, expected, "{model}");
    }
}
